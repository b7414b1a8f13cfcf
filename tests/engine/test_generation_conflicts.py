"""Options that contradict each other, or change nothing."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from ortolan.errors import ConfigError
from ortolan.generation.config import NOT_HONOURED, GenerationConfig, updated
from ortolan.generation.conflicts import requested

PLAIN = GenerationConfig()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"num_return_sequences": 2}, ["num_return_sequences=2 without do_sample=True or as many num_beams"]),
        ({"num_return_sequences": 3, "num_beams": 2}, ["num_return_sequences=3 with num_beams=2, which are fewer"]),
        ({"prompt_lookup_num_tokens": 3, "num_beams": 2}, ["prompt_lookup_num_tokens=3 with num_beams=2"]),
        ({"prompt_lookup_num_tokens": 3, "do_sample": True}, ["prompt_lookup_num_tokens=3 with do_sample=True"]),
        ({"regex": "a", "json_schema": {}}, ["regex with json_schema"]),
        ({"regex": "a", "num_beams": 2}, ["regex with num_beams=2"]),
        ({"json_schema": "{}", "num_beams": 2}, ["json_schema with num_beams=2"]),
        ({"json_schema": "{}", "forced_bos_token_id": 2}, ["json_schema with forced_bos_token_id"]),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, ["min_new_tokens=5 with max_new_tokens=4"]),
        ({"min_length": 5, "max_length": 4}, ["min_length=5 with max_length=4"]),
        ({"forced_bos_token_id": 5, "suppress_tokens": [4, 5]}, ["forced_bos_token_id with suppress_tokens"]),
        ({"forced_eos_token_id": [5, 4], "suppress_tokens": [4, 5]}, ["forced_eos_token_id with suppress_tokens"]),
        (
            {
                "regex": "a",
                "num_beams": 2,
                "num_return_sequences": 3,
                "prompt_lookup_num_tokens": 4,
                "min_length": 9,
                "max_length": 8,
            },
            [
                "num_return_sequences=3 with num_beams=2, which are fewer",
                "prompt_lookup_num_tokens=4 with num_beams=2",
                "regex with num_beams=2",
                "min_length=9 with max_length=8",
            ],
        ),
    ],
    ids=str,
)
def test_options_that_contradict_each_other_are_all_named(values: dict[str, Any], named: list[str]):
    with pytest.raises(ConfigError, match="^options requested, some contradict each other: ") as caught:
        requested(PLAIN, values)
    found = caught.value.found.removeprefix("some contradict each other: ").split("; ")
    assert len(found) == len(named)
    assert all(one.startswith(name) for one, name in zip(found, named, strict=True))


@pytest.mark.parametrize(
    "values",
    [
        {"num_return_sequences": 2, "do_sample": True},
        {"num_return_sequences": 2, "num_beams": 2},
        {"prompt_lookup_num_tokens": 3},
        {"min_new_tokens": 4, "max_new_tokens": 4},
        {"min_length": 100, "max_new_tokens": 4},
        {"min_length": 9, "min_new_tokens": 2, "max_length": 8},
        {"forced_eos_token_id": [5, 6], "suppress_tokens": [4, 5]},
        {"num_beams": 2, "length_penalty": 2.0, "early_stopping": True},
        {"do_sample": True, "temperature": 0.5, "top_p": 0.5},
        {"temperature": 1.0, "top_k": 50, "early_stopping": False, "seed": 5},
        {"num_beams": None, "regex": "a"},
    ],
    ids=str,
)
def test_options_that_go_together_are_taken(values: dict[str, Any]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert requested(PLAIN, values) == updated(PLAIN, values)


def test_options_of_a_model_contradict_those_of_a_caller_too():
    with pytest.raises(ConfigError, match="prompt_lookup_num_tokens=3 with num_beams=4"):
        requested(GenerationConfig(num_beams=4), {"prompt_lookup_num_tokens": 3})
    requested(GenerationConfig(num_beams=4), {"prompt_lookup_num_tokens": 3, "num_beams": 1})


def test_length_below_the_shortest_of_the_model_is_warned_of():
    model = GenerationConfig(min_length=56, max_length=142)
    with pytest.warns(UserWarning, match="min_length=56 with max_length=20: no text is as long") as caught:
        assert requested(model, {"max_length": 20}).longest(1) == 20
    assert caught[0].filename == __file__
    with pytest.raises(ConfigError, match="min_length=30 with max_length=20"):
        requested(model, {"max_length": 20, "min_length": 30})
    requested(GenerationConfig(min_length=56, max_length=20), {"num_beams": 2})  # nobody but the model says so


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.7}, "temperature=0.7 changes nothing without do_sample=True"),
        ({"top_k": 5}, "top_k=5 changes nothing without do_sample=True"),
        ({"min_p": 0.1, "do_sample": False}, "min_p=0.1 changes nothing without do_sample=True"),
        ({"length_penalty": 2.0}, "length_penalty=2.0 changes nothing without num_beams"),
        ({"early_stopping": "never"}, "early_stopping='never' changes nothing without num_beams"),
        ({"max_matching_ngram_size": 3}, "max_matching_ngram_size=3 changes nothing without prompt_lookup_num_tokens"),
    ],
    ids=str,
)
def test_option_that_changes_nothing_is_warned_of(values: dict[str, Any], message: str):
    with pytest.warns(UserWarning, match=message):
        requested(PLAIN, values)


def test_options_of_the_model_that_change_nothing_are_no_matter():
    requested(GenerationConfig(temperature=0.7, length_penalty=2.0), {"do_sample": False})


def test_what_is_not_honoured_is_refused_by_name():
    with pytest.raises(ConfigError, match="^max_time=2.0, num_beam_groups=2 requested, that is not honoured here"):
        requested(PLAIN, {"max_time": 2.0, "num_beam_groups": 2, "num_beams": 4})


def test_values_that_change_nothing_are_taken():
    for name, values in NOT_HONOURED.items():
        for value in (None, *values):
            assert requested(PLAIN, {name: value}) == PLAIN
