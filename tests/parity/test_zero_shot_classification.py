"""zero-shot-classification: answers are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.conftest import Served
from tests.parity.matrix import QUICK, rest
from tests.parity.texts import HYPOTHESES, PLAIN, texts

TASK = "zero-shot-classification"
HEAD = "text-classification"
BERT = QUICK[HEAD][0]
LABELS = list(HYPOTHESES)

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("model_type", "kind"), QUICK[HEAD])
def test_texts_of_all_kinds(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "kind"), rest(HEAD))
def test_texts_of_all_kinds_for_every_other_architecture(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


def check_everything(served: Served, model_type: str, kind: str) -> None:
    both = served(model_type, HEAD, kind)
    found = texts(both.tokenizer)
    both.check_all(TASK, found, candidate_labels=LABELS[:3])
    both.check_all(TASK, found, candidate_labels=LABELS[3:], multi_label=True)


@pytest.mark.parametrize(
    "labels",
    ["sport", ["sport"], "sport, politics ,the press", ["a", "a", "b"], "北京,🍕", [" padded ", "x"]],
    ids=str,
)
@pytest.mark.parametrize("multi_label", [False, True])
def test_labels(served: Served, labels: str | list[str], multi_label: bool) -> None:
    both = served(BERT[0], HEAD, BERT[1])
    for inputs in ("rain", ["rain"], ["rain", "The film was good."]):
        both.check(TASK, inputs, candidate_labels=labels, multi_label=multi_label)


@pytest.mark.parametrize("template", ["{}", "This is about {}.", "Es geht um {}!", "{0}?", "{{{}}} is it"])
@pytest.mark.parametrize(("model_type", "kind"), QUICK[HEAD])
def test_templates(served: Served, model_type: str, kind: str, template: str) -> None:
    both = served(model_type, HEAD, kind)
    both.check(TASK, PLAIN["a sentence"], candidate_labels=LABELS, hypothesis_template=template)


@pytest.mark.parametrize(("model_type", "kind"), QUICK[HEAD])
def test_texts_that_are_too_long_are_cut(served: Served, model_type: str, kind: str) -> None:
    both = served(model_type, HEAD, kind)
    for text in (PLAIN["hundreds of words"] * 3, PLAIN["one letter many times"] * 20):
        both.check(TASK, text, candidate_labels=LABELS[:3])


def test_labels_after_the_text_and_names_of_the_arguments(served: Served) -> None:
    both = served(BERT[0], HEAD, BERT[1])
    ours, theirs = both.ours(TASK), both.theirs(TASK)
    both.compare(TASK, ours("rain", LABELS), theirs("rain", LABELS))
    both.compare(TASK, ours(sequences="rain", candidate_labels="a,b"), theirs(sequences="rain", candidate_labels="a,b"))


def test_options_of_the_constructor_hold_for_every_call(served: Served) -> None:
    both = served(BERT[0], HEAD, BERT[1])
    options: dict[str, Any] = {"candidate_labels": ["a", "b", "c"], "multi_label": True}
    ours, theirs = both.ours(TASK, **options), both.theirs(TASK, **options)
    both.compare(TASK, ours("rain"), theirs("rain"))
    both.compare(TASK, ours("rain", multi_label=False), theirs("rain", multi_label=False))
    both.compare(TASK, ours("rain", candidate_labels="d,e"), theirs("rain", candidate_labels="d,e"))


@pytest.mark.parametrize("options", [{}, {"batch_size": 4}], ids=str)
def test_generators_and_batches(served: Served, options: dict[str, Any]) -> None:
    both = served(BERT[0], HEAD, BERT[1])
    many = list(PLAIN.values())[:20]
    both.check(TASK, many, candidate_labels=LABELS, **options)
    ours, theirs = (
        pipe((text for text in many), candidate_labels=LABELS, **options)
        for pipe in (both.ours(TASK), both.theirs(TASK))
    )
    both.compare(TASK, ours, theirs)
