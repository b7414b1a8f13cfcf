"""Question: how long does it take to make files of a checkpoint, beside other tools?

Expected: Ortolan takes longer, for it compares what it makes with torch on real texts, and measures which form of it is
quickest; others write a graph and leave that to their users. A time is that of a whole process, imports included.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.peer_models import CALIBRATION, texts_of
from benchmarks.record import OUT
from benchmarks.suite.session import NUM_CALIBRATION, Suite
from benchmarks.suite.subjects import CLASSIFIERS
from benchmarks.suite.tools import PRECISIONS, names
from ortolan.bench.records import Case
from ortolan.progress import say
from ortolan.session.processors import usable_threads
from ortolan_exporters.contenders.environments import InstallError, python_of
from ortolan_exporters.contenders.process import Process, WorkerError
from ortolan_exporters.contenders.registry import OWN_PROGRAM, Contender, own
from ortolan_exporters.contenders.serving import Feed, Job
from ortolan_exporters.contenders.subject import open_subject

QUICK_ROUNDS, FULL_ROUNDS = 1, 3
"""A round takes minutes."""

QUICK = ("Ortolan int8", "ONNX Runtime fp32", "optimum int8, per channel", "OpenVINO int8")
"""Who is asked in quick runs: one of each tool."""

REFERENCE = "ONNX Runtime fp32"
"""Runs what torch's own exporter writes."""


@pytest.fixture(
    scope="module", params=["minilm", *(pytest.param(name, marks=pytest.mark.full) for name in ("distilbert",))]
)
def cases(request: pytest.FixtureRequest, suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Let every tool make its files anew, in turns."""
    model = CLASSIFIERS[request.param]
    feeds = open_subject(model.artifact).feeds(texts_of(CALIBRATION, NUM_CALIBRATION), rows=1)
    taken: dict[str, list[tuple[float]]] = {}
    able = set(names("forward", model.task) if suite.is_full else QUICK)
    contenders = {
        one.name: one for one in (*suite.others, *own(PRECISIONS)) if one.makers or one.program == OWN_PROGRAM
    }
    for number in range(min(suite.rounds, FULL_ROUNDS if suite.is_full else QUICK_ROUNDS)):
        for name in random.Random(number).sample(list(contenders), len(contenders)):
            if name not in able:
                continue
            say(f"{name} makes its files of {model.title}")
            folder = tmp_path_factory.mktemp("made")
            try:
                taken.setdefault(name, []).append((_seconds(contenders[name], model.source, folder, feeds),))
            except (InstallError, WorkerError) as error:
                suite.lose(model.title, name, f"export: {error}")
                able.discard(name)
                taken.pop(name, None)
    return [
        suite.case(
            group="export",
            subject=model.title,
            case="checkpoint to files",
            contender=name,
            unit="s",
            better="less",
            rounds=tuple(rounds),
            reference=REFERENCE,
        )
        for name, rounds in taken.items()
    ]


@pytest.mark.parametrize("contender", names("forward", "text-classification"))
def test_making(cases: list[Case], show: Callable[[Sequence[Case], str, str], None], contender: str) -> None:
    """Time what comes before the first answer, once."""
    show(cases, contender, "it makes no files, could not, or is left to full runs")


def _seconds(contender: Contender, checkpoint: Path, folder: Path, feeds: list[Feed]) -> float:
    """Run the programs that make a contender's files, one after the other, and return how long they took."""
    spent = 0.0
    for program in contender.makers or (contender.program,):
        python = python_of(program)  # making an environment does not count
        log = OUT / "logs" / f"suite-export-{program}-{contender.precision}.log"
        job = Job(
            str(checkpoint), str(folder / program), contender.precision, usable_threads(), str(CALIBRATION), feeds
        )
        start = time.perf_counter()
        with Process(python, program, log) as process:
            process.ask("make", job)
        spent += time.perf_counter() - start
    return spent
