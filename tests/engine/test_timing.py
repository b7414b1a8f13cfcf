from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan import timing
from ortolan.timing import Times, interleave, take_turns

ROUNDS = st.lists(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=5), min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "REST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_UP_SECONDS", 0.0)


def test_the_median_is_over_all_calls():
    assert Times([[1.0, 2.0], [30.0]]).median == 2.0


def test_the_95th_percentile_is_a_call():
    assert Times([[float(number) for number in range(1, 101)]]).p95 == 95.0


def test_the_95th_percentile_of_one_call_is_that_call():
    assert Times([[7.0]]).p95 == 7.0


def test_a_ratio_is_taken_within_a_round():
    # the machine was ten times slower in the second round, for both
    own, other = Times([[1.0], [10.0], [1.0]]), Times([[2.0], [20.0], [2.0]])
    assert own.times_as_quick_as(other) == 2.0


@given(ROUNDS)
def test_a_contender_is_as_quick_as_itself(rounds: list[list[float]]):
    assert Times(rounds).times_as_quick_as(Times(rounds)) == 1.0


def test_contenders_take_turns_round_by_round():
    calls: list[str] = []
    interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, what="timing", calls=2)
    # an uncounted call each time, then two that count
    assert calls == ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3


def test_each_round_has_as_many_times_as_calls():
    found = interleave({"a": lambda: None}, rounds=3, what="timing", calls=2)
    assert [len(taken) for taken in found["a"].rounds] == [2, 2, 2]


def test_a_round_alone_gives_the_times_of_its_calls():
    assert {name: len(taken) for name, taken in take_turns({"a": lambda: None, "b": lambda: None}, 4).items()} == {
        "a": 4,
        "b": 4,
    }


def test_timing_says_how_far_it_is(capsys: pytest.CaptureFixture[str]):
    interleave({"a": lambda: None}, rounds=2, what="timing attention", calls=1)
    assert capsys.readouterr().err.splitlines() == ["timing attention: 1 of 2", "timing attention: 2 of 2"]
