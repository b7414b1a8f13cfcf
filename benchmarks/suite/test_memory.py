"""Question: how much memory has a process taken at most: after its first answer, and after many texts of mixed lengths?

Expected: Ortolan takes less than transformers by what torch weighs, and many texts add little to the first.
"""

from __future__ import annotations

import pytest

from benchmarks.cold_start import measure
from benchmarks.peer_models import HELD_OUT
from benchmarks.suite.session import Suite
from benchmarks.suite.subjects import CLASSIFIERS
from ortolan.progress import track

REFERENCE = "transformers fp32"
COUNTS = {"first answer": 1, "100 texts": 100}
ROUNDS = 2  # memory is no matter of luck
OWN = 'import ortolan; pipe = ortolan.pipeline("sentiment-analysis", sys.argv[1], precision="{}")'
TORCH = (
    "import torch, transformers; "
    'pipe = transformers.pipeline("sentiment-analysis", sys.argv[2], dtype=torch.{}, truncation=True)'
)
OPENERS = {
    "Ortolan fp32": OWN.format("fp32"),
    "Ortolan int8": OWN.format("int8"),
    REFERENCE: TORCH.format("float32"),
    "transformers bf16": TORCH.format("bfloat16"),
}
"""How each makes its pipeline."""

ASKED = """\
{opener}
import json
for line in open({path!r}, encoding="utf-8").read().splitlines()[:{count}]:
    pipe(json.loads(line)["text"])
"""


@pytest.mark.parametrize("case", COUNTS)
def test_peak(suite: Suite, case: str) -> None:
    """Ask pipelines in processes of their own, in turns, one text at a time."""
    model = CLASSIFIERS["minilm"]
    artifact = model.artifact
    peaks: dict[str, list[float]] = {name: [] for name in OPENERS}
    for _ in track(range(min(suite.rounds, ROUNDS)), f"memory, {case}"):
        for name, opener in OPENERS.items():
            script = ASKED.format(opener=opener, path=str(HELD_OUT), count=COUNTS[case])
            peaks[name].append(measure(script, artifact)[1] / 1e6)
    for name, found in peaks.items():
        suite.case(
            group="memory",
            subject=model.title,
            case=case,
            contender=name,
            unit="MB",
            better="less",
            rounds=tuple((peak,) for peak in found),
            reference=REFERENCE,
        )
