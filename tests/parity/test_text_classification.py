"""text-classification: answers are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.conftest import Served
from tests.parity.matrix import QUICK, rest
from tests.parity.texts import PLAIN, pairs, texts

TASK = "text-classification"
BERT = QUICK[TASK][0]

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_texts_and_pairs_of_all_kinds(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "kind"), rest(TASK))
def test_texts_and_pairs_of_all_kinds_for_every_other_architecture(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


def check_everything(served: Served, model_type: str, kind: str) -> None:
    both = served(model_type, TASK, kind)
    found = texts(both.tokenizer)
    both.check_all(TASK, found)
    both.check_all(TASK, found, top_k=None)
    both.check_all(TASK, pairs(found), truncation=True)


@pytest.mark.parametrize("top_k", [1, 2, 3, 7, None])
@pytest.mark.parametrize("function", [None, "softmax", "sigmoid", "none", "SIGMOID"])
def test_every_function_with_every_top_k(served: Served, top_k: int | None, function: str | None) -> None:
    both = served(BERT[0], TASK, BERT[1])
    for inputs in ("rain", ["rain", "The film was good."], {"text": "rain", "text_pair": "sun"}):
        both.check(TASK, inputs, top_k=top_k, function_to_apply=function)
        both.check(TASK, inputs, function_to_apply=function)


@pytest.mark.parametrize(
    "inputs",
    [
        ["rain"],
        [{"text": "rain"}],
        [{"text": "rain"}, {"text": "sun", "text_pair": "rain"}],
        {"text": "rain"},
    ],
    ids=["list of one", "list of one mapping", "mappings", "mapping"],
)
def test_forms_of_input(served: Served, inputs: Any) -> None:
    both = served(BERT[0], TASK, BERT[1])
    both.check(TASK, inputs)
    both.check(TASK, inputs, top_k=1)


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"batch_size": 8}, {"batch_size": 3, "top_k": None}], ids=str)
def test_generators_and_batches(served: Served, options: dict[str, Any]) -> None:
    both = served(BERT[0], TASK, BERT[1])
    many = list(PLAIN.values())
    both.check(TASK, many, **options)
    ours, theirs = both.ours(TASK), both.theirs(TASK)
    both.compare(TASK, ours((text for text in many), **options), theirs((text for text in many), **options))


@pytest.mark.parametrize("length", [6, 8, 64])
@pytest.mark.parametrize("strategy", [True, "longest_first", "only_first"])
@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_long_texts_are_cut_alike(
    served: Served, model_type: str, kind: str, strategy: bool | str, length: int
) -> None:
    both = served(model_type, TASK, kind)
    for name in ("hundreds of words", "emoji with joiners", "one word"):
        both.check(TASK, PLAIN[name], truncation=strategy, max_length=length)


def test_options_of_the_constructor_hold_for_every_call(served: Served) -> None:
    both = served(BERT[0], TASK, BERT[1])
    options: dict[str, Any] = {"top_k": 2, "function_to_apply": "sigmoid"}
    ours, theirs = both.ours(TASK, **options), both.theirs(TASK, **options)
    for inputs in ("rain", ["rain", "sun"], {"text": "rain"}):
        both.compare(TASK, ours(inputs), theirs(inputs))
        both.compare(TASK, ours(inputs, top_k=1), theirs(inputs, top_k=1))
        both.compare(TASK, ours(inputs, function_to_apply="none"), theirs(inputs, function_to_apply="none"))
