"""Question: how many tokens a second are written: one text, eight, by beams, and when texts come and go?

Expected: Ortolan int8 writes several times as many as eager PyTorch, and more than CTranslate2's int8; requests that
come over time are done sooner when they join and leave between steps than in batches. Full runs add models with an
encoder, and their beams. All weights are random, and of real size.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from benchmarks.suite.races import Raced
from benchmarks.suite.session import Suite
from benchmarks.suite.subjects import WRITERS
from benchmarks.suite.tools import names
from benchmarks.writing_load_worker import COUNT, RATE
from benchmarks.writing_models import prompts
from benchmarks.writing_speed import VOCABULARY
from ortolan.bench.records import Case
from ortolan.request import TextInput
from ortolan_exporters.contenders.race import BEAMS, WRITTEN
from ortolan_exporters.contenders.registry import WRITING

full = pytest.mark.full
READ = 32
SHAPES = ((1, READ), (8, READ))
CASES = {f"{rows} text{'s' * (rows != 1)} of {READ}+{WRITTEN}": rows for rows, _ in SHAPES}
CONTENDERS = dict.fromkeys(name for task in WRITING for name in names("write", task))
WAYS = {
    "Ortolan int8, texts come and go": "continuous",
    "Ortolan int8, batches of eight": "static",
    "Ortolan int8, batches of eight, all rows to the end": "static, all rows to the end",
}
"""Of contenders, and what the worker calls them."""

PLAIN = list(WAYS)[-1]


@pytest.fixture(
    scope="module", params=["gpt2", *(pytest.param(name, marks=full) for name in WRITERS if name != "gpt2")]
)
def raced(request: pytest.FixtureRequest, suite: Suite) -> Iterator[Raced]:
    """Race one model."""
    asked = prompts(VOCABULARY, max(SHAPES)[0], READ, seed=1)
    texts = [TextInput(" ".join(f"t{index}" for index in prompt)) for prompt in asked]
    with suite.race(WRITERS[request.param], "write", shapes=SHAPES, texts=texts) as raced:
        yield raced


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("case", CASES)
def test_greedy(raced: Raced, show_raced: Callable[[Raced, str, str], None], case: str, contender: str) -> None:
    """Write the likeliest token, again and again."""
    show_raced(raced, case, contender)


@full
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("case", CASES)
def test_beams(raced: Raced, show_raced: Callable[[Raced, str, str], None], case: str, contender: str) -> None:
    """Keep several beginnings of each text."""
    show_raced(raced, f"{case}, {BEAMS} beams", contender)


@pytest.fixture(scope="module")
def arrivals(suite: Suite) -> list[Case]:
    """Requests of mixed length that come over time, to GPT-2: the ways take turns in one process."""
    rounds = suite.rounds if suite.is_full else min(suite.rounds, 2)  # a round takes long
    command = [sys.executable, "-m", "benchmarks.writing_load_worker", str(WRITERS["gpt2"].artifact), str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [
        suite.case(
            group="generation",
            subject=WRITERS["gpt2"].title,
            case=f"{COUNT} requests, {RATE:g} a second",
            contender=name,
            unit="tok/s",
            better="more",
            rounds=_rates(json.loads(done.stdout)["arrivals"], way),
            reference=PLAIN,
        )
        for name, way in WAYS.items()
    ]


def _rates(rounds: Sequence[Mapping[str, Any]], way: str) -> tuple[tuple[float, ...], ...]:
    return tuple((one[way]["tokens"] / one[way]["seconds"],) for one in rounds)


@pytest.mark.parametrize("contender", WAYS)
def test_continuous(arrivals: list[Case], show: Callable[[Sequence[Case], str, str], None], contender: str) -> None:
    """Write texts that come over time."""
    show(arrivals, contender, "not measured")
