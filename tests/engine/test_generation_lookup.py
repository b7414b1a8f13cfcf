from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.generation.lookup import draft

IDS = st.lists(st.integers(0, 4), max_size=40)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param([1, 2, 3, 4, 1, 2], [3, 4, 1], id="what followed the same two tokens"),
        pytest.param([9, 2, 8, 1, 2, 7, 6, 5, 1, 2], [7, 6, 5], id="the longer match goes first"),
        pytest.param([1, 2, 3, 1, 2, 4, 1, 2], [3, 1, 2], id="of equal matches the first one"),
        pytest.param([5, 7, 6, 7], [6, 7], id="one token, where two are not found"),
        pytest.param([7, 7, 7], [7], id="a match may overlap the end"),
        pytest.param([1, 2, 3], [], id="a token that is new"),
        pytest.param([1], [], id="one token"),
        pytest.param([], [], id="no token"),
    ],
)
def test_what_followed_the_same_tokens_before_is_guessed(ids: list[int], expected: list[int]):
    assert draft(ids, 3, 2) == expected


def test_as_many_tokens_are_looked_for_as_allowed():
    ids = [1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3]
    assert draft(ids, 1, 3) == [4]
    assert draft([0, *ids[4:], 2, 3], 1, 1) == [5], "with one token, the first place of it counts"


def test_nothing_is_guessed_from_an_end_token_on():
    assert draft([1, 2, 3, 0, 5, 1, 2], 5, 2, eos=(0,)) == [3]
    assert draft([1, 2, 0, 5, 1, 2], 5, 2, eos=(0,)) == []


@given(IDS, st.integers(1, 8), st.integers(1, 5))
def test_a_guess_stood_behind_the_last_token_before(ids: list[int], most: int, ngram: int):
    guess = draft(ids, most, ngram)
    assert len(guess) <= most
    starts = [place + 1 for place in range(len(ids) - 1) if ids[place] == ids[-1]]
    assert guess in [ids[start : start + most] for start in starts] or (not guess and not starts)


@given(IDS, st.integers(1, 8), st.integers(1, 5), st.sets(st.integers(0, 4), max_size=1))
def test_the_first_place_of_the_longest_match_is_taken(ids: list[int], most: int, ngram: int, eos: set[int]):
    assert draft(ids, most, ngram, eos=tuple(eos)) == plain(ids, most, ngram, eos)


def plain(ids: list[int], most: int, ngram: int, eos: set[int]) -> list[int]:
    """Say it without arrays: every length, every place."""
    for size in range(min(ngram, len(ids) - 1), 0, -1):
        for start in range(len(ids) - size):
            if ids[start : start + size] == ids[len(ids) - size :]:
                guess = ids[start + size : start + size + most]
                stops = [place for place, token in enumerate(guess) if token in eos]
                return guess[: stops[0]] if stops else guess
    return []


@pytest.mark.parity
@given(IDS.filter(bool), st.integers(1, 8), st.integers(1, 5), st.sets(st.integers(0, 4), min_size=1, max_size=1))
def test_guesses_are_those_of_transformers(ids: list[int], most: int, ngram: int, eos: set[int]):
    assert draft(ids, most, ngram, eos=tuple(eos)) == theirs(ids, most, ngram, eos)


def theirs(ids: Sequence[int], most: int, ngram: int, eos: set[int]) -> list[int]:
    import torch
    from transformers.generation.candidate_generator import PromptLookupCandidateGenerator

    generator = PromptLookupCandidateGenerator(torch.tensor(sorted(eos)), most, ngram, max_length=1000)
    found, _ = generator.get_candidates(torch.tensor([ids]))
    return [int(token) for token in found[0, len(ids) :]]
