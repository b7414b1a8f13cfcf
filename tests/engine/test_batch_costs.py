from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.batch.costs import CostTable, fit
from ortolan.errors import ConfigError
from tests.engine.traffic import WIDE


def law(rows: int, length: int) -> float:
    return 1e-3 + 5e-5 * rows * length + 1e-8 * rows * length * length


SEEN = {(rows, length): law(rows, length) for rows, length in ((1, 16), (1, 64), (8, 16), (1, 128), (4, 64))}


def table(measured: dict[tuple[int, int], float] = SEEN) -> CostTable:
    return CostTable(measured, max_rows=32, max_length=512)


def test_what_was_measured_is_what_is_expected():
    for shape, seconds in WIDE.items():
        assert table(WIDE).seconds(*shape) == pytest.approx(seconds, rel=0.05)


def test_the_law_is_found_from_a_few_points():
    a, b, _ = fit(SEEN)
    assert (a, b) == pytest.approx((1e-3, 5e-5), rel=0.05)


@pytest.mark.parametrize(("rows", "length"), [(1, 32), (2, 16), (16, 32), (32, 128), (3, 77), (7, 200)])
def test_shapes_between_and_beyond_follow_the_law(rows: int, length: int):
    assert table().seconds(rows, length) == pytest.approx(law(rows, length), rel=0.2)


def test_one_point_is_enough_to_begin_with():
    one = table({(1, 16): 0.002})
    assert one.seconds(1, 16) == pytest.approx(0.002)
    assert 0.004 < one.seconds(1, 128) < 0.02


def test_short_texts_cost_as_much_as_eight_tokens():
    assert table().seconds(1, 1) == table().seconds(1, 8)


def test_more_rows_than_the_table_has_cost_in_proportion():
    assert table().seconds(64, 16) == pytest.approx(2 * table().seconds(32, 16))


def test_the_price_of_a_short_text_is_what_it_costs_in_company():
    assert table().price(16) < 0.6 * table().seconds(1, 16)
    assert table().price(16) == min(table().seconds(rows, 16) / rows for rows in range(1, 33))


@given(st.integers(1, 32), st.integers(1, 512), st.floats(0.3, 3.0))
def test_what_is_observed_again_and_again_comes_to_be_expected(rows: int, length: int, times: float):
    known = table()
    wanted = times * law(rows, length)
    for _ in range(200):
        known.observe(rows, length, wanted)
    assert known.seconds(rows, length) == pytest.approx(wanted, rel=0.06)


def test_one_observation_from_a_busy_moment_changes_little():
    known = table()
    before = known.seconds(1, 16)
    known.observe(1, 16, 100 * before)
    assert known.seconds(1, 16) <= before * 1.07


def test_what_slows_one_shape_down_is_expected_of_others_too_in_part():
    known = table()
    before = known.seconds(8, 128)
    for _ in range(20):
        known.observe(1, 16, 2 * law(1, 16))
    assert before < known.seconds(8, 128) < known.seconds(1, 16) / law(1, 16) * before


def test_a_batch_that_was_never_tried_is_hoped_to_save_something_and_believed_when_it_does_not():
    known = CostTable({(1, 128): 0.01, (1, 64): 0.005}, max_rows=8, max_length=128)
    assert known.seconds(4, 128) < 0.9 * 4 * known.seconds(1, 128)
    for _ in range(200):
        known.observe(4, 128, 0.04)
        known.observe(1, 128, 0.01)
    assert known.seconds(4, 128) == pytest.approx(4 * known.seconds(1, 128), rel=0.05)


@pytest.mark.parametrize(("rows", "length", "seconds"), [(0, 16, 1.0), (1, 16, math.nan), (1, 16, 0.0), (99, 16, 1.0)])
def test_observations_that_make_no_sense_are_left_out(rows: int, length: int, seconds: float):
    known = table()
    before = known.points()
    known.observe(rows, length, seconds)
    assert known.points() == before


@pytest.mark.parametrize("measured", [{}, {(1, 16): 0.0}, {(1, 16): math.inf}])
def test_a_table_of_nothing_is_refused(measured: dict[tuple[int, int], float]):
    with pytest.raises(ConfigError, match="pass seconds above zero"):
        table(measured)


@given(st.dictionaries(st.tuples(st.integers(1, 32), st.integers(1, 512)), st.floats(1e-5, 10), min_size=1, max_size=8))
def test_whatever_was_measured_every_shape_has_a_cost(measured: dict[tuple[int, int], float]):
    known = table(measured)
    for rows in (1, 5, 32):
        for length in (1, 60, 512):
            assert 0 < known.seconds(rows, length) < math.inf
