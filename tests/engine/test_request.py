from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan import InputTooLongError, InvalidInputError
from ortolan.request import MAX_TEXT_CHARS, TextInput, parse_text_input


def test_a_string_is_a_text_without_a_pair():
    assert parse_text_input("rain") == TextInput("rain", None)


def test_a_mapping_with_two_texts_is_a_pair():
    assert parse_text_input({"text": "rain", "text_pair": "sun"}) == TextInput("rain", "sun")


def test_a_mapping_with_one_text_has_no_pair():
    assert parse_text_input({"text": "rain"}) == TextInput("rain", None)


def test_a_pair_of_none_is_no_pair():
    assert parse_text_input({"text": "rain", "text_pair": None}) == TextInput("rain", None)


def test_a_text_input_is_checked_like_what_it_was_made_of():
    with pytest.raises(InvalidInputError, match="text_pair requested, it is empty"):
        parse_text_input(TextInput("rain", ""))


@given(st.text().filter(str.strip))
def test_a_text_is_never_changed(text: str):
    assert parse_text_input(text).text == text


@pytest.mark.parametrize(
    ("item", "name"),
    [
        pytest.param(None, "NoneType", id="none"),
        pytest.param(5, "int", id="number"),
        pytest.param(b"rain", "bytes", id="bytes"),
        pytest.param(["rain"], "list", id="list"),
        pytest.param(("rain", "sun"), "tuple", id="tuple"),
    ],
)
def test_what_is_no_text_is_refused_with_its_type(item: object, name: str):
    with pytest.raises(InvalidInputError) as caught:
        parse_text_input(item)
    assert str(caught.value) == (
        f'text input requested, got {name}; send a string, or {{"text": ..., "text_pair": ...}} for a pair'
    )


@pytest.mark.parametrize(
    ("item", "asked", "found"),
    [
        pytest.param("", "text requested", "it is empty or only white space", id="empty"),
        pytest.param(" \n\t\u00a0", "text requested", "it is empty or only white space", id="white-space"),
        pytest.param({"text": ""}, "text requested", "it is empty or only white space", id="empty-in-mapping"),
        pytest.param({"text": None}, "text requested", "got NoneType", id="none-in-mapping"),
        pytest.param({"text": 5}, "text requested", "got int", id="number-in-mapping"),
        pytest.param(
            {"text": "a", "text_pair": ""}, "text_pair requested", "it is empty or only white space", id="empty-pair"
        ),
        pytest.param(
            {"text": "a", "text_pair": " "}, "text_pair requested", "it is empty or only white space", id="blank-pair"
        ),
        pytest.param({"text": "a", "text_pair": ["b"]}, "text_pair requested", "got list", id="pair-of-another-type"),
        pytest.param({}, "text input requested", "no key 'text'", id="empty-mapping"),
        pytest.param({"text_pair": "b"}, "text input requested", "no key 'text'", id="pair-without-text"),
        pytest.param({"txt": "a"}, "text input requested", "unknown keys ['txt']", id="misspelt-key"),
        pytest.param(
            {"text": "a", "z": 1, "b": 2}, "text input requested", "unknown keys ['b', 'z']", id="unknown-keys-sorted"
        ),
        pytest.param({"text": "a", 3: "b"}, "text input requested", "unknown keys ['3']", id="key-that-is-no-string"),
    ],
)
def test_an_unusable_input_is_refused_with_what_was_found(item: object, asked: str, found: str):
    with pytest.raises(InvalidInputError) as caught:
        parse_text_input(item)
    assert (caught.value.asked, caught.value.found) == (asked, found)


@pytest.mark.parametrize(
    "item",
    [
        pytest.param("ab\ud83d", id="text"),
        pytest.param({"text": "fine", "text_pair": "ab\ud83d"}, id="pair"),
    ],
)
def test_a_lone_surrogate_is_refused_with_its_place_and_code(item: object):
    with pytest.raises(InvalidInputError, match=r"character 2 is a lone surrogate \(U\+D83D\)"):
        parse_text_input(item)


def test_a_surrogate_pair_read_as_one_character_is_accepted():
    assert parse_text_input("😀").text == "😀"


def test_a_text_of_a_million_characters_is_accepted():
    assert len(parse_text_input("a" * 1_000_000).text) == MAX_TEXT_CHARS


@pytest.mark.parametrize("field", ["text", "text_pair"])
def test_a_text_over_a_million_characters_is_refused_with_both_lengths(field: str):
    with pytest.raises(InputTooLongError) as caught:
        parse_text_input({"text": "fine", field: "a" * 1_000_001})
    assert str(caught.value) == (
        f"{field} requested, it has 1,000,001 characters and at most 1,000,000 are read; split it"
    )


def test_an_overlong_text_carries_its_lengths_and_index():
    with pytest.raises(InputTooLongError) as caught:
        parse_text_input("a" * 1_000_001, 3)
    assert (caught.value.length, caught.value.max_length, caught.value.index) == (1_000_001, 1_000_000, 3)


BAD = [
    pytest.param(None, id="type"),
    pytest.param("", id="empty"),
    pytest.param({"txt": "a"}, id="keys"),
    pytest.param("\udc00", id="surrogate"),
    pytest.param({"text": "a", "text_pair": ""}, id="pair"),
]


@pytest.mark.parametrize("item", BAD)
def test_a_bad_element_names_its_index_in_message_and_attribute(item: object):
    with pytest.raises(InvalidInputError, match=" at index 7, ") as caught:
        parse_text_input(item, 7)
    assert caught.value.index == 7


@pytest.mark.parametrize("item", BAD)
def test_a_lone_bad_input_names_no_index(item: object):
    with pytest.raises(InvalidInputError) as caught:
        parse_text_input(item)
    assert caught.value.index is None
    assert "index" not in str(caught.value)
