from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.batch.costs import CostTable
from ortolan.batch.policy import Limits, Load, Run, Waiting, can_make_it, choose_run, expected_seconds
from tests.engine.traffic import tables

LIMITS = Limits(16, 512)
BUSY = Load(800.0, {1: 0.95, 2: 0.95})
LENGTHS = st.lists(st.integers(1, 256), min_size=1, max_size=90)


def line_of(*lengths: int, due: float = math.inf) -> list[Waiting]:
    return [Waiting(length, number * 1e-6, due) for number, length in enumerate(lengths)]


def chosen(line: list[Waiting], *, limits: Limits = LIMITS, now: float = 1.0, free: int = 2) -> Run:
    run = choose_run(line, tables(), limits, now, free)
    assert run is not None
    return run


def one_thread() -> dict[int, CostTable]:
    return {1: tables()[1]}


def test_nothing_waiting_runs_nothing():
    assert choose_run([], tables(), LIMITS, 0.0, 2) is None


def test_nothing_runs_where_no_thread_is_free():
    assert choose_run(line_of(16), tables(), LIMITS, 0.0, 0) is None


def test_a_lone_text_runs_on_all_threads_where_that_is_quicker():
    assert chosen(line_of(128)) == Run((0,), 2, pytest.approx(0.0062, rel=0.05))


def test_a_lone_text_leaves_a_thread_to_those_who_come_where_many_do():
    def width(load: float) -> int:
        run = choose_run(
            line_of(16), tables(), LIMITS, 1.0, 2, load=Load(0.0, {2: load, 1: load * 0.0022 / 0.0016 / 2})
        )
        assert run is not None
        return run.num_threads

    assert [width(load) for load in (0.0, 0.2, 0.7, 2.0)] == [2, 2, 1, 1]


def test_waiting_is_expected_as_the_formula_has_it():
    found = expected_seconds(tables(), 16, {2: 0.5, 1: 0.5})
    assert found[2] == pytest.approx(0.0016 * (1 + 0.75 * 0.5 / 0.5))
    assert found[1] == pytest.approx(0.0022 * (1 + 0.75 * 0.5 ** (6**0.5 - 1) / 1.0))


def test_a_lone_text_runs_on_the_threads_that_are_free():
    assert chosen(line_of(128), free=1).num_threads == 1


def test_a_lone_text_waits_for_a_wide_run_that_is_done_sooner():
    assert choose_run(line_of(128), tables(), LIMITS, 0.0, 1, busy_seconds=0.001) is None
    assert choose_run(line_of(128), tables(), LIMITS, 0.0, 1, busy_seconds=0.004) is not None
    assert choose_run(line_of(128), tables(), LIMITS, 0.0, 1) is not None


def test_several_texts_do_not_wait_for_a_wide_run():
    assert choose_run(line_of(128, 128), tables(), LIMITS, 0.0, 1, busy_seconds=0.001) is not None


def test_short_texts_go_together_where_many_come():
    run = choose_run(line_of(*[16] * 12), tables(), LIMITS, 1.0, 1, load=BUSY)
    assert run is not None
    assert run.rows == tuple(range(12))


def test_a_short_text_does_not_pay_for_the_padding_of_a_long_one():
    run = choose_run(line_of(16, 256, 16, 16), one_thread(), LIMITS, 1.0, 1, load=BUSY)
    assert run is not None
    assert run.rows == (0, 2, 3)


def test_a_long_text_that_is_the_most_urgent_goes_first():
    run = choose_run(line_of(256, 16, 16), one_thread(), LIMITS, 1.0, 1)
    assert run is not None
    assert run.rows == (0,)


def test_of_equal_lengths_those_who_came_first_go_first():
    run = choose_run(line_of(*[16] * 20), one_thread(), Limits(4, 512), 1.0, 1)
    assert run is not None
    assert run.rows == (0, 1, 2, 3)


def test_a_batch_that_would_make_one_of_it_late_is_smaller():
    urgent = [Waiting(16, 0.0, due=1.004), *line_of(*[16] * 11)]
    run = choose_run(urgent, one_thread(), LIMITS, 1.0, 1)
    assert run is not None
    assert 0 in run.rows
    assert 1.0 + run.seconds <= 1.004


def test_a_text_that_needs_all_threads_to_be_in_time_does_not_run_in_vain():
    hasty, patient = Waiting(128, 0.0, due=1.008), Waiting(128, 0.0)
    assert choose_run([hasty], tables(), LIMITS, 1.0, 1) is None
    assert chosen([hasty, patient], free=1).rows == (1,)
    assert chosen([hasty, patient], free=2).rows == (0,)


def test_a_run_is_as_wide_as_the_first_of_the_line_needs():
    line = [Waiting(128, 0.0, due=1.008), *line_of(*[128] * 3)]
    assert chosen(line).num_threads == 2
    assert chosen(line_of(*[16] * 40)).num_threads == 1


def test_a_text_that_is_late_in_any_case_runs():
    assert chosen([Waiting(128, 0.0, due=1.001)], free=1).rows == (0,)


def test_who_waits_alone_runs_alone():
    run = chosen([Waiting(16, 0.0, is_alone=True), *line_of(16, 16)])
    assert run.rows == (0,)


def test_nobody_joins_a_batch_who_must_be_alone():
    line = [*line_of(16, 16, 16), Waiting(16, 0.1, is_alone=True)]
    run = choose_run(line, tables(), LIMITS, 1.0, 1, load=BUSY)
    assert run is not None
    assert run.rows == (0, 1, 2)


def test_urgency_is_by_deadline_then_by_arrival_and_priority_is_worth_waiting():
    soon, plain, vip = Waiting(16, 0.5, due=0.6), Waiting(16, 0.0), Waiting(16, 0.9, priority=1)
    assert sorted([plain, soon, vip], key=lambda one: one.urgency) == [soon, vip, plain]


def test_a_text_can_make_it_if_the_quickest_run_ends_in_time():
    text = Waiting(128, 0.0, due=0.01)
    assert can_make_it(text, 0.0, tables().values())
    assert not can_make_it(text, 0.005, tables().values())
    assert not can_make_it(text, 0.0, tables().values(), seconds_ahead=0.005)


@given(LENGTHS, st.integers(1, 2), st.integers(1, 20), st.integers(1, 600))
def test_the_first_of_the_line_always_goes_and_the_limits_hold(lengths: list[int], free: int, rows: int, tokens: int):
    run = chosen(line_of(*lengths), limits=Limits(rows, tokens), free=free)
    assert 0 in run.rows
    assert len(set(run.rows)) == len(run.rows)
    assert run.num_threads <= free
    width = max(lengths[row] for row in run.rows)
    assert len(run.rows) == 1 or (len(run.rows) <= rows and len(run.rows) * width <= tokens)


@given(LENGTHS)
def test_a_batch_costs_no_more_than_its_texts_alone(lengths: list[int]):
    run = choose_run(line_of(*lengths), one_thread(), LIMITS, 1.0, 1)
    assert run is not None
    alone = sum(tables()[1].seconds(1, lengths[row]) for row in run.rows)
    assert run.seconds <= alone * (1 + 1e-9)


@given(st.lists(st.integers(8, 256), min_size=1, max_size=6), st.floats(0, 50))
def test_no_split_of_the_line_weighs_less_than_one_with_the_batch_that_runs(lengths: list[int], rate: float):
    load = Load(rate, {1: 0.5})
    clears = sum(tables()[1].seconds(1, length) for length in lengths)
    newcomers = rate * clears / 0.5

    def weight(batch: tuple[int, ...]) -> float:
        rows = len(batch)
        return tables()[1].seconds(rows, batch[-1]) * (rows + newcomers + (len(lengths) - rows) / 2)

    def splits(waiting: tuple[int, ...]) -> Iterator[list[tuple[int, ...]]]:
        for end in range(1, len(waiting) + 1):
            yield from ([waiting[:end], *others] for others in splits(waiting[end:])) if waiting[end:] else [[waiting]]

    run = choose_run(line_of(*lengths), one_thread(), LIMITS, 1.0, 1, load=load)
    assert run is not None
    batch = tuple(sorted(lengths[row] for row in run.rows))
    allowed = [
        split
        for split in splits(tuple(sorted(lengths)))
        if all(len(one) == 1 or len(one) * one[-1] <= LIMITS.max_tokens for one in split)
    ]
    least = min(sum(map(weight, split)) for split in allowed)
    assert min(sum(map(weight, split)) for split in allowed if batch in split) == pytest.approx(least)


def test_the_more_come_the_sooner_texts_share_a_run():
    def rows(rate: float) -> int:
        run = choose_run(line_of(32, 32), one_thread(), LIMITS, 1.0, 1, load=Load(rate, {1: min(rate / 300, 1.0)}))
        assert run is not None
        return len(run.rows)

    pair, alone = tables()[1].seconds(2, 32), tables()[1].seconds(1, 32)
    assert 0.75 < pair / (2 * alone) < 0.95, "a pair saves something, but not half of what the first would wait less"
    assert (rows(0.0), rows(290.0)) == (1, 2)


@given(LENGTHS)
def test_the_same_line_gives_the_same_run(lengths: list[int]):
    assert chosen(line_of(*lengths)) == chosen(line_of(*lengths))
