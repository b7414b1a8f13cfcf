from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ortolan.batch.lists import plan_batches

LENGTHS = st.lists(st.integers(1, 600), max_size=60)
SIZES = st.integers(1, 40)
BUDGETS = st.integers(1, 2000)


def test_neighbours_in_length_share_a_batch():
    assert plan_batches([5, 50, 6, 51], max_batch_size=2, max_batch_tokens=1000) == [[3, 1], [2, 0]]


def test_padding_counts_towards_the_budget_of_tokens():
    assert plan_batches([10, 1, 1], max_batch_size=9, max_batch_tokens=20) == [[0, 1], [2]]


def test_a_row_longer_than_the_budget_runs_alone():
    assert plan_batches([300, 2], max_batch_size=9, max_batch_tokens=256) == [[0], [1]]


def test_equal_lengths_keep_their_order():
    assert plan_batches([4, 4, 4], max_batch_size=2, max_batch_tokens=1000) == [[0, 1], [2]]


def test_nothing_waiting_makes_no_batch():
    assert plan_batches([], max_batch_size=2, max_batch_tokens=10) == []


@given(LENGTHS, SIZES, BUDGETS)
def test_every_row_goes_into_exactly_one_batch(lengths: list[int], size: int, budget: int):
    batches = plan_batches(lengths, max_batch_size=size, max_batch_tokens=budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, SIZES, BUDGETS)
def test_no_batch_has_more_rows_than_allowed(lengths: list[int], size: int, budget: int):
    batches = plan_batches(lengths, max_batch_size=size, max_batch_tokens=budget)
    assert all(1 <= len(batch) <= size for batch in batches)


@given(LENGTHS, SIZES, BUDGETS)
def test_the_budget_of_tokens_holds_or_the_batch_has_one_row(lengths: list[int], size: int, budget: int):
    for batch in plan_batches(lengths, max_batch_size=size, max_batch_tokens=budget):
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget


@given(LENGTHS, SIZES, BUDGETS)
def test_the_longest_rows_come_first(lengths: list[int], size: int, budget: int):
    batches = plan_batches(lengths, max_batch_size=size, max_batch_tokens=budget)
    found = [lengths[index] for batch in batches for index in batch]
    assert found == sorted(lengths, reverse=True)
