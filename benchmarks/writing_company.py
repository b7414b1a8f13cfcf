"""Does what is written to a text depend on the texts that are written beside it?

Expected: in fp32, int4 and static int8 no token does, neither of greedy texts nor of seeded draws: scales of
activations are constants, or those of one token. In dynamic int8 one scale serves a whole run, so that logits move, by
about as much as quantization itself moves them, and a token changes where two of them are nearly as likely.

Real weights, every precision, whatever the gate would say of it: what is asked here is not how good a text is.

    python -m benchmarks.writing_company [MODEL ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import ortolan
from benchmarks.real_generation import CASES, MAX_CONTINUATION, gate
from benchmarks.real_quality import make
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import plain_table
from ortolan.config import Precision
from ortolan.postprocess.activations import FloatArray
from ortolan.progress import say, track
from ortolan_exporters import choose
from ortolan_exporters.data import builtin_texts

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-static", "int4")
NUM_TEXTS, SIDE_BY_SIDE, NUM_FORCED = 200, 16, 48
DRAWN = {"do_sample": True, "temperature": 0.8, "seed": 7}
WAYS: dict[str, dict[str, Any]] = {"greedy": {"do_sample": False}, "drawn": DRAWN}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the record."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("names", nargs="*", metavar="MODEL", help=f"of {', '.join(CASES)}; by default all")
    chosen = flags.parse_args(arguments).names or list(CASES)
    choose.ROUNDS = 1  # which form is quickest is of no interest here
    found = {name: measure(name) for name in chosen}
    print(company_table(found))
    print_environment()
    settings = {"side by side": SIDE_BY_SIDE, "forced": NUM_FORCED, "drawn": DRAWN}
    write_record("writing_company", settings, found)
    return 0


def measure(name: str) -> dict[str, Any]:
    """Write texts alone and side by side, in every precision, and see how far logits move."""
    case, folder = CASES[name], OUT / "company" / name
    with gate(decides=False):
        make(folder, case.checkpoint(), case.task, case.calibration(), PRECISIONS)
    texts = _texts(name)
    forced: list[tuple[str, str]] = []
    found: dict[str, Any] = {}
    exact: list[FloatArray] = []
    for precision in PRECISIONS:
        pipe = ortolan.pipeline(case.task, folder, provider="cpu", precision=precision)
        counts: dict[str, Any] = {"texts": len(texts)}
        for way, rules in WAYS.items():
            # longer and shorter ones: who is done makes room for another
            options = {"max_new_tokens": min(case.length, MAX_CONTINUATION), **rules}
            alone = [_written(pipe(text, **options)) for text in track(texts, f"{name}, {precision}, {way}, alone")]
            beside = [_written(one) for one in pipe(texts, batch_size=SIDE_BY_SIDE, **options)]
            counts[way] = sum(one == other for one, other in zip(alone, beside, strict=True))
            if precision == "fp32" and way == "greedy":
                forced = list(zip(texts, alone, strict=True))[:NUM_FORCED]
        model = ortolan.Model.load(folder, provider="cpu", precision=precision)
        alone_logits, beside_logits = _logits(model, forced, 1), _logits(model, forced, SIDE_BY_SIDE)
        exact = exact or alone_logits
        counts["moved"] = _distance(alone_logits, beside_logits)
        counts["reduced"] = _distance(alone_logits, exact)
        counts["places"] = sum(len(one) for one in exact)
        counts["decisions"] = sum(
            int((one.argmax(-1) == other.argmax(-1)).sum())
            for one, other in zip(alone_logits, beside_logits, strict=True)
        )
        found[precision] = counts
        say(f"{name}, {precision}: {counts}")
    return found


def company_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Lay out what was found, a row for each model and precision."""
    head = [
        "model",
        "precision",
        "greedy texts that stay the same",
        "drawn ones",
        "likeliest tokens that stay",
        "logits move by",
        "and differ from fp32 by",
    ]
    rows = [
        [
            name,
            precision,
            f"{counts['greedy']} of {counts['texts']}",
            f"{counts['drawn']} of {counts['texts']}",
            f"{counts['decisions']} of {counts['places']}",
            f"{counts['moved']:.2g}",
            "" if precision == "fp32" else f"{counts['reduced']:.2g}",
        ]
        for name, by_precision in found.items()
        for precision, counts in by_precision.items()
    ]
    return plain_table(head, rows)


def _texts(name: str) -> list[str]:
    """Texts of mixed length, the known ones first."""
    known = [text for text, _ in CASES[name].texts()]
    if CASES[name].task == "text-generation":
        known += [item.text for item in builtin_texts()]
    return known[:NUM_TEXTS]


def _written(answer: Any) -> str:
    # within a list, text2text-generation answers a lone text without a list around it
    [first] = [answer] if isinstance(answer, Mapping) else answer
    return str(first["generated_text"])


def _logits(model: ortolan.Model, pairs: Sequence[tuple[str, str]], rows: int) -> list[FloatArray]:
    """Logits at every place of texts that are there already, so many of them in a run: float32 [S, V] each."""
    found: list[FloatArray] = []
    for start in range(0, len(pairs), rows):
        read, written = zip(*pairs[start : start + rows], strict=True)
        if "encoder" in model.graphs:
            feed = dict(model.tokenizer(list(read), padding=True))
            targets = model.tokenizer(list(written), padding=True)
            feed["decoder_input_ids"], mask = targets["input_ids"], targets["attention_mask"]
        else:
            feed = dict(model.tokenizer(list(written), padding=True))  # the prompt is in what was written
            mask = feed["attention_mask"]
        found += [one[real] for one, real in zip(model(**feed).logits, mask.astype(bool), strict=True)]
    return found


def _distance(some: Sequence[FloatArray], others: Sequence[FloatArray]) -> float:
    """How far logits are apart on average, as a share of how far those of a place spread (standard deviation)."""
    apart = np.concatenate([np.abs(one - other).ravel() for one, other in zip(some, others, strict=True)])
    spread = np.concatenate([np.broadcast_to(one.std(axis=-1, keepdims=True), one.shape).ravel() for one in others])
    return float(apart.mean() / spread.mean())


if __name__ == "__main__":
    sys.exit(main())
