from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, InvalidInputError, NonFiniteError, TruncatedWarning
from ortolan.forward import Row
from ortolan.request import MAX_TEXT_CHARS, TextInput
from ortolan.tasks.tag import Tag, TagOptions, Words
from ortolan.tokenize import Truncation
from tests.engine.fakes import facts

FACTS = facts(labels={0: "O", 1: "B-PER"})
LIMITS = Truncation(64, "longest_first", warns=True)
TASK = Tag()


def tag(payload: TextInput | Words, options: TagOptions, label: int = 1, limits: Truncation = LIMITS) -> Any:
    """Tag a text with a graph that gives every token the same label."""
    [rows] = TASK.encode([payload], FACTS, options, limits, None)
    scores = [0.0, 0.0]
    scores[label] = float(np.log(3))  # 1 : 3
    answered = [Row(row, {"logits": np.array([scores] * len(row.ids), np.float32)}) for row in rows]
    return TASK.decode(payload, answered, FACTS, options)


def test_tokens_are_named_with_their_place_in_the_text_and_special_ones_left_out() -> None:
    assert tag(TextInput("Rain  day"), TagOptions()) == [
        {"entity": "B-PER", "score": pytest.approx(0.75), "index": 1, "word": "rain", "start": 0, "end": 4},
        {"entity": "B-PER", "score": pytest.approx(0.75), "index": 2, "word": "day", "start": 6, "end": 9},
    ]


def test_labels_to_ignore_are_left_out() -> None:
    assert tag(TextInput("rain"), TagOptions(), label=0) == []
    assert len(tag(TextInput("rain"), TagOptions(ignored=frozenset()), label=0)) == 1
    assert tag(TextInput("rain"), TagOptions(strategy="simple", ignored=frozenset({"PER"}))) == []


def test_words_are_found_in_the_text_that_the_delimiter_makes() -> None:
    options = TagOptions(has_words=True, delimiter="--")
    found = tag(Words(("rain", "day", "sun")), options)
    assert [(one["start"], one["end"]) for one in found] == [(0, 4), (6, 9), (11, 14)]


def test_an_unknown_token_is_shown_as_the_text_has_it() -> None:
    assert [one["word"] for one in tag(TextInput("rain 🍕"), TagOptions())] == ["rain", "🍕"]


def test_a_text_that_is_too_long_is_cut_with_a_warning() -> None:
    with pytest.warns(TruncatedWarning, match="of a text of 102 tokens only 64 are read"):
        found = tag(TextInput("rain " * 100), TagOptions())
    assert len(found) == 62


def test_windows_answer_for_the_whole_of_a_long_text() -> None:
    options = TagOptions(strategy="simple", stride=10)
    found = tag(TextInput("rain " * 100), options)
    assert (found[0]["start"], found[-1]["end"]) == (0, 499)


def test_windows_that_would_not_move_on_are_refused() -> None:
    with pytest.raises(InputTooLongError):
        tag(TextInput("rain " * 100), TagOptions(strategy="simple", stride=62))


def test_scores_that_are_not_finite_are_refused() -> None:
    [[row]] = TASK.encode([TextInput("rain")], FACTS, TagOptions(), LIMITS, None)
    with pytest.raises(NonFiniteError, match="^labels of tokens requested"):
        TASK.decode(TextInput("rain"), [Row(row, {"logits": np.full((3, 2), np.nan, np.float32)})], FACTS, TagOptions())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"aggregation_strategy": "best"},
            "aggregation_strategy requested, got 'best'; use one of none, simple, first, average, max",
        ),
        ({"ignore_labels": "O"}, "ignore_labels requested, got 'O'; pass a list of labels, such as [\"O\"]"),
        ({"ignore_labels": [0]}, 'ignore_labels requested, got [0]; pass a list of labels, such as ["O"]'),
        (
            {"stride": -1, "aggregation_strategy": "simple"},
            "stride requested, got -1; use a whole number from 0 on",
        ),
        (
            {"stride": 2},
            (
                "stride=2 requested, aggregation_strategy is 'none', which does not say what to do where windows "
                "overlap; use another one, such as 'simple'"
            ),
        ),
        (
            {"stride": 2, "aggregation_strategy": "first", "is_split_into_words": True},
            "stride=2 with is_split_into_words=True requested, words are read in one window; leave one of them out",
        ),
        ({"is_split_into_words": "yes"}, "is_split_into_words requested, got 'yes'; use True or False"),
    ],
)
def test_options_that_are_not_allowed_say_what_is(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TASK.options(values, FACTS)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["SIMPLE", "Simple", "simple"])
def test_a_strategy_is_known_in_any_case_of_letters(name: str) -> None:
    assert TASK.options({"aggregation_strategy": name}, FACTS).strategy == "simple"


def test_options_that_are_none_keep_what_was_set_before() -> None:
    before = TagOptions(strategy="max", ignored=frozenset({"PER"}), stride=3, delimiter="-")
    nothing = dict.fromkeys(("aggregation_strategy", "ignore_labels", "stride", "delimiter"))
    assert TASK.options(nothing, FACTS, before) == before


def test_a_list_of_words_is_one_text_in_a_list() -> None:
    inputs, _ = TASK.arguments([["Ada", "left"]], {"is_split_into_words": True})
    assert inputs == [Words(("Ada", "left"))]


def test_lists_and_streams_of_words_are_texts_each() -> None:
    options = {"is_split_into_words": True}
    many = [["Ada", "left"], ("rain",)]
    expected = [Words(("Ada", "left")), Words(("rain",))]
    assert TASK.arguments([many], options)[0] == expected
    assert list(TASK.arguments([iter(many)], options)[0]) == expected


@pytest.mark.parametrize("wrong", ["Ada left", [["Ada"], "left"], [["Ada", 5]], [[]], [], {"text": "Ada"}, 5], ids=repr)
def test_what_is_no_list_of_words_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError, match="words of a text requested"):
        TASK.arguments([wrong], {"is_split_into_words": True})


@pytest.mark.parametrize("words", [("Ada", ""), (" ",), ("Ada", "\ud800")], ids=repr)
def test_words_without_content_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="at index 3"):
        TASK.parse(Words(words), 3)


def test_words_are_no_longer_together_than_a_text_may_be() -> None:
    with pytest.raises(InputTooLongError):
        TASK.parse(Words(("a" * (MAX_TEXT_CHARS // 2),) * 2), None)


def test_a_pair_of_texts_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="token-classification requested at index 1, got a pair of texts"):
        TASK.parse({"text": "a", "text_pair": "b"}, 1)
