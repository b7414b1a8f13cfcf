"""fill-mask: answers are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.parity.conftest import Served
from tests.parity.matrix import QUICK, rest
from tests.parity.texts import PLAIN, masked, texts

TASK = "fill-mask"
BERT = QUICK[TASK][0]

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
    mask = both.tokenizer.mask_token
    once = {name: masked(text, mask) for name, text in texts(both.tokenizer).items()}
    both.check_all(TASK, once)
    twice = {name: f"{mask} {text} {mask}" for name, text in list(once.items())[::3]}
    both.check_all(TASK, twice, top_k=3)


@pytest.mark.parametrize("top_k", [1, 2, 40])
@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_top_k(served: Served, model_type: str, kind: str, top_k: int) -> None:
    both = served(model_type, TASK, kind)
    mask = both.tokenizer.mask_token
    for text in (f"It was {mask}.", f"{mask}{mask} and{mask}", [f"It was {mask}."], [f"a {mask}", f"{mask} b {mask}"]):
        both.check(TASK, text, top_k=top_k)


@pytest.mark.filterwarnings("ignore:target .* is no token")
@pytest.mark.filterwarnings("ignore:target .* has no token")
@pytest.mark.parametrize(
    "targets",
    [
        "good",
        ["good"],
        ["good", "bad", "good"],
        ["awfulness", "Gdańsk", "the"],
        ["\u0120good", "▁good", "##ing"],
        ["🍕"],
    ],
    ids=str,
)
@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_targets(served: Served, model_type: str, kind: str, targets: str | list[str]) -> None:
    both = served(model_type, TASK, kind)
    mask = both.tokenizer.mask_token
    for text in (f"It was {mask}.", [f"a {mask}", f"{mask} b {mask}"]):
        both.check(TASK, text, targets=targets)
        both.check(TASK, text, targets=targets, top_k=2)


@pytest.mark.parametrize("length", [8, 40])
@pytest.mark.parametrize(("model_type", "kind"), QUICK[TASK])
def test_long_texts_are_cut_alike(served: Served, model_type: str, kind: str, length: int) -> None:
    both = served(model_type, TASK, kind)
    text = f"It {both.tokenizer.mask_token} {PLAIN['hundreds of words']}"
    both.check(TASK, text, tokenizer_kwargs={"truncation": True, "max_length": length})
    both.check(TASK, text, tokenizer_kwargs={"truncation": "longest_first", "max_length": length})
    both.check(TASK, [text, "so", text][::2], tokenizer_kwargs={"truncation": True, "max_length": length})


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"batch_size": 1}], ids=str)
def test_generators(served: Served, options: dict[str, Any]) -> None:
    both = served(BERT[0], TASK, BERT[1])
    many = [masked(text, "[MASK]") for text in PLAIN.values()][:15]
    both.compare(
        TASK, both.ours(TASK)((one for one in many), **options), both.theirs(TASK)((one for one in many), **options)
    )


def test_options_of_the_constructor_hold_for_every_call(served: Served) -> None:
    both = served(BERT[0], TASK, BERT[1])
    options: dict[str, Any] = {"top_k": 2, "targets": ["good", "bad", "fine"]}
    ours, theirs = both.ours(TASK, **options), both.theirs(TASK, **options)
    both.compare(TASK, ours("It was [MASK]."), theirs("It was [MASK]."))
    both.compare(TASK, ours("It was [MASK].", top_k=1), theirs("It was [MASK].", top_k=1))
    both.compare(TASK, ours("It was [MASK].", targets="the"), theirs("It was [MASK].", targets="the"))
