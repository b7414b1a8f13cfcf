"""Question: what does a pipeline cost beside the run of the graph?

Expected: less than a quarter of a millisecond for a text of 32 tokens: tokenizing, padding and decoding. Each call is
its own yardstick: the time within the session is taken off the time of the whole call. The calls are made in a process
without torch, as users have it.

    python -m benchmarks.pipeline_overhead
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import zoo
from benchmarks.overhead_worker import CALLS
from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table, to_json
from ortolan.timing import Times
from ortolan_exporters import choose, export

DEFAULT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
SIZES = {"vocab_size": 30522, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
HEADS = {
    "text-classification": "text-classification",
    "token-classification": "token-classification",
    "question-answering": "question-answering",
    "fill-mask": "fill-mask",
    "feature-extraction": "feature-extraction",
    "sentence-embedding": "feature-extraction",
}
"""For each task the head that is exported."""

ROUNDS = 15


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = flags.parse_args(arguments)
    found: dict[str, Times] = {}
    lengths: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        for task, head in HEADS.items():
            command = [sys.executable, "-m", "benchmarks.overhead_worker", task, str(artifact(Path(place), head))]
            done = subprocess.run([*command, str(chosen.rounds)], stdout=subprocess.PIPE, check=True)
            answer = json.loads(done.stdout)
            found[task], lengths[task] = Times(answer["rounds"]), answer["tokens"]
    print(pipeline_table(found, lengths))
    print_environment()
    write_record("pipeline_overhead", {"tokens": lengths, "calls": CALLS}, to_json({"overhead": found}))
    return 0


def pipeline_table(found: Mapping[str, Times], tokens: Mapping[str, int]) -> str:
    """Lay out what each task takes, as Markdown."""
    rows = [[task, tokens[task], f"{times.median:.3f}", f"{times.p95:.3f}"] for task, times in found.items()]
    return plain_table(["task", "tokens", "median ms", "95th percentile"], rows)


def artifact(place: Path, head: str) -> Path:
    """Export a model, the default one for text-classification, unless it is there."""
    folder = place / head
    if folder.is_dir():
        return folder
    choose.ROUNDS, choose.CALLS = 1, 1  # which form is quickest is of no interest here
    is_default = head == "text-classification"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = DEFAULT if is_default else zoo.save(place / f"{head}-checkpoint", "bert", head, **SIZES)
        # random weights need not pass the gate in int8
        export(source, folder, head, precisions=("fp32", "int8") if is_default else ("fp32",))
    return folder


if __name__ == "__main__":
    sys.exit(main())
