from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.batch.padding import pad, real_part

ROWS = st.lists(st.lists(st.integers(-5, 200), max_size=20), max_size=12)
SIDES = st.sampled_from(["right", "left"])


def test_short_rows_are_filled_on_the_right():
    assert pad([[1, 2, 3], [4]], 0).tolist() == [[1, 2, 3], [4, 0, 0]]


def test_short_rows_are_filled_on_the_left_where_asked():
    assert pad([[1, 2, 3], [4]], 9, side="left").tolist() == [[1, 2, 3], [9, 9, 4]]


def test_no_rows_make_an_empty_rectangle():
    assert pad([], 0).shape == (0, 0)


@given(ROWS, st.integers(-1, 100), SIDES)
def test_the_real_part_of_a_padded_row_is_the_row(rows: list[list[int]], value: int, side: str):
    batch = pad(rows, value, side=side)
    parts = [
        padded[real_part(len(row), batch.shape[1], side)].tolist() for row, padded in zip(rows, batch, strict=True)
    ]
    assert parts == rows


@given(ROWS, SIDES)
def test_a_batch_is_as_wide_as_its_longest_row(rows: list[list[int]], side: str):
    assert pad(rows, 0, side=side).shape == (len(rows), max(map(len, rows), default=0))


@pytest.mark.parametrize("rows", [[], [[]], [[1], [2, 3]]], ids=["none", "one-empty", "two"])
def test_a_batch_is_int64(rows: list[list[int]]):
    assert pad(rows, 0).dtype == np.int64
