"""Beams: against every text that there is, and what holds of all searches."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.generation.config import GenerationConfig
from ortolan.generation.sampling import log_softmax
from ortolan.generation.search import Written
from tests.driven import LogitsOf, drive, started, table

SIZE = 8
PROMPT = [1, 2]


def write(model: LogitsOf, **options: Any) -> list[Written]:
    search = started(GenerationConfig(**{"num_beams": 3, "max_new_tokens": 6, **options}), PROMPT, SIZE)
    steps = drive(search, model, PROMPT)
    assert not any(steps[0].parents), "at first all beams are one row"
    assert all(len(step.tokens) == search.max_rows for step in steps[:-1]), "their number does not change"
    return list(search.written)


def likelihood(model: LogitsOf, ids: tuple[int, ...]) -> float:
    logits = model([[*PROMPT, *ids]])[0, len(PROMPT) - 1 : -1]
    return float(log_softmax(logits)[range(len(ids)), ids].sum())


@pytest.mark.parametrize("seed", range(5))
def test_as_many_beams_as_texts_find_the_likeliest(seed: int):
    model = table(SIZE, seed)
    found = write(model, num_beams=SIZE**2, num_return_sequences=5, max_new_tokens=3)
    every = sorted(product(range(SIZE), repeat=3), key=lambda ids: -likelihood(model, ids))
    assert [text.ids for text in found] == every[:5]
    assert [text.score for text in found] == pytest.approx([likelihood(model, ids) / 3 for ids in every[:5]], abs=1e-5)


def test_texts_are_compared_by_what_each_token_is_worth():
    model = table(SIZE, 1)
    for penalty in (-1.0, 0.0, 1.0, 2.0):
        for text in write(model, eos_token_id=(0, 1), length_penalty=penalty, num_return_sequences=3):
            assert text.score == pytest.approx(likelihood(model, text.ids) / len(text.ids) ** penalty, rel=1e-5)


def test_penalty_makes_texts_longer_or_shorter():
    lengths = [
        np.mean(
            [len(write(table(SIZE, seed), eos_token_id=(0, 1), length_penalty=penalty)[0].ids) for seed in range(20)]
        )
        for penalty in (-3.0, 1.0, 4.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_early_stopping_runs_the_model_less_often():
    def runs(early: bool | str) -> int:
        config = GenerationConfig(num_beams=3, max_new_tokens=20, eos_token_id=(0, 1), early_stopping=early)
        return sum(len(drive(started(config, PROMPT, SIZE), table(SIZE, seed), PROMPT)) for seed in range(20))

    assert runs(True) < runs(False) <= runs("never")


@settings(max_examples=80)
@given(
    st.integers(0, 1000),
    st.integers(2, 4),
    st.sampled_from([False, True, "never"]),
    st.floats(-2, 2),
    st.sets(st.integers(0, SIZE - 1), max_size=2),
    st.booleans(),
    st.integers(1, 8),
)
def test_texts_are_done_and_different_and_the_best_first(
    seed: int, beams: int, early: bool | str, penalty: float, ends: set[int], is_drawn: bool, new: int
):
    found = write(
        table(SIZE, seed),
        num_beams=beams,
        num_return_sequences=beams,
        early_stopping=early,
        length_penalty=penalty,
        eos_token_id=tuple(ends),
        do_sample=is_drawn,
        top_k=0,
        seed=seed,
        max_new_tokens=new,
    )
    assert len(found) == beams
    assert len({text.ids for text in found}) == beams
    scores = [text.score or 0.0 for text in found]
    assert scores == sorted(scores, reverse=True)
    for text in found:
        assert 1 <= len(text.ids) <= new
        assert not ends & set(text.ids[:-1])
        assert text.reason == ("eos" if text.ids[-1] in ends else "length")


def test_drawn_beams_are_those_of_their_seed():
    model = table(SIZE, spread=0.3)
    options = {"do_sample": True, "max_new_tokens": 10, "top_k": 0}
    assert write(model, seed=4, **options) == write(model, seed=4, **options)
    assert len({write(model, seed=seed, **options)[0].ids for seed in range(10)}) > 3


def test_likelihoods_are_those_of_the_tokens_of_each_text():
    model = table(SIZE, 2)
    for text in write(model, logprobs=2, num_return_sequences=3, length_penalty=0.0):
        assert text.logprobs is not None
        assert text.top_logprobs is not None
        assert sum(text.logprobs) == pytest.approx(text.score, abs=1e-5)
        assert [len(one) for one in text.top_logprobs] == [2] * len(text.ids)
        assert all(one[0][1] >= value - 1e-6 for one, value in zip(text.top_logprobs, text.logprobs, strict=True))


def test_best_beam_is_told_while_the_search_goes_on():
    search = started(GenerationConfig(num_beams=2, max_new_tokens=3), PROMPT, SIZE)
    model = table(SIZE)
    step = search.advance(model([PROMPT])[:, -1:])
    assert list(search.ids) == [step.tokens[0][0]]
    assert list(search.written) == []


def test_beam_that_the_rules_leave_no_token_ends_and_the_others_go_on():
    rules = {"no_repeat_ngram_size": 1, "suppress_tokens": (0, 5, 6, 7), "eos_token_id": (4,)}
    found = write(table(SIZE, 3), num_beams=2, num_return_sequences=2, **rules)
    assert {text.ids for text in found} == {(4,), (3, 4)}
