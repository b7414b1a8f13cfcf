"""Question: what is it worth that texts come and go between two tokens, and what does a long prompt cost the others?

Expected: 32 requests of mixed length are done in two thirds of the time that batches of eight take, which wait until
eight have come and end with their longest text; and while a prompt of 900 tokens is read, 95 of 100 tokens of those who
write come after at most twice the time that they take when nobody disturbs. (Seen: docs/numbers.md.)

GPT-2 in int8, random weights of real size, in a process without torch. Both ways run the same graphs on the same
requests, in turns. Batches come in two kinds: in one, rows that are done take part until the longest text ends, as in
transformers; in the other they leave at once, which is as quick as a batch can be.

    python -m benchmarks.writing_load [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table
from benchmarks.writing_load_worker import COUNT, LONG_PROMPT, RATE, WRITERS
from benchmarks.writing_models import artifact_of

STAYING = "batches of eight, all rows to the end"


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="What is continuous batching worth?")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    folder = str(artifact_of("gpt2"))
    command = [sys.executable, "-m", "benchmarks.writing_load_worker", folder, str(options.rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    cases = json.loads(done.stdout)
    print("\n".join(load_lines(cases)))
    print_environment()
    write_record("writing_load", {"rounds": options.rounds, "rate": RATE, "requests": COUNT}, cases)
    return 0


def load_lines(cases: Mapping[str, Any]) -> list[str]:
    """Lay out what was found, as Markdown."""
    rounds = cases["arrivals"]
    ways = {"texts come and go": "continuous", "batches of eight": "static", STAYING: "static, all rows to the end"}
    times = {
        name: statistics.median(one[way]["seconds"] / one["continuous"]["seconds"] for one in rounds)
        for name, way in ways.items()
    }
    rows = [
        [
            name,
            f"{statistics.median(one[way]['seconds'] for one in rounds):.2f}",
            f"{statistics.median(one[way]['first_ms']['p50'] for one in rounds):.0f}",
            f"{statistics.median(one[way]['first_ms']['p95'] for one in rounds):.0f}",
        ]
        for name, way in ways.items()
    ]
    table = plain_table([f"{COUNT} requests", "s in all", "first token, p50 ms", "first token, p95 ms"], rows)
    gaps = cases["long_prompt"]
    quiet, disturbed = (statistics.median(one[name]["p95"] for one in gaps) for name in ("quiet_ms", "disturbed_ms"))
    slower = statistics.median(one["disturbed_ms"]["p95"] / one["quiet_ms"]["p95"] for one in gaps)
    line = (
        f"{WRITERS} texts in the making, 95th percentile of the time between two tokens: {quiet:.1f} ms, and "
        f"{disturbed:.1f} ms while a prompt of {LONG_PROMPT} tokens is read ({slower:.2f} times as long, in the median "
        f"round); its first token comes after {statistics.median(one['first_ms'] for one in gaps):.0f} ms."
    )
    ratios = (
        f"Texts that come and go are done {times['batches of eight']:.2f} times as quickly as batches that texts leave "
        f"when they are done, and {times[STAYING]:.2f} times as quickly as batches whose rows all go to the end."
    )
    return [f"{table}\n", ratios, line]


if __name__ == "__main__":
    sys.exit(main())
