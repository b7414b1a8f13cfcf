from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, InvalidInputError, NonFiniteError, Tokenizer
from ortolan.forward import Row
from ortolan.tasks.answer import Answer, AnswerOptions, Question
from ortolan.tokenize import Truncation
from tests.engine.damage import edit_json
from tests.engine.fakes import facts

TASK, FACTS = Answer(), facts()
ASKED = Question("was it good", "the film was unlikely good , and the rain")
NO_LIMITS = Truncation(64)


def rows(options: AnswerOptions, likely: dict[str, float], asked: Question = ASKED, known: Any = FACTS) -> list[Row]:
    """The windows of a question, each with logits for tokens by name, and 0 for all others."""
    [windows] = TASK.encode([asked], known, options, NO_LIMITS, None)
    found = []
    for window in windows:
        logits = np.array([likely.get(known.tokenizer.token(one), 0.0) for one in window.ids], np.float32)
        found.append(Row(window, {"start_logits": logits, "end_logits": logits.copy()}))
    return found


def answer(likely: dict[str, float], asked: Question = ASKED, **options: Any) -> Any:
    chosen = TASK.options(options, FACTS)
    return TASK.decode(asked, rows(chosen, likely, asked), FACTS, chosen)


def test_the_answer_is_a_slice_of_the_context_with_its_score():
    assert answer({"film": 20.0}) == {"score": pytest.approx(1.0, abs=1e-4), "start": 4, "end": 8, "answer": "film"}


def test_the_keys_are_in_the_order_of_transformers():
    assert list(answer({"film": 20.0})) == ["score", "start", "end", "answer"]


def test_a_word_of_the_question_is_no_answer():
    assert answer({"it": 50.0, "film": 20.0})["answer"] == "film"


def test_an_answer_is_widened_to_whole_words():
    # "unlikely" is un, ##l, ##i, ##k, ##e, ##l, ##y
    assert answer({"##k": 20.0})["answer"] == "unlikely"


def test_an_answer_is_left_as_it_is_where_words_are_not_asked_for():
    found = answer({"##k": 20.0}, align_to_words=False)
    assert (found["start"], found["end"], found["answer"]) == (17, 18, "k")


def test_tokens_of_one_word_are_one_answer_and_their_scores_add_up():
    found = answer({"##k": 20.0, "un": 20.0}, top_k=3)
    assert [one["answer"] for one in found].count("unlikely") == 1
    assert found[0]["score"] == pytest.approx(0.75, abs=1e-3)  # two tokens, and both together


def test_several_answers_come_best_first():
    found = answer({"film": 12.0, "rain": 11.0}, top_k=2, max_answer_len=1)
    assert [one["answer"] for one in found] == ["film", "rain"]
    assert found[0]["score"] > found[1]["score"]


def test_answers_with_the_same_letters_are_one():
    asked = Question("what", "Rain , the rain")
    found = answer({"rain": 15.0}, asked, top_k=5, max_answer_len=1)
    assert found[0] == {"score": pytest.approx(0.5, abs=1e-3), "start": 0, "end": 4, "answer": "Rain"}


def test_an_answer_has_no_more_tokens_than_asked():
    logits = {"film": 10.0, "rain": 10.0}
    assert len(answer(logits, max_answer_len=2)["answer"].split()) <= 2


def test_there_may_be_no_answer():
    found = answer({"[CLS]": 20.0}, handle_impossible_answer=True)
    assert found == {"score": pytest.approx(1.0, abs=1e-4), "start": 0, "end": 0, "answer": ""}


def test_that_there_is_none_is_not_said_where_it_is_not_asked():
    assert answer({"[CLS]": 5.0})["answer"] != ""


def test_of_several_windows_the_least_likely_to_have_none_counts():
    asked = Question("what", "the film was good " * 6 + "rain")
    options = TASK.options({"max_seq_len": 16, "doc_stride": 2, "handle_impossible_answer": True}, FACTS)
    found = rows(options, {"[CLS]": 2.0, "rain": 20.0}, asked)
    assert len(found) > 2
    best = TASK.decode(asked, found, FACTS, replace(options, top_k=500))
    [nothing] = [one for one in best if one["answer"] == ""]
    assert nothing["score"] < 1e-6


def test_windows_of_a_long_context_share_an_answer():
    asked = Question("what", "the film was good " * 6 + "rain")
    found = answer({"rain": 20.0}, asked, max_seq_len=16, doc_stride=2, top_k=20, max_answer_len=1)
    assert found[0]["answer"] == "rain"
    assert asked.context[found[0]["start"] : found[0]["end"]] == "rain"


def test_a_context_without_tokens_has_no_answer():
    assert answer({}, Question("what", "\u200b\x00")) == []


def test_not_a_number_is_an_error():
    options = AnswerOptions()
    [row] = rows(options, {})
    row.outputs["start_logits"][0] = np.nan
    with pytest.raises(NonFiniteError, match="an answer requested, the graph answered NaN or infinity"):
        TASK.decode(ASKED, [row], FACTS, options)


# A tokenizer that pads on the left


@pytest.fixture
def left(artifact: Path) -> Any:
    edit_json(artifact / "tokenizer_config.json", lambda settings: settings.update(padding_side="left"))
    return facts(tokenizer=Tokenizer.load(artifact, max_length=64))


def test_models_padded_on_the_left_read_the_context_first(left: Any):
    [[window]] = TASK.encode([ASKED], left, AnswerOptions(), NO_LIMITS, None)
    tokens = [left.tokenizer.token(one) for one in window.ids]
    assert tokens[:3] + tokens[-4:] == ["[CLS]", "the", "film", "was", "it", "good", "[SEP]"]


def test_models_padded_on_the_left_answer_from_the_context_alone(left: Any):
    options = AnswerOptions()
    found = TASK.decode(ASKED, rows(options, {"it": 50.0, "film": 20.0}, known=left), left, options)
    assert found["answer"] == "film"


def test_models_padded_on_the_left_split_the_context(left: Any):
    asked = Question("what is it", "the film was good " * 6 + "rain")
    options = TASK.options({"max_seq_len": 16, "doc_stride": 2, "top_k": 1}, left)
    found = rows(options, {"rain": 20.0}, asked, left)
    assert len(found) > 2
    assert TASK.decode(asked, found, left, options)["answer"] == "rain"


# Inputs


@pytest.mark.parametrize(
    ("args", "options", "inputs"),
    [
        pytest.param((), {"question": "q", "context": "c"}, {"question": "q", "context": "c"}, id="by-name"),
        pytest.param(("q", "c"), {}, {"question": "q", "context": "c"}, id="two"),
        pytest.param(({"question": "q", "context": "c"},), {}, {"question": "q", "context": "c"}, id="mapping"),
        pytest.param(
            (), {"question": ["q", "r"], "context": "c"},
            [{"question": "q", "context": "c"}, {"question": "r", "context": "c"}], id="one-context",
        ),
        pytest.param(
            (), {"question": ["q", "r"], "context": ["c", "d"]},
            [{"question": "q", "context": "c"}, {"question": "r", "context": "d"}], id="lists",
        ),
        pytest.param((), {"question": [], "context": []}, [], id="empty"),
    ],
)  # fmt: skip
def test_questions_and_contexts_are_found(args: tuple[Any, ...], options: dict[str, Any], inputs: Any):
    assert TASK.arguments(args, {**options, "top_k": 3}) == (inputs, {"top_k": 3})


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"question": "q"}, id="no-context"),
        pytest.param({"context": "c"}, id="no-question"),
        pytest.param({"question": ["q", "r"], "context": ["c"]}, id="too-few-contexts"),
        pytest.param({"question": ["q"], "context": 5}, id="context-is-a-number"),
    ],
)
def test_what_cannot_be_paired_is_refused(options: dict[str, Any]):
    with pytest.raises(InvalidInputError):
        TASK.arguments((), options)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "an answer requested at index 3, got str"),
        ({"question": "q"}, r"got keys \['question'\]"),
        ({"question": "q", "context": "c", "id": 1}, r"got keys \['context', 'id', 'question'\]"),
        ({"question": "q", "context": None}, "the context is None"),
        ({"question": None, "context": "c"}, "got NoneType"),
        ({"question": " ", "context": "c"}, "empty or only white space"),
        ({"question": "q", "context": "\n\t"}, "empty or only white space"),
        ({"question": "q", "context": "\ud800"}, "lone surrogate"),
    ],
)
def test_a_question_that_cannot_be_read_is_refused_with_its_index(item: object, message: str):
    with pytest.raises(InvalidInputError, match=message) as caught:
        TASK.parse(item, 3)
    assert caught.value.index == 3


def test_a_question_may_be_passed_as_what_it_is_parsed_to():
    assert TASK.parse(ASKED, None) == ASKED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k requested, got 0"),
        ({"max_answer_len": 0}, "max_answer_len requested, got 0"),
        ({"max_seq_len": "64"}, "max_seq_len requested, got '64'"),
        ({"doc_stride": -1}, "doc_stride requested, got -1"),
        ({"handle_impossible_answer": 1}, "handle_impossible_answer requested, got 1"),
        ({"align_to_words": "yes"}, "align_to_words requested, got 'yes'"),
        ({"max_seq_len": 65}, "max_seq_len=65 requested, the model reads 64 tokens"),
        ({"max_seq_len": 32, "doc_stride": 33}, "doc_stride=33 requested, windows are shorter than that"),
        ({"doc_stride": 65}, "doc_stride=65 requested, windows are shorter than that"),
    ],
)
def test_an_option_that_is_not_allowed_is_refused(options: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        TASK.options(options, FACTS)


def test_none_means_the_default_as_in_transformers():
    assert TASK.options(dict.fromkeys(TASK.option_names), FACTS) == AnswerOptions()


def test_a_question_that_leaves_no_room_is_refused_with_its_index():
    options = TASK.options({"max_seq_len": 16, "doc_stride": 4}, FACTS)
    asked = Question("rain " * 10, "the film was good " * 5)
    with pytest.raises(InputTooLongError) as caught:
        TASK.encode([ASKED, asked], FACTS, options, NO_LIMITS, 5)
    assert str(caught.value) == (
        "windows of 16 tokens requested at index 6, 3 of them are left for the text that is split, "
        "and windows overlap by 4; shorten the other text, or overlap less"
    )


@pytest.mark.parametrize(
    ("results", "single", "shown"), [([1], {}, 1), ([1], None, 1), ([1, 2], None, [1, 2]), ([], None, [])]
)
def test_a_list_of_one_question_is_shown_as_transformers_does(results: list[Any], single: Any, shown: Any):
    assert TASK.present(results, single, {}) == shown
