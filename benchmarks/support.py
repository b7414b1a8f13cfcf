"""Which architectures and heads can be exported, and how well?

Each is tried: a small model with random weights and a tokenizer of the right kind is saved as a checkpoint, exported
through the public API, and compared with torch. Small and random, the models say whether an export is right, and not
how well int8 serves a trained model of that kind: that is measured at each export.

    python -m benchmarks.support            # tries what has not been tried yet, then writes docs/support.md
    python -m benchmarks.support --fresh    # tries everything anew
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import zoo
from benchmarks.record import environment
from benchmarks.tables import plain_table
from ortolan import Model
from ortolan.config import PRECISIONS, Precision
from ortolan.errors import OrtolanError
from ortolan_exporters import choose, export
from ortolan_exporters.architectures.registry import ARCHITECTURES, tasks_of
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.errors import ToleranceError
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.heads.base import ask
from ortolan_exporters.resolve import resolve

PAGE = Path(__file__).parents[1] / "docs" / "support.md"
RECORD = Path(__file__).parent / "records" / "support.json"
SHAPES = ((1, 7), (1, 64), (5, 7), (5, 64))
SIZES = {"vocab_size": 2000}
SECONDS_A_CASE = 600
EVERY_PRECISION = "feature-extraction"
"""The head whose export makes every precision; the others make fp32 and int8."""

INTRODUCTION = """\
# What can be exported

Made by `python -m benchmarks.support`, which tries each: a small model with random weights is saved, exported and
compared with torch, at batches of 1 and 5 texts of 7 and 64 tokens, padding among them. The difference is the largest
one of fp32, as a share of the largest output. Agreement is that of int8 with torch on the built-in texts; random
weights make close calls, so trained models agree better. Seconds are those of an export that makes fp32 and int8; for
feature-extraction, of every precision."""

SIZES_INTRODUCTION = """\
## Size of each precision

Kilobytes of the graph, for feature-extraction. In models as small as these the nodes and small constants weigh as much
as the weights; one of real size comes close to a quarter for int8 and to a seventh for int4."""

OTHERS = """\
## Others

Every other `model_type` that transformers has such a head for is exported by what its config and class tell.
These were tried:"""

BEYOND = tuple(name for name in zoo.TOKENIZERS if name not in ARCHITECTURES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try each case in a process of its own, and write the page."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--fresh", action="store_true", help="try what has been tried before, too")
    flags.add_argument("--case", nargs=2, metavar=("MODEL_TYPE", "TASK"), help="try one case, and print what was found")
    chosen = flags.parse_args(arguments)
    if chosen.case:
        print(json.dumps(attempt(*chosen.case)))
        return 0
    found: dict[str, Any] = {}
    if RECORD.is_file() and not chosen.fresh:
        found = json.loads(RECORD.read_text(encoding="utf-8"))["cases"]
    for model_type, task in cases():
        name = f"{model_type} {task}"
        if "error" in found.get(name, {"error": ""}):
            found[name] = _attempt_apart(model_type, task)
            print(name, found[name].get("error", "ok"), file=sys.stderr)
            document = {"environment": environment(), "cases": found}
            RECORD.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(RECORD.read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


def cases() -> list[tuple[str, str]]:
    """Every head of the architectures with a file of their own, and one head of some of the others."""
    own = [(name, task) for name, row in ARCHITECTURES.items() for task in tasks_of(row)]
    return own + [(name, "text-classification") for name in BEYOND]


def attempt(model_type: str, task: str) -> dict[str, Any]:
    """Export one small model, and compare it with torch."""
    choose.ROUNDS, choose.CALLS = 1, 1  # which form is quickest is of no interest here
    wanted: tuple[Precision, ...] = PRECISIONS if task == EVERY_PRECISION else ("fp32", "int8")
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = zoo.save(Path(place) / "checkpoint", model_type, task, **SIZES)
        folder = Path(place) / "artifact"
        start = time.perf_counter()
        refused: dict[str, str] = {}
        try:
            try:
                artifact = export(checkpoint, folder, task, precisions=wanted)
            except ToleranceError as error:  # by the gate: of random weights some can't be quantized
                refused["int8"] = error.found
                artifact = export(checkpoint, folder, task, precisions=("fp32",))
        except OrtolanError as error:
            return {"error": f"{type(error).__name__}: {error}"[:400]}
        seconds = time.perf_counter() - start
        records = artifact.manifest.precisions
        return {
            "seconds": round(seconds, 1),
            "refused": refused,
            "difference": _difference(checkpoint, folder, task),
            "quality": {name: dict(record.quality) for name, record in records.items()},
            "kept_fp32": {name: list(record.kept_fp32) for name, record in records.items()},
            "bytes": {
                name: sum(artifact.manifest.files[graph.file].bytes for graph in record.graphs.values())
                for name, record in records.items()
            },
        }


def _attempt_apart(model_type: str, task: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.support", "--case", model_type, task]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS_A_CASE)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {SECONDS_A_CASE} s"}
    except (ValueError, IndexError):
        return {"error": f"the process ended: {done.stderr.strip().splitlines()[-1:]}"}


def _difference(checkpoint: Path, folder: Path, task: str) -> float:
    """Largest difference of fp32 to torch, padding left out, as a share of the largest output."""
    reference = resolve(checkpoint, None, ExportConfig(task=task))
    model = Model.load(folder, provider="cpu", precision="fp32")
    worst = 0.0
    for seed, (rows, length) in enumerate(SHAPES):
        feed = example_batch(reference.inputs, rows, length, vocabulary=reference.vocabulary, seed=seed)
        tensors = {name: torch.from_numpy(values) for name, values in feed.items()}
        with torch.inference_mode():
            wanted = ask(reference.head.answer, reference.head, reference.module, tensors)
        for name, tensor in wanted.items():
            expected, got = tensor.numpy(), model(**feed)[name]
            if expected.shape[1:2] == (length,):
                real = feed["attention_mask"].astype(bool)
                expected, got = expected[real], got[real]
            worst = max(worst, float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max())))
    return worst


def page(record: Mapping[str, Any]) -> str:
    """Lay out what was found, in Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in record["environment"]["versions"].items())
    own = {name: case for name, case in record["cases"].items() if name.split()[0] in ARCHITECTURES}
    others = {name: case for name, case in record["cases"].items() if name not in own}
    parts = (
        INTRODUCTION,
        f"Versions: {versions}.",
        _table(own),
        SIZES_INTRODUCTION,
        _sizes(own),
        OTHERS,
        _table(others),
    )
    return "\n\n".join(parts) + "\n"


def _table(found: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["architecture", "head", "difference", "int8", "layers kept in fp32", "seconds"]
    rows = []
    for name, case in found.items():
        if "error" in case:
            rows.append([*name.split(), "not exported", case["error"].replace("|", "/")[:120], "", ""])
            continue
        if "int8" in case["quality"]:
            kept, int8 = len(case["kept_fp32"]["int8"]), _agreement(case["quality"]["int8"])
        else:
            kept, int8 = "", f"the gate refuses it: {case['refused']['int8']}"
        rows.append([*name.split(), f"{case['difference']:.1g}", int8, kept, case["seconds"]])
    return plain_table(head, rows)


def _agreement(quality: Mapping[str, Any]) -> str:
    if quality["measure"] == "cosine":
        return f"cosine {quality['mean_cosine']:.4f}"
    return f"same label {quality['label_agreement']:.1%}"


def _sizes(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name.split()[0], *(f"{case['bytes'][precision] / 1e3:.0f}" for precision in PRECISIONS)]
        for name, case in found.items()
        if name.endswith(EVERY_PRECISION) and "error" not in case
    ]
    return plain_table(["architecture", *PRECISIONS], rows)


if __name__ == "__main__":
    sys.exit(main())
