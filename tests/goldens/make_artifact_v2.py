"""Make artifact-v2, the artifact of format version 2 that every later release must read.

    python -m tests.goldens.make_artifact_v2

The one that is checked in is artifact-v1, converted to format 2: tests know its tolerances and its choices. What this
makes has the same model and the same choices. Not to be run once format 2 has been released: its bytes are the test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ortolan_exporters import choose, export
from ortolan_exporters.choose import Measured
from tests import tiny

CHOICE = ("packed", ())
"""Tests know it: on another day another way may have been quickest."""

measure = choose.measure


def measure_and_choose(*arguments: Any) -> list[Measured]:
    """Measure as ever, and put that choice first."""
    return sorted(measure(*arguments), key=lambda one: (one.attention, one.disabled_optimizers) != CHOICE)


def main() -> None:
    """Export a tiny BERT, in fp32 and int8."""
    choose.measure = measure_and_choose
    with tempfile.TemporaryDirectory() as folder:
        model = tiny.bert(id2label={0: "NEGATIVE", 1: "POSITIVE"})
        checkpoint = tiny.save_checkpoint(Path(folder) / "tiny-bert", model)
        export(checkpoint, Path(__file__).parent / "artifact-v2", precisions=("fp32", "int8"), overwrite=True)


if __name__ == "__main__":
    main()
