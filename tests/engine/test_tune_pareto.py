from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.tune.pareto import PREFERENCES, Point, Prefer, front, order

STEPS = st.integers(-3, 3)
POINTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.builds(Point, STEPS, STEPS, STEPS, st.sampled_from([0.9, 0.99, 1.0])),
    min_size=1,
    max_size=12,
)


def test_a_point_that_is_better_in_one_respect_dominates():
    assert Point(2, 1, 1, 1.0).dominates(Point(1, 1, 1, 1.0))


def test_a_point_does_not_dominate_its_equal():
    assert not Point(1, 1, 1, 1.0).dominates(Point(1, 1, 1, 1.0))


def test_a_point_that_is_worse_in_one_respect_does_not_dominate():
    assert not Point(9, 9, 9, 0.9).dominates(Point(1, 1, 1, 1.0))


def test_the_front_keeps_what_nothing_beats():
    points = {"quick": Point(9, 9, 1, 0.9), "good": Point(1, 1, 1, 1.0), "neither": Point(1, 1, 1, 0.9)}
    assert front(points) == {"quick", "good"}


def test_speeds_less_than_three_percent_apart_may_count_as_equal():
    near, far = (Point.of(latency=x, throughput=1, memory_bytes=1, quality=1) for x in (1.005, 1.2))
    one = Point.of(latency=1, throughput=1, memory_bytes=1, quality=1)
    assert (near.latency == one.latency, far.latency > one.latency) == (True, True)


def test_less_memory_is_better():
    small, large = (Point.of(latency=1, throughput=1, memory_bytes=x, quality=1) for x in (40, 400))
    assert small.dominates(large)


def test_memory_that_was_not_measured_counts_as_a_great_deal():
    known, unknown = (Point.of(latency=1, throughput=1, memory_bytes=x, quality=1) for x in (1 << 40, None))
    assert known.dominates(unknown)


@pytest.mark.parametrize(
    ("prefer", "first"), [("latency", "quick alone"), ("throughput", "quick together"), ("memory", "small")]
)
def test_what_is_preferred_decides_among_the_front(prefer: Prefer, first: str):
    points = {
        "quick alone": Point(5, 1, 1, 1.0),
        "quick together": Point(1, 5, 1, 1.0),
        "small": Point(1, 1, 5, 1.0),
    }
    assert order(points, prefer)[0] == first


def test_of_the_equally_quick_the_better_quality_goes_first():
    points = {"worse": Point(5, 9, 9, 0.98), "better": Point(5, 1, 1, 1.0)}
    assert order(points, "latency") == ["better", "worse"]


@given(POINTS, st.sampled_from(PREFERENCES))
def test_the_first_of_the_order_is_dominated_by_none(points: dict[str, Point], prefer: Prefer):
    best = points[order(points, prefer)[0]]
    assert not any(other.dominates(best) for other in points.values())


@given(POINTS, st.sampled_from(PREFERENCES))
def test_the_first_of_the_order_has_the_most_of_what_is_preferred(points: dict[str, Point], prefer: Prefer):
    best = points[order(points, prefer)[0]]
    assert getattr(best, prefer) == max(getattr(point, prefer) for point in points.values())


@given(POINTS)
def test_every_point_is_on_the_front_or_dominated_by_one_that_is(points: dict[str, Point]):
    best = front(points)
    beaten = {name for name in points if any(points[other].dominates(points[name]) for other in best)}
    assert (best | beaten, best & beaten) == (set(points), set())


@given(POINTS, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order_of_the_points(points: dict[str, Point], random: object):
    shuffled = list(points.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as object
    assert front(dict(shuffled)) == front(points)


@given(POINTS, st.sampled_from(PREFERENCES))
def test_ordering_loses_no_point(points: dict[str, Point], prefer: Prefer):
    assert sorted(order(points, prefer)) == sorted(points)
