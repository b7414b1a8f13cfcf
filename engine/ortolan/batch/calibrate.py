"""Measuring what runs cost, within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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

REPEATS = 2
"""Timed runs at a shape each time it is looked at, after one that is not."""

ENOUGH = 1.05
"""Batches grow until a text costs at most so many times the least it could."""

QUEUE_SECONDS = 2.0
"""As many texts may wait, by default, as are answered in this time: more would only be answered too late."""

TYPICAL_LENGTH = 64
"""Tokens of a text, where one has to be assumed."""


def measure(
    run: Callable[[int, int], object],
    *,
    side_by_side: int,
    budget_seconds: float,
    max_rows: int,
    max_length: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Shape, float]:
    """Time runs of several shapes, as many as a budget allows and one at least.

    Args:
        run: Runs a batch of so many rows of so many tokens.
        side_by_side: How many runs go on at the same time while each is timed.
        budget_seconds: How long to measure.
        max_rows: Most rows of a batch.
        max_length: Most tokens of a row.
        clock: Seconds from any moment on.

    Returns:
        Median seconds of a run, by rows and length.
    """
    until = clock() + budget_seconds
    measured: dict[Shape, float] = {}
    for rows, length in PROBES:
        shape = (min(rows, max_rows), min(length, max_length))
        if shape in measured:
            continue
        if measured:
            expected = CostTable(measured, max_rows=max_rows, max_length=max_length).seconds(*shape)
            if clock() + expected * (REPEATS + 1) > until:
                continue
        measured[shape] = _timed(run, shape, side_by_side, clock)
    return measured


def derive_limits(tables: list[CostTable]) -> Limits:
    """Choose how large batches grow: until a larger one would save next to nothing for texts of any length."""
    rows, tokens = 1, 1
    for table in tables:
        length = 16
        while length <= min(table.max_length, 256):
            costs, price = table.by_rows(length), table.price(length)
            enough = next(count for count in range(1, table.max_rows + 1) if costs[count] / count <= ENOUGH * price)
            rows, tokens = max(rows, enough), max(tokens, enough * length)
            length *= 2
    return Limits(rows, tokens)


def derive_max_queue(seconds_for_one: float) -> int:
    """Choose how many texts may wait, from what a typical one takes."""
    return min(max(round(QUEUE_SECONDS / seconds_for_one), 64), 100_000)


def _timed(run: Callable[[int, int], object], shape: Shape, side_by_side: int, clock: Callable[[], float]) -> float:
    taken: list[float] = []

    def repeat() -> None:
        run(*shape)
        for _ in range(REPEATS):
            start = clock()
            run(*shape)
            taken.append(clock() - start)

    with ThreadPoolExecutor(side_by_side) as pool:
        for future in [pool.submit(repeat) for _ in range(side_by_side)]:
            future.result()
    return max(float(np.median(taken)), 1e-6)
