"""Question: what does the engine cost a request beside the run of the graph, when there is little to do?

Expected: less than 0.3 ms in the middle and less than 1 ms for 99 of 100 requests: from the call of `submit` to its
result, without the time within the session during the run that answered this very request.

One at a time, with gaps of 5 ms in which everything falls asleep, and at random moments at a tenth of what a session
answers; there some requests find another one at work, and wait for it: they are shown apart. The engine runs in a
process without torch, as users have it.

    python -m benchmarks.engine_overhead [--quick] [--requests 3000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.engine_load import default_artifact
from benchmarks.engine_overhead_worker import GAP_SECONDS, LOAD, STAGES
from benchmarks.open_loop import percentile
from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table

AIM_P50, AIM_P99 = 0.3, 1.0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="What does the engine cost a request beside the run of the graph?")
    parser.add_argument("--requests", type=int, default=3000, help="of each kind")
    parser.add_argument("--quick", action="store_true", help="300 requests of each kind")
    options = parser.parse_args()
    count = 300 if options.quick else options.requests
    command = [sys.executable, "-m", "benchmarks.engine_overhead_worker", str(default_artifact()), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    print(overhead_table(found["cases"]))
    print_environment()
    settings = {"requests": count, "precision": found["precision"], "gap_seconds": GAP_SECONDS, "load": LOAD}
    write_record("engine_overhead", settings, found["cases"])
    return 0


def overhead_table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out what requests cost beside the session, as Markdown."""
    head = ["milliseconds beside the session", "requests", "p50", "p99", *(f"{stage}, p50" for stage in STAGES)]
    rows = []
    for name, case in cases.items():
        pairs = list(zip(case["milliseconds"], case["was_idle"], strict=True))
        rows.append(_row(name, [taken for taken, was_idle in pairs if was_idle]))
        if not all(case["was_idle"]):
            rows.append(_row(f"{name}, those that found another at work", [taken for taken, idle in pairs if not idle]))
    return plain_table(head, rows)


def _row(name: str, taken: list[list[float]]) -> list[object]:
    own, *stages = zip(*taken, strict=True)
    cells = [percentile(own, 0.5), percentile(own, 0.99), *map(statistics.median, stages)]
    return [name, len(taken), *(f"{cell:.3f}" for cell in cells)]


if __name__ == "__main__":
    sys.exit(main())
