"""What may be drawn, and how: by hand, and what holds of all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ortolan.generation.config import GenerationConfig, updated
from ortolan.generation.sampling import best, candidates, draw, draw_several, log_softmax
from ortolan.postprocess.activations import softmax

NEVER = -np.inf
PROBS = np.array([0.5, 0.02, 0.3, 0.08, 0.1], np.float32)


def left(**options: Any) -> list[int]:
    """Tokens that may be drawn where they are as likely as `PROBS` say."""
    config = updated(GenerationConfig(top_k=0), options)
    return candidates(np.log(PROBS), config)[0].tolist()


def test_nothing_is_left_out_unless_asked():
    assert left() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 2}, [0, 2]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.7}, [0, 2]),
        ({"top_p": 0.85}, [0, 2, 4]),
        ({"top_p": 0.0}, [0]),
        ({"min_p": 0.5}, [0, 2]),
        ({"min_p": 0.1}, [0, 2, 3, 4]),
        ({"epsilon_cutoff": 0.09}, [0, 2, 4]),
        ({"epsilon_cutoff": 0.9}, [0]),
        ({"typical_p": 0.2}, [2]),
        ({"top_h": 0.5}, [0]),
        ({"top_k": 3, "min_p": 0.5}, [0, 2]),
    ],
    ids=str,
)
def test_what_is_too_unlikely_is_left_out(options: dict[str, Any], expected: list[int]):
    assert left(**options) == expected


def test_temperature_makes_likelihoods_alike_or_different():
    ids, scores = candidates(np.log(PROBS), GenerationConfig(temperature=0.5, top_k=0))
    np.testing.assert_allclose(softmax(scores), PROBS**2 / (PROBS**2).sum(), rtol=1e-5)
    assert ids.tolist() == [0, 1, 2, 3, 4]


def test_tokens_that_are_not_written_are_not_drawn_either():
    scores = np.array([NEVER, 1.0, NEVER, 3.0], np.float32)
    ids, kept = candidates(scores, GenerationConfig())
    assert (ids.tolist(), kept.tolist()) == ([1, 3], [1.0, 3.0])


def test_so_many_are_left_at_least():
    ids, _ = candidates(np.log(PROBS), GenerationConfig(top_k=1, top_p=0.1, min_p=0.9, epsilon_cutoff=0.9), 3)
    assert ids.tolist() == [0, 2, 4]


finite = arrays.arrays(np.float32, st.integers(1, 30), elements=st.floats(-50, 50, width=32))


@given(finite, st.integers(1, 40))
def test_so_many_of_the_best_are_drawn_from_and_no_more(scores: np.ndarray, count: int):
    ids, kept = candidates(scores, GenerationConfig(top_k=count))
    assert len(ids) >= min(count, len(scores))
    assert (kept > kept.min()).sum() < count, "only those that are as good as the last come besides"
    assert kept.tolist() == scores[ids].tolist()
    assert kept.max() == scores.max()


shares = st.floats(0.01, 1.0)


@given(finite, shares, shares, shares, shares, shares)
def test_the_scores_are_not_changed_and_something_is_left(
    scores: np.ndarray, top: float, least: float, typical: float, entropy: float, cutoff: float
):
    before = scores.copy()
    config = GenerationConfig(
        top_p=top, min_p=least, typical_p=typical, top_h=entropy, epsilon_cutoff=cutoff, eta_cutoff=cutoff
    )
    ids, kept = candidates(scores, config)
    assert (scores == before).all()
    assert len(ids) == len(kept) >= 1
    assert np.isfinite(kept).all()


@given(finite, st.integers(0, 2**32))
def test_a_token_is_drawn_that_may_be(scores: np.ndarray, seed: int):
    assert 0 <= draw(scores, np.random.default_rng(seed)) < len(scores)


class Always:
    """A generator of one number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self) -> float:
        return self.number


@pytest.mark.parametrize(("number", "expected"), [(0.0, 0), (0.24, 0), (0.26, 1), (0.99, 1), (1.0, 1)])
def test_token_is_the_one_whose_share_the_number_is_in(number: float, expected: int):
    scores = np.array([0.0, np.log(3), -1000.0], np.float32)
    assert draw(scores, Always(number)) == expected, "what is as good as impossible is never drawn"  # type: ignore[arg-type]


@given(finite, st.integers(1, 8), st.integers(0, 2**32))
def test_no_token_is_drawn_twice(scores: np.ndarray, count: int, seed: int):
    found = draw_several(scores, count, np.random.default_rng(seed)).tolist()
    assert len(set(found)) == len(found) == min(count, len(scores))


def test_what_may_not_be_drawn_comes_last():
    scores = np.array([NEVER, 0.0, NEVER, 5.0], np.float32)
    assert set(draw_several(scores, 2, np.random.default_rng(0)).tolist()) == {1, 3}


some = arrays.arrays(np.float32, st.integers(1, 300), elements=st.sampled_from([NEVER, -1.0, 0.0, 0.5, 2.0]))


@given(finite | some, st.integers(0, 40))
def test_best_places_are_those_of_a_sort(scores: np.ndarray, count: int):
    expected = sorted(range(len(scores)), key=lambda place: (-scores[place], place))[:count]
    assert best(scores, count).tolist() == expected


def test_of_equal_scores_the_first_comes_first():
    assert best(np.array([1, 2, 2, 0, 2], np.float32), 5).tolist() == [1, 2, 4, 0, 3]


def test_log_probabilities_add_up_whatever_is_left_out():
    found = log_softmax(np.array([[1e4, NEVER, 1e4], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(np.exp(found), [[0.5, 0, 0.5], [1 / 3] * 3], rtol=1e-5)
