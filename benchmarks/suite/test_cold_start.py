"""Question: how long does a new process take until its first answer, files in the page cache?

Expected: Ortolan answers within a second, and transformers takes longer for importing torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from benchmarks.cold_start import SCRIPTS, measure
from benchmarks.suite.session import Suite
from benchmarks.suite.subjects import CLASSIFIERS
from ortolan.bench.records import Case
from ortolan.progress import track

REFERENCE = "transformers fp32"
STARTS = {
    ("import", "Ortolan"): "import ortolan",
    ("import", REFERENCE): "import torch, transformers; transformers.pipeline",
    ("first answer", "Ortolan int8"): SCRIPTS["first answer, ortolan int8"],
    ("first answer", "Ortolan fp32"): SCRIPTS["first answer, ortolan int8"].replace('"int8"', '"fp32"'),
    ("first answer", REFERENCE): SCRIPTS["first answer, transformers fp32"],
}
"""Scripts by case and contender."""


@pytest.fixture(scope="module")
def cases(suite: Suite) -> list[Case]:
    """Start one process after the other, in turns; the start of the interpreter is left out."""
    model = CLASSIFIERS["minilm"]
    artifact = model.artifact
    taken: dict[tuple[str, str], list[float]] = {place: [] for place in STARTS}
    for _ in track(range(suite.rounds), "processes"):
        for place, script in STARTS.items():
            seconds, _ = measure(script, artifact)
            taken[place].append(seconds)
    return [
        suite.case(
            group="cold start",
            subject=model.title,
            case=case,
            contender=contender,
            unit="s",
            better="less",
            rounds=tuple((seconds,) for seconds in found),
            reference=REFERENCE,
        )
        for (case, contender), found in taken.items()
    ]


@pytest.mark.parametrize("place", STARTS, ids=", ".join)
def test_new_process(
    cases: list[Case], show: Callable[[Sequence[Case], str, str], None], place: tuple[str, str]
) -> None:
    """Time a script in a process of its own."""
    case, contender = place
    show([one for one in cases if one.case == case], contender, "not measured")
