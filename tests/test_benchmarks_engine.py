"""What the benchmarks of the engine compute of what they measure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engine_load_tables import ENGINE, NOTHING, ONE_SESSION, Carried, carried_table, verdicts
from benchmarks.engine_memory import SAMPLE_EVERY, slope
from benchmarks.open_loop import (
    LONG_TOKENS,
    TRIES,
    Search,
    draw_texts,
    lengthen,
    most_late,
    percentile,
    poisson_arrivals,
)
from benchmarks.workers.load import Play, play_in_turn


def test_the_99th_percentile_of_a_hundred_is_the_second_largest() -> None:
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0


def test_a_refused_request_counts_as_one_without_end() -> None:
    assert percentile([1.0, math.nan, 2.0], 0.66) == 2.0
    assert percentile([1.0, math.nan, 2.0], 0.67) == math.inf


@given(st.integers(1, 3000), st.integers(0, 3000), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_kept_just_as_long_as_no_more_are_late_than_may_be(count: int, late: int, share: float) -> None:
    late = min(late, count)
    latencies = [10.0] * (count - late) + [60.0] * late
    assert (percentile(latencies, share) <= 50) == (late <= most_late(count, share))


def test_arrivals_ascend_have_the_rate_and_stretch_with_it() -> None:
    arrivals = poisson_arrivals(100.0, 20_000, seed=1)
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] == pytest.approx(200, rel=0.05)
    gaps = np.diff(arrivals)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert poisson_arrivals(50.0, 3, seed=1) == pytest.approx([2 * moment for moment in arrivals[:3]])
    assert poisson_arrivals(100.0, 3, seed=2) != arrivals[:3]


def test_no_text_comes_again_before_all_have_come() -> None:
    drawn = draw_texts(["a", "b", "c"], 7, seed=0)
    assert len(drawn) == 7
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == ["a", "b", "c"]


def test_a_fifth_of_the_texts_is_made_long_and_the_others_stay() -> None:
    texts = [f"word{number} " * 9 + "end" for number in range(100)]
    made = lengthen(texts, lambda text: len(text.split()), seed=0)
    changed = [long for long, short in zip(made, texts, strict=True) if long != short]
    assert len(changed) == 20
    assert all(LONG_TOKENS - 10 < len(text.split()) <= LONG_TOKENS for text in changed)


@given(st.floats(1.0, 5000.0), st.floats(1.0, 5000.0), st.sampled_from([1.02, 1.05, 1.2]))
def test_a_search_ends_just_below_what_can_be_borne(capacity: float, start: float, tolerance: float) -> None:
    search = Search(start, tolerance)
    for _ in range(200):
        if search.rate is None:
            break
        search.learn(search.rate <= capacity)
    assert search.rate is None
    assert search.borne <= capacity < search.borne * tolerance * (1 + 1e-9)


def test_one_failure_is_not_believed() -> None:
    search = Search(100.0, 1.05)
    search.learn(False)
    assert search.rate == 100.0
    search.learn(True)
    assert search.borne == 100.0


def test_a_search_that_bears_nothing_ends() -> None:
    search = Search(1.0, 1.05, lowest=0.5)
    for _ in range(20 * TRIES):
        if search.rate is not None:
            search.learn(False)
    assert search.rate is None
    assert search.borne == 0.0


def test_latency_counts_from_when_a_request_was_due_and_not_from_when_it_was_asked() -> None:
    import time

    played = play_in_turn(lambda text: time.sleep(0.02), Play([0.0, 0.0, 0.0], ["a"] * 3, late_ms=1e9, most_late=3))
    assert played.latencies[0] >= 20
    assert played.latencies[2] >= 60


def test_a_play_ends_when_too_many_are_late() -> None:
    asked: list[str] = []
    played = play_in_turn(asked.append, Play([0.0] * 5, list("abcde"), late_ms=0.0, most_late=1))
    assert asked == ["a", "b"]
    assert played.latencies[2:] == [math.inf] * 3


def test_the_slope_is_that_of_the_second_half_in_bytes_a_request() -> None:
    start = [10_000_000 * (1 + number) for number in range(50)]
    samples = [*start, *(500_000_000 + 3 * SAMPLE_EVERY * number for number in range(50))]
    assert slope(samples) == pytest.approx(3.0)


def carried(rate: float) -> Carried:
    return Carried(rate, 5.0, 20.0, 45.0, 1000, batches=100, rows=400, tokens=900, padding=100)


def test_ratios_are_taken_within_rounds_and_their_median_is_shown() -> None:
    found = {
        "sentences": {
            ENGINE: [carried(100), carried(300), carried(200)],
            ONE_SESSION: [carried(100), carried(100), carried(100)],
        }
    }
    table = carried_table("a model", found).splitlines()
    assert table[2] == f"| {ENGINE} | 200 (100 to 300) | 5.0 | 4.0 | 10% |  |"
    assert table[3].endswith("| 2.00 times as many |")
    assert f"{ONE_SESSION}, aim 1.3 times: 2.00 (1.00 to 3.00) with sentences (met)" in verdicts(found)


def test_a_contender_that_carries_nothing_is_shown_as_such() -> None:
    found = {"bimodal": {ENGINE: [carried(100)], "transformers fp32": [NOTHING]}}
    assert carried_table("a model", found).splitlines()[3].endswith("| and it none |")
    assert "transformers fp32, aim 8 times: ∞ (∞ to ∞) with bimodal (met)" in verdicts(found)
    assert f"{ONE_SESSION}, aim 1.3 times: missing" in verdicts(found)
