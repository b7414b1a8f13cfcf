"""Measuring what runs cost, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np

from ortolan.batch.costs import CostTable, Shape
from ortolan.batch.policy import Limits

PROBES: tuple[Shape, ...] = (
    (1, 16),
    (1, 64),
    (8, 16),
    (1, 128),
    (4, 64),
    (16, 16),
    (1, 32),
    (8, 64),
    (1, 256),
    (1, 512),
)
"""Rows and length of what is measured, the most telling first."""

VISIT_SECONDS = 0.005
"""How long a shape is run each time it is looked at: twice at least, and short runs as often as it goes."""

LEAST_TOKENS = 256
"""Batches may grow to so many tokens whatever was measured: a busy moment must not forbid them for good."""

MOST_TOKENS = 16_384
"""And to no more: on a fast device memory and the patience of callers end before the gain does."""

ENOUGH = 1.05
"""Batches may grow until a text costs at most so many times the least it could."""

QUEUE_SECONDS = 2.0
"""As many texts may wait, by default, as are answered in this time: more would only be answered too late."""


def measure(
    run: Callable[[int, int], object],
    *,
    side_by_side: int,
    budget_seconds: float,
    max_rows: int,
    max_length: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Shape, float]:
    """Time runs of several shapes, as many and as often as a budget allows, one at least.

    Args:
        run: Runs a batch of so many rows of so many tokens.
        side_by_side: How many runs go on at the same time while each is timed.
        budget_seconds: How long to measure.
        max_rows: Most rows of a batch.
        max_length: Most tokens of a row.
        clock: Seconds from any moment on.

    Returns:
        Seconds of a run, by rows and length.
    """
    until = clock() + budget_seconds
    taken: dict[Shape, list[float]] = {}
    shapes = list(dict.fromkeys((min(rows, max_rows), min(length, max_length)) for rows, length in PROBES))
    while True:
        visited = False
        for shape in shapes:
            if taken:
                typical = {known: _typical(times) for known, times in taken.items()}
                expected = CostTable(typical, max_rows=max_rows, max_length=max_length).seconds(*shape)
                if clock() + max(VISIT_SECONDS, 3 * expected) > until:
                    continue
            taken.setdefault(shape, []).extend(_timed(run, shape, side_by_side, clock))
            visited = True
        if not visited:
            return {known: _typical(times) for known, times in taken.items()}


def derive_limits(tables: Sequence[CostTable]) -> Limits:
    """Choose how large batches may grow: until a text costs `ENOUGH` times the least it could, but not smaller.

    By the law that was fitted to what was measured, a text of S tokens in a batch of B costs
    `a / B + b * S + c * S * S` seconds: the first part shrinks below the share that is allowed at
    `B * S = a / (b * (ENOUGH - 1))` tokens.
    """
    tokens = LEAST_TOKENS
    for table in tables:
        a, b, _ = table.fitted
        if b > 0:
            tokens = max(tokens, min(round(a / (b * (ENOUGH - 1))), MOST_TOKENS))
    return Limits(min(table.max_rows for table in tables), tokens)


def derive_max_queue(seconds_for_one: float) -> int:
    """Choose how many texts may wait, from what a typical one takes."""
    return min(max(round(QUEUE_SECONDS / seconds_for_one), 64), 100_000)


def _typical(times: Sequence[float]) -> float:
    """What a run takes on a machine that is not disturbed: the first quartile, for nothing makes a run quicker."""
    return float(np.quantile(times, 0.25))


def _timed(
    run: Callable[[int, int], object], shape: Shape, side_by_side: int, clock: Callable[[], float]
) -> list[float]:
    """Seconds of runs of a shape, the first left out."""
    taken: list[float] = []

    def repeat() -> None:
        run(*shape)
        until = clock() + VISIT_SECONDS
        for number in count():
            start = clock()
            if number >= 2 and start >= until:
                return
            run(*shape)
            taken.append(max(clock() - start, 1e-6))

    with ThreadPoolExecutor(side_by_side) as pool:
        for future in [pool.submit(repeat) for _ in range(side_by_side)]:
            future.result()
    return taken
