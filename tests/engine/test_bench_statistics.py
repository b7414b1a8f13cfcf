import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.bench.records import Case
from ortolan.bench.statistics import Ratio, expanded, ratio, summarize
from ortolan.errors import ShapeError
from tests.engine.bench_records import CASE


def case(*rounds: list[float], better: str = "less") -> Case:
    unit = "ms" if better == "less" else "tok/s"
    return replace(CASE, rounds=tuple(map(tuple, rounds)), better=better, unit=unit)


def test_a_summary_has_the_middle_of_all_samples_and_the_slow_end():
    found = summarize(case([float(ms) for ms in range(1, 11)], [float(ms) for ms in range(11, 21)]))
    assert (found.median, found.p95, found.num_rounds, found.num_samples) == (10.5, 19.0, 2, 20)


def test_the_tail_of_a_rate_is_its_low_end():
    assert summarize(case([float(rate) for rate in range(1, 21)], better="more")).p95 == 2.0


def test_half_the_time_is_twice_as_good():
    found = ratio(case([5.0], [10.0], [20.0]), case([10.0], [20.0], [40.0]))
    assert found == Ratio(2.0, 2.0, 2.0)


def test_half_the_rate_is_half_as_good():
    found = ratio(case([5.0], [10.0], better="more"), case([10.0], [20.0], better="more"))
    assert found == Ratio(0.5, 0.5, 0.5)


def test_rounds_are_compared_with_themselves():
    slow_minute = ratio(case([1.0], [100.0], [1.0]), case([2.0], [200.0], [2.0]))
    assert slow_minute == Ratio(2.0, 2.0, 2.0)


def test_the_interval_holds_the_middle_and_widens_with_noise():
    draw = np.random.default_rng(1)
    quiet, noisy = ([[float(10 * math.exp(spread * draw.normal()))] for _ in range(9)] for spread in (0.01, 0.2))
    other = case(*([20.0] for _ in range(9)))
    calm, wild = ratio(case(*quiet), other), ratio(case(*noisy), other)
    assert calm.low <= calm.middle <= calm.high
    assert calm.high - calm.low < wild.high - wild.low


def test_the_same_record_gives_the_same_interval():
    own, other = case([1.0], [2.0], [4.0]), case([3.0], [3.0], [3.0])
    assert ratio(own, other) == ratio(own, other)


def test_nineteen_of_twenty_intervals_hold_the_truth():
    draw = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        own, other = (case(*([float(x)] for x in np.exp(0.1 * draw.normal(size=15)) * ms)) for ms in (10.0, 15.0))
        found = ratio(own, other)
        held += found.low <= 1.5 <= found.high
    assert 0.88 <= held / 200 <= 1.0


@pytest.mark.parametrize(("count", "level"), [(6, 0.9951), (11, 0.9806), (10_000, 0.95)])
def test_few_rounds_want_a_wider_interval(count: int, level: float):
    assert expanded(0.95, count) == pytest.approx(level, abs=2e-4)


def test_six_rounds_hold_the_truth_about_as_often_as_they_say():
    draw = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        own, other = (case(*([float(x)] for x in np.exp(0.1 * draw.normal(size=6)) * ms)) for ms in (10.0, 15.0))
        found = ratio(own, other)
        held += found.low <= 1.5 <= found.high
    assert 0.94 <= held / 300 <= 1.0


def test_who_carries_nothing_is_infinitely_worse():
    found = ratio(case([5.0], [5.0], better="more"), case([0.0], [0.0], better="more"))
    assert found.middle == math.inf
    assert found.is_told_apart


def test_two_that_carry_nothing_are_alike():
    assert ratio(case([0.0], better="more"), case([0.0], better="more")) == Ratio(1.0, 1.0, 1.0)


def test_an_interval_around_one_tells_nothing_apart():
    assert not Ratio(1.1, 0.9, 1.3).is_told_apart
    assert Ratio(1.1, 1.05, 1.3).is_told_apart
    assert Ratio(0.9, 0.8, 0.95).is_told_apart


def test_intervals_overlap_where_they_share_a_point():
    assert Ratio(1.1, 1.0, 1.2).overlaps(Ratio(1.3, 1.2, 1.4))
    assert not Ratio(1.1, 1.0, 1.2).overlaps(Ratio(1.4, 1.3, 1.5))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(case([1.0], [1.0]), id="another number of rounds"),
        pytest.param(case([1.0], better="more"), id="another unit"),
    ],
)
def test_cases_that_are_no_pairs_are_refused(other: Case):
    with pytest.raises(ShapeError, match="measured side by side"):
        ratio(case([1.0]), other)


ROUNDS = st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=8)


@given(ROUNDS)
def test_the_ratio_the_other_way_round_is_the_inverse(pairs: list[tuple[float, float]]):
    own, other = case(*([a] for a, _ in pairs)), case(*([b] for _, b in pairs))
    forth, back = ratio(own, other), ratio(other, own)
    if len(pairs) % 2:  # of an even number the median is a mean, and the inverse of a mean is not the mean of inverses
        assert forth.middle == pytest.approx(1 / back.middle)
    assert forth.low <= forth.middle <= forth.high


@given(ROUNDS, st.floats(0.1, 10))
def test_the_ratio_scales_with_the_samples(pairs: list[tuple[float, float]], factor: float):
    own, other = case(*([a] for a, _ in pairs)), case(*([b] for _, b in pairs))
    slower = case(*([a * factor] for a, _ in pairs))
    assert ratio(slower, other).middle == pytest.approx(ratio(own, other).middle / factor)
