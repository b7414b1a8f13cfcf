"""Question: how late are answers when requests come at times of their own, at rates that a service bears and beyond?

Expected: beside one session that answers in turn, the engine is little later at low rates, and keeps up at rates at
which the session does not. Full runs add pipelines of other projects and more rates.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from benchmarks.engine_load import CONTENDERS, mixes, own_contenders, services, turn
from benchmarks.engine_load_tables import BATCHER, ENGINE, LOOP, ONE_SESSION
from benchmarks.open_loop import draw_texts, poisson_arrivals
from benchmarks.suite.session import Suite
from benchmarks.suite.subjects import CLASSIFIERS, RATES, served
from benchmarks.workers.load import Play
from ortolan.bench.records import Case
from ortolan.progress import track
from ortolan_exporters.contenders.process import Process

full = pytest.mark.full
MORE_RATES = (25, 50, 200, 300, 600)
SECONDS = 1.0
LATE_MS = 1000.0
"""A contender of which half of the answers come later than this does not bear the rate."""

OWN = {ENGINE: "Ortolan engine", ONE_SESSION: "Ortolan, one session", LOOP: "Ortolan, plain loop"}
"""Ours by the names of benchmarks/engine_load.py, and in the record. The batcher would have to be tuned first."""

NAMES = {one.name: OWN.get(one.name, one.name) for one in CONTENDERS if one.name != BATCHER}


@pytest.fixture(scope="module")
def running(suite: Suite) -> Iterator[Mapping[str, Process]]:
    """Start the services, by their names in the record."""
    served()
    asked = [one for one in (CONTENDERS if suite.is_full else own_contenders()) if one.name in NAMES]
    with services("minilm", asked) as (processes, found):
        title = CLASSIFIERS["minilm"].title
        for name, reason in found["missing"].items():
            suite.lose(title, NAMES[name], reason)
        yield {NAMES[name]: process for name, process in processes.items()}


@pytest.fixture(scope="module", params=[*RATES, *(pytest.param(rate, marks=full) for rate in MORE_RATES)])
def cases(request: pytest.FixtureRequest, suite: Suite, running: Mapping[str, Process]) -> list[Case]:
    """Let as many requests a second come to each, in turns."""
    rate, title = request.param, CLASSIFIERS["minilm"].title
    [texts] = mixes(["sentences"]).values()
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in running}
    for number in track(range(suite.rounds), f"{rate} requests a second"):
        for name in random.Random(number).sample(list(taken), len(taken)):
            latencies = turn(running[name], _play(rate, number, texts)).latencies
            if all(map(math.isfinite, latencies)):
                taken[name].append(tuple(round(latency, 3) for latency in latencies))  # no clock tells more
            else:
                del taken[name]
                suite.lose(title, name, f"at {rate} requests a second half of the answers are a second late or more")
    return [
        suite.case(
            group="load",
            subject=title,
            case=f"{rate} requests a second",
            contender=name,
            unit="ms",
            better="less",
            rounds=tuple(rounds),
            reference=OWN[ONE_SESSION],
        )
        for name, rounds in taken.items()
    ]


@pytest.mark.parametrize("contender", NAMES.values())
def test_open_loop(cases: list[Case], show: Callable[[Sequence[Case], str, str], None], contender: str) -> None:
    """Time answers from the moments at which requests were due."""
    show(cases, contender, "not raced, or too slow for this rate")


def _play(rate: int, seed: int, texts: Sequence[str]) -> Play:
    count = round(rate * SECONDS)
    return Play(poisson_arrivals(rate, count, seed), draw_texts(texts, count, seed), LATE_MS, count // 2)
