from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, InvalidInputError, NonFiniteError, TruncatedWarning
from ortolan.forward import Row
from ortolan.request import TextInput
from ortolan.tasks.zero_shot import MAX_LABELS, ZeroShotClassify, ZeroShotOptions
from ortolan.tokenize import Encoding, Truncation
from tests.engine.fakes import facts

FACTS = facts(labels={0: "contradiction", 1: "neutral", 2: "ENTAILMENT"})
TASK = ZeroShotClassify()
LIMITS = Truncation(64, "only_first", warns=True)


def rank(logits: list[list[float]], **values: Any) -> Any:
    options = TASK.options({"candidate_labels": ["a", "b", "c"][: len(logits)], **values}, FACTS)
    rows = [Row(Encoding([], [], []), {"logits": np.array(one, np.float32)}) for one in logits]
    return TASK.decode(TextInput("rain"), rows, FACTS, options)


def test_scores_of_one_choice_sum_to_one_and_come_best_first() -> None:
    three = float(np.log(3))
    assert rank([[0, 0, 0.0], [0, 0, three]]) == {
        "sequence": "rain",
        "labels": ["b", "a"],
        "scores": [pytest.approx(0.75), pytest.approx(0.25)],
    }


@pytest.mark.parametrize("values", [{"multi_label": True}, {}], ids=["multi_label", "one label"])
def test_a_label_by_itself_is_weighed_against_contradiction(values: dict[str, Any]) -> None:
    three = float(np.log(3))
    logits = [[0, 9, three]] if not values else [[0, 9, three], [three, 9, 0]]
    found = rank(logits, **values)
    assert found["scores"] == [pytest.approx(score) for score in (0.75, 0.25)[: len(logits)]]
    assert {type(score) for score in found["scores"]} == {float}


def test_of_equal_scores_the_last_label_comes_first() -> None:
    assert rank([[0, 0, 1.0]] * 3)["labels"] == ["c", "b", "a"]


def test_entailment_may_be_the_first_label_and_contradiction_is_the_last_then() -> None:
    known = facts(labels={0: "entailment", 1: "neutral", 2: "contradiction"})
    options = TASK.options({"candidate_labels": "a", "multi_label": True}, known)
    row = Row(Encoding([], [], []), {"logits": np.array([np.log(3), 9, 0], np.float32)})
    assert TASK.decode(TextInput("rain"), [row], known, options)["scores"] == [pytest.approx(0.75)]


def test_without_entailment_the_last_label_is_taken_for_it_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="none of the labels .* begins with 'entail': the last one is taken for it"):
        assert TASK.options({}, facts(labels={0: "bad", 1: "good"})).entailment == -1


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="^scores of labels requested"):
        rank([[0, 0, np.nan]])


def test_each_label_is_asked_in_a_pair_with_the_text() -> None:
    options = TASK.options({"candidate_labels": "sun, rain", "hypothesis_template": "it is {}"}, FACTS)
    [rows] = TASK.encode([TextInput("sad")], FACTS, options, LIMITS, None)
    tokens = [[FACTS.tokenizer.token(token) for token in row.ids] for row in rows]
    assert tokens == [["[CLS]", "sad", "[SEP]", "it", "is", word, "[SEP]"] for word in ("sun", "rain")]


def test_only_the_text_is_cut_and_a_warning_says_so() -> None:
    options = TASK.options({"candidate_labels": "sun", "hypothesis_template": "it is {}"}, FACTS)
    with pytest.warns(TruncatedWarning, match="only 64 are read"):
        [[row]] = TASK.encode([TextInput("rain " * 100)], FACTS, options, LIMITS, None)
    assert [FACTS.tokenizer.token(token) for token in row.ids[-5:]] == ["[SEP]", "it", "is", "sun", "[SEP]"]


def test_no_labels_are_refused_when_an_answer_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="candidate_labels requested, got none"):
        TASK.encode([TextInput("rain")], FACTS, ZeroShotOptions(entailment=2), LIMITS, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("sun", ("sun",)),
        (" sun , rain,, ", ("sun", "rain")),
        (["sun", "sun"], ("sun", "sun")),
        (("sun, rain",), ("sun, rain",)),
    ],
    ids=repr,
)
def test_labels_are_a_list_or_a_text_with_commas(value: object, expected: tuple[str, ...]) -> None:
    assert TASK.options({"candidate_labels": value}, FACTS).candidate_labels == expected


@pytest.mark.parametrize(
    "value",
    ["", " , ", [], ["sun", ""], ["sun", " "], [5], 5, None, ["a"] * (MAX_LABELS + 1)],
    ids=lambda v: repr(v)[:9],
)
def test_labels_that_can_not_be_asked_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="candidate_labels requested"):
        TASK.options({"candidate_labels": value}, FACTS)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("candidate_labels", ["\ud800"], InvalidInputError),
        ("hypothesis_template", "\ud800 {}", InvalidInputError),
        ("candidate_labels", ["a" * 1_000_000], InputTooLongError),
    ],
    ids=["lone surrogate in a label", "lone surrogate in the template", "a million letters"],
)
def test_hypotheses_that_are_no_text_are_refused(name: str, value: object, error: type[Exception]) -> None:
    options = TASK.options({"candidate_labels": "sun", name: value}, FACTS)
    with pytest.raises(error):
        TASK.encode([TextInput("rain")], FACTS, options, LIMITS, None)


@pytest.mark.parametrize("value", ["{}", "about {}", "{0}.", "{0} and {0}", "{{}} {}"])
def test_a_template_has_a_place_for_the_label(value: str) -> None:
    assert TASK.options({"hypothesis_template": value}, FACTS).hypothesis_template == value


@pytest.mark.parametrize(
    "value",
    ["no place", "", "{} {}", "{1}", "{label}", "{", "{:>1000000000}", "{!r}", "{0.__class__}", "{0[0]}", "{} {0}", 5],
    ids=repr,
)
def test_any_other_template_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="hypothesis_template requested, got .*write one {} where the label goes"):
        TASK.options({"hypothesis_template": value}, FACTS)


def test_a_pair_of_texts_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="zero-shot-classification requested at index 2, got a pair of texts"):
        TASK.parse({"text": "a", "text_pair": "b"}, 2)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["rain", ["sun"]], {}),
        (["rain"], {"candidate_labels": ["sun"]}),
        ([], {"sequences": "rain", "candidate_labels": ["sun"]}),
        ([["sun"]], {"sequences": "rain"}),
    ],
    ids=["both by place", "labels by name", "both by name", "labels by place"],
)
def test_text_and_labels_come_by_place_or_by_name(args: list[Any], options: dict[str, object]) -> None:
    assert TASK.arguments(args, options) == ("rain", {"candidate_labels": ["sun"]})


@pytest.mark.parametrize(
    ("args", "options"), [([], {}), (["a", "b", "c"], {}), (["a", "b"], {"candidate_labels": "c"})]
)
def test_other_arguments_are_refused(args: list[Any], options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="an answer requested"):
        TASK.arguments(args, options)
