"""Timing that a busy machine disturbs as little as possible: contenders take turns, medians decide.

A ratio is the median over the rounds of the ratio within each round: a shared machine has slow minutes, and a round
is short enough for all contenders to be in the same one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ortolan.progress import track

Name = TypeVar("Name")

CALLS = 5
"""Timed calls of one contender in a round."""

REST_SECONDS = 0.03
"""Rest before a contender's turn, in which the threads of the one before stop spinning."""

WARM_UP_SECONDS = 0.05
"""Uncounted calls of a contender at its turn: after a rest, caches and clocks take a while to come up."""


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one contender in one case: for each round, those of its calls."""

    rounds: list[list[float]]

    @property
    def runs(self) -> list[float]:
        """All calls."""
        return [run for taken in self.rounds for run in taken]

    @property
    def median(self) -> float:
        """The middle call, milliseconds."""
        return _median(self.runs)

    @property
    def p95(self) -> float:
        """Nineteen of twenty calls were at least as quick, milliseconds."""
        return sorted(self.runs)[max(0, round(0.95 * len(self.runs)) - 1)]

    def times_as_quick_as(self, other: Times) -> float:
        """How many times as quick as another contender, in the median round."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return _median([_median(theirs) / _median(own) for own, theirs in pairs])


def interleave(
    contenders: Mapping[Name, Callable[[], object]], rounds: int, what: str, calls: int = CALLS
) -> dict[Name, Times]:
    """Let contenders take turns: in each round each one rests, warms up, and runs a few times.

    One call each in turn would not be fair: the threads of the one before go on spinning for a while, on the cores that
    the next one needs. torch's and ONNX Runtime's both do.

    Args:
        contenders: What to call, by name.
        rounds: How often each one's turn comes.
        what: Says in the progress bar what is timed.
        calls: Timed calls of one contender in a round.
    """
    taken: dict[Name, list[list[float]]] = {name: [] for name in contenders}
    for _ in track(range(rounds), what):
        for name, milliseconds in take_turns(contenders, calls).items():
            taken[name].append(milliseconds)
    return {name: Times(by_round) for name, by_round in taken.items()}


def take_turns(contenders: Mapping[Name, Callable[[], object]], calls: int = CALLS) -> dict[Name, list[float]]:
    """Make one round of `interleave`.

    Args:
        contenders: What to call, by name, in the order of their turns.
        calls: Timed calls of each.

    Returns:
        Milliseconds of the calls, by name.
    """
    taken = {}
    for name, call in contenders.items():
        time.sleep(REST_SECONDS)
        _warm_up(call)
        taken[name] = [_milliseconds(call) for _ in range(calls)]
    return taken


def _median(values: list[float]) -> float:
    return float(np.median(values))  # numpy is loaded in any case; the statistics module would cost every import 7 ms


def _warm_up(call: Callable[[], object]) -> None:
    until = time.perf_counter() + WARM_UP_SECONDS
    call()
    while time.perf_counter() < until:
        call()


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3
