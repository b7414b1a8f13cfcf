from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, NonFiniteError
from ortolan.forward import Row
from ortolan.request import TextInput
from ortolan.tasks.features import FeatureOptions, Features
from ortolan.tokenize import Encoding, Truncation
from tests.engine.fakes import facts

FACTS = facts()
TASK = Features()
HIDDEN = np.array([[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]], np.float32)


def decode(options: FeatureOptions, hidden: np.ndarray = HIDDEN) -> Any:
    row = Row(Encoding([2, 5, 3], [0] * 3, [(0, 0)] * 3), {"last_hidden_state": hidden})
    return TASK.decode(TextInput("rain"), [row], FACTS, options)


def test_features_are_a_list_for_each_token_in_a_list_for_the_text() -> None:
    assert decode(FeatureOptions()) == [[[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]]]


def test_features_as_an_array_do_not_share_memory_with_the_batch() -> None:
    found = decode(FeatureOptions(tensors="np"))
    assert (found.shape, found.dtype, np.shares_memory(found, HIDDEN)) == ((1, 3, 2), np.float32, False)
    np.testing.assert_array_equal(found[0], HIDDEN)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="^features requested"):
        decode(FeatureOptions(), np.full((3, 2), np.inf, np.float32))


@pytest.mark.parametrize(
    ("value", "expected"), [(True, "np"), ("np", "np"), ("pt", "pt"), (False, None), (None, None)], ids=repr
)
def test_tensors_are_of_the_kind_that_was_asked_for(value: object, expected: str | None) -> None:
    assert TASK.options({"return_tensors": value}, FACTS).tensors == expected


@pytest.mark.parametrize("value", ["tf", 1, ["np"]], ids=repr)
def test_tensors_of_another_kind_are_refused(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        TASK.options({"return_tensors": value}, FACTS)
    assert str(caught.value) == f"return_tensors requested, got {value!r}; use True, False or one of np, pt"


def test_options_in_tokenize_kwargs_count_as_if_they_stood_beside_it() -> None:
    given = {"tokenize_kwargs": {"truncation": True, "max_length": 8}, "return_tensors": True}
    _, options = TASK.arguments(["rain"], given)
    assert options == {"return_tensors": True, "truncation": True, "max_length": 8}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"tokenize_kwargs": {"truncation": True}, "truncation": True},
            "tokenize_kwargs requested, truncation is passed twice; pass it once",
        ),
        (
            {"tokenize_kwargs": "truncation"},
            "tokenize_kwargs requested, got 'truncation'; pass a mapping, such as {'truncation': True}",
        ),
    ],
    ids=["twice", "no mapping"],
)
def test_tokenize_kwargs_that_can_not_be_used_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TASK.arguments(["rain"], given)
    assert str(caught.value) == message


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(InputTooLongError, match="text of 102 tokens requested"):
        TASK.encode([TextInput("rain " * 100)], FACTS, FeatureOptions(), Truncation(64), None)
