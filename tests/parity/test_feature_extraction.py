"""feature-extraction: hidden states are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.conftest import Served
from tests.parity.matrix import QUICK, rest
from tests.parity.texts import PLAIN, texts

TASK = "feature-extraction"
BERT = QUICK[TASK][1]

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_texts_of_all_kinds(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "kind"), rest(TASK))
def test_texts_of_all_kinds_for_every_other_architecture(served: Served, model_type: str, kind: str) -> None:
    check_everything(served, model_type, kind)


def check_everything(served: Served, model_type: str, kind: str) -> None:
    both = served(model_type, TASK, kind)
    both.check_all(TASK, texts(both.tokenizer))


@pytest.mark.parametrize(
    "options",
    [
        {"truncation": True, "tokenize_kwargs": {"max_length": 8}},
        {"tokenize_kwargs": {"truncation": True, "max_length": 6}},
        {"tokenize_kwargs": {"truncation": True}},
        {"tokenize_kwargs": {}},
        {"tokenize_kwargs": None, "truncation": True},
        {"return_tensors": False},
    ],
    ids=str,
)
def test_options(served: Served, options: dict[str, Any]) -> None:
    both = served(BERT[0], TASK, BERT[1])
    for inputs in (PLAIN["a paragraph"], [PLAIN["a paragraph"], "rain"], ["rain"]):
        # transformers writes into the mapping that it is given
        ours, theirs = (
            pipe(inputs, **{name: dict(value) if isinstance(value, dict) else value for name, value in options.items()})
            for pipe in (both.ours(TASK), both.theirs(TASK))
        )
        both.compare(TASK, ours, theirs)


@pytest.mark.parametrize("inputs", ["rain", ["rain", "The film was good."]], ids=["text", "list"])
def test_tensors(served: Served, inputs: Any) -> None:
    both = served(BERT[0], TASK, BERT[1])
    theirs = both.theirs(TASK)(inputs, return_tensors=True)
    both.compare(TASK, both.ours(TASK)(inputs, return_tensors="pt"), theirs)
    arrays = [one.numpy() for one in theirs] if isinstance(theirs, list) else theirs.numpy()
    both.compare(TASK, both.ours(TASK)(inputs, return_tensors=True), arrays)


def test_generators(served: Served) -> None:
    both = served(BERT[0], TASK, BERT[1])
    many = list(PLAIN.values())[:12]
    both.compare(TASK, both.ours(TASK)(one for one in many), both.theirs(TASK)(one for one in many))
