from __future__ import annotations

import threading

import pytest

from ortolan.batch.calibrate import (
    LEAST_TOKENS,
    MOST_TOKENS,
    PROBES,
    derive_limits,
    derive_max_queue,
    measure,
)
from ortolan.batch.costs import CostTable


class Clock:
    """Moves when a run takes time, and by nothing else."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs: list[tuple[int, int]] = []

    def __call__(self) -> float:
        return self.now

    def run(self, rows: int, length: int) -> None:
        self.runs.append((rows, length))
        self.now += 1e-3 + 5e-5 * rows * length


def measured(clock: Clock, budget: float, max_rows: int = 64, max_length: int = 512) -> dict[tuple[int, int], float]:
    return measure(
        clock.run, side_by_side=1, budget_seconds=budget, max_rows=max_rows, max_length=max_length, clock=clock
    )


def test_the_times_are_those_of_the_runs():
    found = measured(Clock(), 1.0)
    assert found[1, 16] == pytest.approx(0.0018)
    assert found[8, 16] == pytest.approx(0.0074)


def test_the_budget_is_kept():
    clock = Clock()
    measured(clock, 0.2)
    assert 0.1 < clock.now < 0.25


def test_without_a_budget_one_shape_is_measured_all_the_same():
    assert list(measured(Clock(), 0.0)) == [PROBES[0]]


def test_no_shape_is_larger_than_the_model_reads_or_a_batch_may_be():
    clock = Clock()
    found = measured(clock, 2.0, max_rows=2, max_length=32)
    assert set(found) == {(1, 16), (1, 32), (2, 16), (2, 32)}


def test_runs_side_by_side_are_under_way_at_the_same_time():
    together, most = 0, 0
    lock = threading.Lock()

    def run(rows: int, length: int) -> None:
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        threading.Event().wait(0.01)
        with lock:
            together -= 1

    measure(run, side_by_side=3, budget_seconds=0.0, max_rows=4, max_length=64)
    assert most == 3


def test_what_a_run_raises_reaches_the_caller():
    def run(rows: int, length: int) -> None:
        raise ValueError("no such shape")

    with pytest.raises(ValueError, match="no such shape"):
        measure(run, side_by_side=2, budget_seconds=0.1, max_rows=4, max_length=64)


def table(a: float, b: float) -> CostTable:
    shapes = ((1, 16), (1, 64), (8, 16), (1, 128), (4, 64))
    return CostTable({(n, s): a + b * n * s for n, s in shapes}, max_rows=64, max_length=512)


def test_batches_grow_until_the_cost_of_a_run_is_a_small_part_of_it():
    assert derive_limits([table(1e-3, 5e-5)]).max_tokens == pytest.approx(1e-3 / 5e-5 / 0.05, rel=0.2)


def test_batches_grow_neither_too_little_nor_too_much():
    assert derive_limits([table(1e-6, 5e-5)]).max_tokens == LEAST_TOKENS
    assert derive_limits([table(1.0, 1e-7)]).max_tokens == MOST_TOKENS


def test_as_many_texts_may_wait_as_are_answered_in_two_seconds():
    assert derive_max_queue(0.002) == 1000
    assert derive_max_queue(10.0) == 64
