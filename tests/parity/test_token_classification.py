"""token-classification: answers are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest

from ortolan.postprocess.entities import STRATEGIES
from tests.parity.conftest import Served
from tests.parity.matrix import QUICK, rest
from tests.parity.texts import PLAIN, texts

TASK = "token-classification"
SHORT = 66
"""Positions of a model that most paragraphs are too long for."""

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_texts_of_all_kinds(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "kind"), rest(TASK))
def test_texts_of_all_kinds_for_every_other_architecture(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


def check_everything(served: Served, model_type: str, kind: str) -> None:
    both = served(model_type, TASK, kind, SHORT)
    found = texts(both.tokenizer)
    for strategy in STRATEGIES:
        both.check_all(TASK, found, aggregation_strategy=strategy)
    both.check_all(TASK, found, aggregation_strategy="average", stride=16)


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_label_or_others_are_left_out(served: Served, model_type: str, kind: str, strategy: str) -> None:
    both = served(model_type, TASK, kind, SHORT)
    for ignored in ([], ["O", "PER"], ["B-PER", "I-PER", "MISC"], ["LOC"]):
        for name in ("a question", "a paragraph", "emoji with joiners", "arabic"):
            both.check(TASK, PLAIN[name], name, aggregation_strategy=strategy, ignore_labels=ignored)


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
@pytest.mark.parametrize("stride", [0, 1, 30, 50])
def test_windows_of_long_texts(served: Served, model_type: str, kind: str, stride: int) -> None:
    both = served(model_type, TASK, kind, SHORT)
    for strategy in STRATEGIES[1:]:
        for name in ("a paragraph", "one word", "repeated words"):
            both.check(TASK, PLAIN[name], name, aggregation_strategy=strategy, stride=stride)


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
@pytest.mark.parametrize("delimiter", [None, " ", "", "\n\n", " | "], ids=repr)
def test_texts_that_are_cut_into_words(served: Served, model_type: str, kind: str, delimiter: str | None) -> None:
    both = served(model_type, TASK, kind, SHORT)
    options = {"is_split_into_words": True, "delimiter": delimiter}
    many = [text.split() for text in PLAIN.values() if text.split()]
    for strategy in ("none", "simple", "average"):
        both.check(TASK, many[::4], "a few texts", aggregation_strategy=strategy, **options)
    for words in many[::9]:
        both.check(TASK, words, words[:3], **options)


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_words_of_texts_of_all_kinds(served: Served, model_type: str, kind: str) -> None:
    both = served(model_type, TASK, kind, SHORT)
    found = {name: text.split() for name, text in texts(both.tokenizer).items()}
    both.check(TASK, list(found.values()), "all", is_split_into_words=True)


@pytest.mark.parametrize("inputs", [["rain"], ["rain", "Anna left."]], ids=["one", "list"])
def test_forms_of_input(served: Served, inputs: Any) -> None:
    model_type, kind = QUICK[TASK][0]
    both = served(model_type, TASK, kind, SHORT)
    for strategy in ("none", "simple"):
        both.check(TASK, inputs, aggregation_strategy=strategy)


@pytest.mark.parametrize(
    "options", [{}, {"aggregation_strategy": "first"}, {"batch_size": 4, "aggregation_strategy": "simple"}], ids=str
)
def test_generators_and_batches(served: Served, options: dict[str, Any]) -> None:
    model_type, kind = QUICK[TASK][1]
    both = served(model_type, TASK, kind, SHORT)
    many = list(PLAIN.values())
    both.check(TASK, many, **options)
    ours, theirs = both.ours(TASK), both.theirs(TASK)
    both.compare(TASK, ours((text for text in many), **options), theirs((text for text in many), **options))


def test_options_of_the_constructor_hold_for_every_call(served: Served) -> None:
    model_type, kind = QUICK[TASK][1]
    both = served(model_type, TASK, kind, SHORT)
    options: dict[str, Any] = {"aggregation_strategy": "simple", "ignore_labels": ["PER"]}
    ours, theirs = both.ours("ner", **options), both.theirs("ner", **options)
    text = PLAIN["a question"]
    both.compare(TASK, ours(text), theirs(text))
    both.compare(TASK, ours(text, aggregation_strategy="max"), theirs(text, aggregation_strategy="max"))
    both.compare(TASK, ours(text, ignore_labels=["O"]), theirs(text, ignore_labels=["O"]))
