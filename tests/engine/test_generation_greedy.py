"""Texts row by row: the best next token, drawn ones, guesses, forms."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ortolan.errors import ConfigError
from ortolan.generation.config import GenerationConfig
from ortolan.generation.search import Written
from tests.driven import Logits, drive, started, table

SIZE = 8
PROMPT = [1, 2, 3]


def counting(rows: list[list[int]]) -> Logits:
    """After a token comes the one with the next id."""
    return np.eye(SIZE, dtype=np.float32)[(np.array(rows) + 1) % SIZE]


def write(prompt: list[int] = PROMPT, model: Any = counting, constraint: Any = None, **options: Any) -> list[Written]:
    config = GenerationConfig(**{"max_new_tokens": 6, **options})
    search = started(config, prompt, SIZE, constraint=constraint)
    drive(search, model, prompt)
    return list(search.written)


def test_the_best_next_token_is_written_until_the_text_is_long_enough():
    assert write() == [Written((4, 5, 6, 7, 0, 1), "length")]


def test_token_that_ends_a_text_is_the_last_one():
    assert write(eos_token_id=(6, 7)) == [Written((4, 5, 6), "eos")]
    assert write(eos_token_id=(4,)) == [Written((4,), "eos")], "it may be the first"


def test_end_goes_before_length():
    assert write(eos_token_id=(6,), max_new_tokens=3) == [Written((4, 5, 6), "eos")]


def test_stop_string_stays_in_the_text():
    assert write(stop_strings=("fg",)) == [Written((4, 5, 6), "stop")]
    assert write(stop_strings=("de",)) == [Written((4,), "stop")], "it may begin in the prompt"


def test_row_is_fed_the_token_that_was_written_last():
    search = started(GenerationConfig(max_new_tokens=2), PROMPT, SIZE)
    first = search.advance(counting([PROMPT])[:, -1:])
    assert (first.tokens, first.parents, first.kept) == (((4,),), (0,), 1)
    assert (list(search.ids), list(search.written)) == ([4], [])
    last = search.advance(counting([[4]]))
    assert (last.tokens, last.parents) == ((), ())
    assert list(search.ids) == [4, 5]


# Drawn tokens.

MODEL = table(SIZE)


def drawn(**options: Any) -> list[Written]:
    return write(model=MODEL, do_sample=True, **{"max_new_tokens": 12, **options})


def test_equal_seeds_draw_equal_tokens():
    assert drawn(seed=3) == drawn(seed=3)
    assert len({drawn(seed=seed)[0].ids for seed in range(20)}) > 10


def test_without_a_seed_tokens_differ_from_time_to_time():
    assert len({drawn()[0].ids for _ in range(20)}) > 10


def test_first_of_several_texts_is_the_one_that_is_drawn_alone():
    several = drawn(seed=3, num_return_sequences=3)
    assert several[:1] == drawn(seed=3)
    assert several[:2] == drawn(seed=3, num_return_sequences=2)
    assert len({text.ids for text in several}) == 3


def test_row_that_is_done_is_dropped_and_the_others_go_on():
    config = GenerationConfig(do_sample=True, seed=1, num_return_sequences=4, eos_token_id=(0, 1), max_new_tokens=30)
    search = started(config, PROMPT, SIZE)
    steps = drive(search, MODEL, PROMPT)
    assert steps[0].parents == (0,) * len(steps[0].tokens), "at first all are one row"
    left = [len(step.tokens) for step in steps]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 0
    for before, step in pairwise(steps):
        assert list(step.parents) == sorted(set(step.parents))
        assert all(parent < len(before.tokens) for parent in step.parents)
    assert {text.reason for text in search.written} == {"eos"}
    for text in search.written:
        assert text.ids[-1] in (0, 1)
        assert not set(text.ids[:-1]) & {0, 1}


def test_low_temperature_is_the_best_token():
    assert drawn(temperature=1e-6) == write(model=MODEL, max_new_tokens=12)


# Guesses.

REPETITIVE = [1, 2, 3, 4, 5, 6, 7, 0] * 2


@pytest.mark.parametrize(("guesses", "runs"), [(None, 20), (1, 11), (4, 5)])
def test_right_guesses_save_runs(guesses: int | None, runs: int):
    config = GenerationConfig(max_new_tokens=20, prompt_lookup_num_tokens=guesses)
    search = started(config, REPETITIVE, SIZE)
    steps = drive(search, counting, REPETITIVE)
    assert [text.ids for text in search.written] == [tuple((one + 1) % SIZE for one in range(20))]
    assert len(steps) == runs


def test_wrong_guesses_do_not_stay():
    prompt = [1, 5, 1]
    config = GenerationConfig(max_new_tokens=3, prompt_lookup_num_tokens=2, max_matching_ngram_size=1)
    search = started(config, prompt, SIZE)

    def fives(rows: list[list[int]]) -> Logits:
        """5 comes after 1, and 6 after 5."""
        return np.eye(SIZE, dtype=np.float32)[np.where(np.array(rows) == 1, 5, 6)]

    steps = drive(search, fives, prompt)
    assert steps[0].tokens == ((5, 1),), "5 was followed by 1, and there is no room for more"
    assert steps[1].kept == 1
    assert search.written[0].ids == (5, 6, 6)


def test_guesses_may_be_left_aside():
    """Who runs the model may have no room for them."""
    config = GenerationConfig(max_new_tokens=3, prompt_lookup_num_tokens=4)
    search = started(config, REPETITIVE, SIZE)
    assert len(search.advance(counting([REPETITIVE])[:, -1:]).tokens[0]) == 2
    assert search.advance(counting([[1]])).kept == 1
    assert list(search.ids) == [1, 2]


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 20),
    st.sets(st.integers(0, 3), max_size=1),
)
def test_guesses_change_no_text(prompt: list[int], guesses: int, tokens: int, seed: int, ends: set[int]):
    options = {"max_new_tokens": 15, "eos_token_id": tuple(ends), "no_repeat_ngram_size": 4, "logprobs": 1}
    model = table(SIZE, seed, spread=0.5)

    def narrow(rows: list[list[int]]) -> Logits:
        """Few tokens, so that much comes twice."""
        return np.where(np.arange(SIZE) < 4, model(rows), np.float32(-50))

    plain = write(prompt, narrow, **options)
    guessed = write(prompt, narrow, prompt_lookup_num_tokens=guesses, max_matching_ngram_size=tokens, **options)
    assert guessed == plain


# Forms.


class Rising:
    """A text of tokens that rise, up to 5; then it may end, with 7."""

    def __init__(self, last: int = -1) -> None:
        self.last = last
        self.forks: list[Rising] = []

    def allowed(self) -> NDArray[np.bool_] | None:
        tokens = np.arange(SIZE)
        return tokens == 7 if self.is_complete else (tokens > self.last) & (tokens < 6)

    def accept(self, token: int) -> None:
        if not self.last < token < 6:
            raise ConfigError("a form requested", f"got {token}", "use another")
        self.last = token

    @property
    def is_complete(self) -> bool:
        return self.last == 5

    def fork(self) -> Rising:
        self.forks.append(Rising(self.last))
        return self.forks[-1]


def test_text_has_the_form_that_was_asked_for():
    for seed in range(10):
        [text] = write(model=table(SIZE, seed), constraint=Rising(), eos_token_id=(7,), max_new_tokens=20)
        assert text.reason == "eos"
        assert list(text.ids) == sorted(set(text.ids))
        assert text.ids[-2:] == (5, 7)


def test_each_of_several_texts_has_the_form():
    texts = write(
        model=MODEL,
        constraint=Rising(),
        eos_token_id=(7,),
        do_sample=True,
        seed=0,
        num_return_sequences=4,
        max_new_tokens=20,
    )
    assert len({text.ids for text in texts}) > 1
    assert all(list(text.ids) == sorted(set(text.ids)) and text.ids[-1] == 7 for text in texts)


def test_rules_give_way_to_the_form():
    [text] = write(constraint=Rising(4), eos_token_id=(7,), min_new_tokens=4, suppress_tokens=(5,))
    assert text == Written((5, 7), "eos")


def test_text_that_must_end_within_its_form_says_so():
    [text] = write([0], constraint=Rising(), eos_token_id=(7,), max_new_tokens=2)
    assert text == Written((1, 2), "length")


def test_form_with_beams_is_refused():
    with pytest.raises(ConfigError, match="a text of a form requested, num_beams is 2; use num_beams=1"):
        write(constraint=Rising(), num_beams=2)


# Likelihoods.


def test_likelihoods_are_told_where_they_are_asked_for():
    [text] = write(logprobs=2, max_new_tokens=2)
    likely = float(1 - np.log(np.e + SIZE - 1))
    assert text.logprobs == pytest.approx([likely, likely], abs=1e-6)
    assert text.top_logprobs is not None
    assert [one[0][0] for one in text.top_logprobs] == [4, 5]
    assert [len(one) for one in text.top_logprobs] == [2, 2]
    [plain] = write(max_new_tokens=2, logprobs=0)
    assert (plain.logprobs, plain.top_logprobs) == (text.logprobs, ((), ()))


def test_likelihoods_of_drawn_tokens_are_those_they_were_drawn_by():
    [text] = drawn(seed=1, logprobs=8, top_k=3, temperature=2.0)
    assert text.logprobs is not None
    assert text.top_logprobs is not None
    for token, logprob, others in zip(text.ids, text.logprobs, text.top_logprobs, strict=True):
        assert len(others) == 3
        assert dict(others)[token] == logprob
        assert sum(np.exp(value) for _, value in others) == pytest.approx(1.0, abs=1e-5)
