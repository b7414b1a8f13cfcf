"""How far does a text's result move with the texts that share its batch?

Expected: in fp32 by the rounding of sums, in static int8 hardly more, since its scales are constants; in dynamic int8
by as much as quantization itself costs, since one scale serves a whole batch. And what does it cost to let each text
run alone, as `strict_batching=True` does?

    python -m benchmarks.batch_invariance
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ortolan
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import plain_table
from ortolan.config import Precision
from ortolan.request import TextInput
from ortolan.timing import interleave
from ortolan_exporters import export
from ortolan_exporters.data import read_texts

MODEL = Path(__file__).parents[1] / "models" / "sentiment-minilm"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-static", "int4")
NUM_TEXTS = 256
NEIGHBOURS = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write the record."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rounds", type=int, default=15)
    chosen = flags.parse_args(arguments)
    folder = OUT / "batch-invariance"
    if not (folder / "ortolan.json").is_file():
        export(MODEL, folder, precisions=PRECISIONS)
    texts = read_texts(MODEL / "heldout.jsonl")
    texts = texts[:: len(texts) // NUM_TEXTS][:NUM_TEXTS]
    moved = {precision: movement(folder, precision, texts) for precision in PRECISIONS}
    costs = {precision: cost(folder, precision, texts, chosen.rounds) for precision in PRECISIONS}
    cases = {precision: {**moved[precision], **costs[precision]} for precision in PRECISIONS}
    print(invariance_table(cases))
    print_environment()
    settings = {"texts": len(texts), "neighbours": NEIGHBOURS, "rounds": chosen.rounds, "model": MODEL.name}
    write_record("batch_invariance", settings, cases)
    return 0


def invariance_table(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out what was found."""
    head = [
        "precision",
        "probability moves, mean",
        "at most",
        "labels changed",
        "strict_batching: equal to the text alone",
        "and takes",
    ]
    rows = [
        [
            name,
            f"{case['mean']:.1g}",
            f"{case['max']:.1g}",
            f"{case['changed']} of {case['batches']}",
            "bit for bit" if case["alone"] else "no",
            f"{case['ratio']:.2f} times as long",
        ]
        for name, case in cases.items()
    ]
    return plain_table(head, rows)


def movement(folder: Path, precision: Precision, texts: Sequence[TextInput]) -> dict[str, Any]:
    """Compare each text's probabilities alone with those among neighbours, shorter and longer ones."""
    pipe = ortolan.pipeline("text-classification", folder, provider="cpu", precision=precision, top_k=None)
    alone = [_scores(pipe(text)) for text in texts]
    again = [_scores(pipe(texts, strict_batching=True)[i]) for i in range(0, len(texts), 16)]
    draw = np.random.default_rng(0)
    differences, changed = [], 0
    for number, text in enumerate(texts):
        others = draw.choice(len(texts), NEIGHBOURS, replace=False)
        batch = [text, *(texts[i] for i in others)]
        beside = _scores(pipe(batch, batch_size=len(batch))[0])
        differences.append(float(np.abs(beside - alone[number]).max()))
        changed += int(beside.argmax() != alone[number].argmax())
    return {
        "max": max(differences),
        "mean": float(np.mean(differences)),
        "changed": changed,
        "batches": len(texts),
        "alone": all(np.array_equal(one, alone[16 * i]) for i, one in enumerate(again)),
    }


def cost(folder: Path, precision: Precision, texts: Sequence[TextInput], rounds: int) -> dict[str, float]:
    """Time the list with and without strict batching."""
    pipe = ortolan.pipeline("text-classification", folder, provider="cpu", precision=precision)
    contenders = {
        "batched": lambda: pipe(list(texts)),
        "strict": lambda: pipe(list(texts), strict_batching=True),
    }
    times = interleave(contenders, rounds, f"{precision}: strict batching", 1)
    return {
        "batched": times["batched"].median,
        "strict": times["strict"].median,
        "ratio": times["batched"].times_as_quick_as(times["strict"]),
    }


def _scores(labels: Any) -> Any:
    return np.array([one["score"] for one in sorted(labels, key=lambda one: one["label"])])


if __name__ == "__main__":
    sys.exit(main())
