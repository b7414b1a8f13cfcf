"""How texts are written: what files and callers say, and what is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.errors import ConfigError
from ortolan.generation.config import (
    DEFAULT_NEW_TOKENS,
    NOT_HONOURED,
    READERS,
    GenerationConfig,
    read_settings,
    updated,
)

PLAIN = GenerationConfig()


def test_end_tokens_are_one_or_several():
    assert updated(PLAIN, {"eos_token_id": 2}).eos_token_id == (2,)
    assert updated(PLAIN, {"eos_token_id": [2, 3]}).eos_token_id == (2, 3)


def test_none_leaves_a_setting_as_it_is():
    ends = updated(PLAIN, {"eos_token_id": 2})
    assert updated(ends, {"eos_token_id": None, "max_length": None}) == ends


def test_names_that_are_no_settings_are_passed_over():
    assert updated(PLAIN, {"use_cache": False, "pad_token_id": 3, "transformers_version": "5"}) == PLAIN


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 7 + DEFAULT_NEW_TOKENS),
        ({"max_new_tokens": 5}, 12),
        ({"max_length": 50}, 50),
        ({"max_length": 50, "max_new_tokens": 5}, 12),
    ],
    ids=["nothing said", "new tokens", "all tokens", "both"],
)
def test_longest_text_is_counted_from_the_prompt_or_in_all(values: dict[str, int], expected: int):
    assert updated(PLAIN, values).longest(7) == expected


def test_length_that_is_said_last_is_in_force():
    of_model = updated(PLAIN, {"max_new_tokens": 5})
    assert updated(of_model, {"max_length": 50}).longest(7) == 50
    assert updated(updated(PLAIN, {"max_length": 50}), {"max_new_tokens": 5}).longest(7) == 12


def test_shortest_text_is_counted_from_the_prompt_or_in_all():
    assert PLAIN.shortest(7) == 0
    assert updated(PLAIN, {"min_length": 9}).shortest(7) == 9
    assert updated(PLAIN, {"min_length": 9, "min_new_tokens": 4}).shortest(7) == 11
    assert updated(PLAIN, {"min_length": 19, "min_new_tokens": 4}).shortest(7) == 11
    assert updated(updated(PLAIN, {"min_new_tokens": 4}), {"min_length": 9}).shortest(7) == 9


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", True),
        ("max_length", "9"),
        ("min_length", -1),
        ("eos_token_id", "</s>"),
        ("eos_token_id", [1, "2"]),
        ("forced_bos_token_id", [1]),
        ("bad_words_ids", [1, 2]),
        ("bad_words_ids", "ab"),
        ("repetition_penalty", 0),
        ("repetition_penalty", float("nan")),
        ("repetition_penalty", "1"),
        ("no_repeat_ngram_size", 1.5),
        ("stop_strings", ""),
        ("stop_strings", []),
        ("stop_strings", ["a", 1]),
        ("stop_strings", "a" * 2000),
        ("stop_strings", ["a"] * 100),
        ("stop_strings", "\ud800"),
        ("min_new_tokens", -1),
        ("do_sample", 1),
        ("temperature", 0),
        ("temperature", float("inf")),
        ("temperature", "warm"),
        ("top_k", -1),
        ("top_p", 1.1),
        ("top_h", 0.0),
        ("min_p", -0.1),
        ("typical_p", 0.0),
        ("epsilon_cutoff", 2),
        ("eta_cutoff", True),
        ("seed", -1),
        ("seed", 2**64),
        ("num_beams", 0),
        ("num_beams", 1000),
        ("length_penalty", 10**400),
        ("early_stopping", "always"),
        ("early_stopping", 1),
        ("num_return_sequences", 0),
        ("encoder_repetition_penalty", -1.0),
        ("presence_penalty", 2.5),
        ("frequency_penalty", float("nan")),
        ("encoder_no_repeat_ngram_size", -1),
        ("sequence_bias", {(): 1.0}),
        ("sequence_bias", {(1, -2): 1.0}),
        ("sequence_bias", {(1,): float("inf")}),
        ("sequence_bias", [[1, 2, 3]]),
        ("logit_bias", {"one": 1.0}),
        ("logit_bias", {"9" * 5000: 1.0}),
        ("logit_bias", 3),
        ("bad_words_ids", [[1]] * 5000),
        ("suppress_tokens", [1] * 70_000),
        ("exponential_decay_length_penalty", (1,)),
        ("exponential_decay_length_penalty", (1, 0)),
        ("renormalize_logits", "yes"),
        ("logprobs", 21),
        ("logprobs", True),
        ("prompt_lookup_num_tokens", 0),
        ("prompt_lookup_num_tokens", 1000),
        ("max_matching_ngram_size", 0),
        ("regex", ""),
        ("regex", 3),
        ("json_schema", ["a"]),
    ],
)
def test_value_that_is_not_allowed_names_the_option(name: str, value: object):
    with pytest.raises(ConfigError, match=f"^{name} requested, got "):
        updated(PLAIN, {name: value})


def test_settings_of_a_model_are_read_and_what_they_ask_in_vain_is_told():
    settings = {
        "max_length": 142,
        "min_length": 56,
        "num_beams": 4,
        "length_penalty": 2.0,
        "early_stopping": True,
        "temperature": 0.6,
        "num_beam_groups": 2,
        "diversity_penalty": 0.0,
        "no_repeat_ngram_size": 3,
        "eos_token_id": 2,
        "transformers_version": "4.1",
    }
    found, in_vain = read_settings(settings)
    assert in_vain == {"num_beam_groups": 2}
    assert found == GenerationConfig(
        max_length=142,
        min_length=56,
        num_beams=4,
        length_penalty=2.0,
        early_stopping=True,
        temperature=0.6,
        no_repeat_ngram_size=3,
        eos_token_id=(2,),
    )


def test_default_length_of_old_files_is_not_meant():
    assert read_settings({"max_length": 20})[0].longest(7) == 7 + DEFAULT_NEW_TOKENS
    assert read_settings({"max_length": 21})[0].longest(7) == 21


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", 2, 2.0),
        ("early_stopping", "never", "never"),
        ("sequence_bias", [[[1, 2], 3], [[4], -1.5]], (((1, 2), 3.0), ((4,), -1.5))),
        ("sequence_bias", {(1, 2): 3.0, 4: 1}, (((1, 2), 3.0), ((4,), 1.0))),
        ("logit_bias", {"50256": -100}, (((50256,), -100.0),)),
        ("bad_words_ids", [[1, 2], []], ((1, 2),)),
        ("exponential_decay_length_penalty", [15, 1.5], (15, 1.5)),
        ("json_schema", {"type": "object"}, {"type": "object"}),
        ("json_schema", "{}", "{}"),
        ("logprobs", 0, 0),
    ],
)
def test_values_are_read_as_they_are_meant(name: str, value: object, expected: object):
    assert getattr(updated(PLAIN, {name: value}), name) == expected


def test_error_does_not_repeat_a_long_value():
    with pytest.raises(ConfigError) as caught:
        updated(PLAIN, {"suppress_tokens": [1] * 70_000})
    assert len(str(caught.value)) < 500


def test_every_setting_can_be_read():
    names = {one.name for one in fields(GenerationConfig)}
    assert names == set(READERS)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*READERS, *NOT_HONOURED]), anything, max_size=4))
def test_any_settings_are_read_or_refused(settings: dict[str, Any]):
    try:
        found, _ = read_settings(settings)
    except ConfigError:
        return
    assert found.longest(3) >= 1
    assert found.shortest(3) >= 0
    assert found.num_beams >= 1


def test_a_stop_string_with_the_mark_of_an_unfinished_character_is_refused():
    with pytest.raises(ConfigError, match="stop_strings requested"):
        updated(GenerationConfig(), {"stop_strings": "a\ufffd"})
