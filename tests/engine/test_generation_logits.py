"""Rules for the next token, each by hand, and what holds of all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ortolan.errors import NonFiniteError
from ortolan.generation.config import GenerationConfig
from ortolan.generation.logits import check_finite, completed, penalize_repetition, processed, repeated

SIZE = 8
FLAT = np.zeros(SIZE, np.float32)


def left(ids: list[int], start: int = 2, longest: int = 100, **settings: Any) -> list[int]:
    """Tokens that may be written next."""
    scores = processed(FLAT, ids, start, longest, GenerationConfig(**settings))
    return [int(one) for one in np.flatnonzero(np.isfinite(scores))]


def without(*ids: int) -> list[int]:
    return [one for one in range(SIZE) if one not in ids]


def test_without_rules_nothing_changes():
    scores = np.arange(SIZE, dtype=np.float32)
    assert processed(scores, [1, 2], 2, 9, GenerationConfig()).tolist() == scores.tolist()


def test_end_is_out_of_reach_until_the_text_is_long_enough():
    assert left([1, 1], min_length=4, eos_token_id=(5, 6)) == without(5, 6)
    assert left([1, 1, 1], min_length=4, eos_token_id=(5, 6)) == without(5, 6)
    assert left([1, 1, 1, 1], min_length=4, eos_token_id=(5, 6)) == without()
    assert left([1, 1, 1, 1], min_new_tokens=3, eos_token_id=(5,)) == without(5)
    assert left([1, 1, 1, 1, 1], min_new_tokens=3, eos_token_id=(5,)) == without()


def test_first_and_last_token_may_be_forced():
    forced = {"forced_bos_token_id": 3, "forced_eos_token_id": (5, 6), "longest": 4, "start": 1}
    assert left([1], **forced) == [3]
    assert left([1, 3], **forced) == without()
    assert left([1, 3, 0], **forced) == [5, 6]


def test_tokens_are_left_out_always_or_at_the_beginning():
    assert left([1, 1, 2], suppress_tokens=(0, 7), begin_suppress_tokens=(3,)) == without(0, 7)
    assert left([1, 1], suppress_tokens=(0, 7), begin_suppress_tokens=(3,)) == without(0, 3, 7)


def test_beginning_comes_behind_a_forced_token():
    rules = {"start": 1, "forced_bos_token_id": 4, "begin_suppress_tokens": (3,)}
    assert left([1], **rules) == [4]
    assert left([1, 4], **rules) == without(3)
    assert left([1, 4, 0], **rules) == without()


def test_ids_that_the_model_does_not_have_are_passed_over():
    assert left([1, 1], suppress_tokens=(0, 99), bad_words_ids=((98,), (1, 97))) == without(0)


@pytest.mark.parametrize(
    ("ids", "size", "expected"),
    [
        ([1, 2, 1], 2, [2]),
        ([1, 2, 1, 3, 1], 2, [2, 3]),
        ([1, 2, 3, 1, 2], 3, [3]),
        ([1, 2, 3, 2, 2], 3, []),
        ([1, 2, 1], 1, [1, 2, 1]),
        ([1], 3, []),
        ([], 1, []),
    ],
)
def test_token_that_would_end_a_repetition(ids: list[int], size: int, expected: list[int]):
    assert repeated(ids, size) == expected


def test_word_of_several_tokens_is_not_completed():
    words = [(7,), (1, 2, 3), (2, 4), (9, 9, 9, 9, 9, 9)]
    assert completed([0, 1, 2], words) == [7, 3, 4]
    assert completed([1, 2], words) == [7, 3, 4]
    assert completed([2], words) == [7, 4], "one that is longer than the text is passed over"


def test_end_is_no_bad_word():
    assert left([1, 1], bad_words_ids=((5,), (6,)), eos_token_id=(5,)) == without(6)


def test_repetition_makes_both_positive_and_negative_logits_smaller():
    scores = np.array([2, -2, 2, -2], np.float32)
    penalize_repetition(scores, [0, 1, 1, 0], 2.0)
    assert scores.tolist() == [1, -4, 2, -2]


def changes(ids: list[int], start: int = 2, **settings: Any) -> list[float]:
    """What is added to logits that were 1."""
    scores = np.ones(SIZE, np.float32)
    return (processed(scores, ids, start, 100, GenerationConfig(**settings)) - 1).tolist()


def test_penalties_count_what_was_written_and_not_the_prompt():
    assert changes([0, 1, 2, 2, 3], presence_penalty=0.5) == [0, 0, -0.5, -0.5, 0, 0, 0, 0]
    assert changes([0, 1, 2, 2, 3], frequency_penalty=0.25) == [0, 0, -0.5, -0.25, 0, 0, 0, 0]
    assert changes([0, 1, 2, 2], frequency_penalty=0.25, presence_penalty=1.0) == [0, 0, -1.5, 0, 0, 0, 0, 0]
    assert changes([0, 1], presence_penalty=2.0) == [0] * SIZE


def test_biases_are_added_to_what_would_complete_a_sequence():
    biases = (((5,), 2.0), ((1, 3), -1.0), ((2, 1, 3), -2.0), ((9, 9, 9, 9), 5.0), ((99,), 5.0))
    assert changes([2, 1], sequence_bias=biases) == [0, 0, 0, -3, 0, 2, 0, 0]
    assert changes([1], start=1, logit_bias=biases) == [0, 0, 0, -1, 0, 2, 0, 0]


def test_end_gets_likelier_from_some_place_on():
    rules = {"exponential_decay_length_penalty": (1, 2.0), "eos_token_id": (3,)}
    assert [changes([0] * length, **rules)[3] for length in (2, 3, 4, 5)] == [0, 0, 1, 3]
    assert np.isfinite(changes([0] * 5000, **rules)).all()


def test_prompt_or_source_may_be_avoided():
    assert left([1, 2, 4, 1], encoder_no_repeat_ngram_size=2) == without(2)
    scores = processed(FLAT, [0, 5], 1, 9, GenerationConfig(encoder_no_repeat_ngram_size=2), [5, 6, 5, 7])
    assert np.flatnonzero(scores < 0).tolist() == [6, 7]


def test_without_rules_nothing_is_copied():
    assert processed(FLAT, [1, 2], 2, 9, GenerationConfig(eos_token_id=(3,), max_new_tokens=5)) is FLAT


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_wherever_it_stands(wrong: float):
    check_finite(FLAT)
    for place in range(SIZE):
        scores = FLAT.copy()
        scores[place] = wrong
        with pytest.raises(NonFiniteError):
            check_finite(scores)


finite = arrays.arrays(np.float32, SIZE, elements=st.floats(-1e4, 1e4, width=32))
texts = st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=12)


@given(finite, texts, st.integers(1, 4))
def test_no_sequence_comes_twice(scores: np.ndarray, ids: list[int], size: int):
    found = processed(scores, ids, 1, 99, GenerationConfig(no_repeat_ngram_size=size))
    there = {tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)}
    for token in np.flatnonzero(np.isfinite(found)):
        assert (*ids[len(ids) - size + 1 :], int(token)) not in there


@given(finite, texts, st.lists(st.integers(0, SIZE - 1), max_size=3))
def test_rules_change_no_logits_of_the_caller(scores: np.ndarray, ids: list[int], banned: list[int]):
    before = scores.copy()
    rules = GenerationConfig(suppress_tokens=tuple(banned), repetition_penalty=1.5, min_length=4, eos_token_id=(1,))
    found = processed(scores, ids, 1, 99, rules)
    assert (scores == before).all()
    assert not np.isfinite(found[banned]).any()
