from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, NonFiniteError
from ortolan.forward import Row
from ortolan.request import TextInput
from ortolan.tasks.classify import Classify, ClassifyOptions, default_activation
from ortolan.tokenize import Encoding
from tests.engine.fakes import facts

TWO = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
SOFTMAX = ClassifyOptions(activation="softmax")
FACTS = facts(config=TWO, labels={0: "NEGATIVE", 1: "POSITIVE"})


def decode(logits: list[float], options: ClassifyOptions = SOFTMAX) -> Any:
    row = Row(Encoding([2, 3], [0, 0], [(0, 0), (0, 0)]), {"logits": np.array(logits, np.float32)})
    return Classify().decode(TextInput("rain"), [row], FACTS, options)


@pytest.mark.parametrize(
    ("config", "activation"),
    [
        pytest.param(TWO, "softmax", id="two-labels"),
        pytest.param({}, "softmax", id="labels-left-out"),
        pytest.param({"id2label": {"0": "SCORE"}}, "sigmoid", id="one-label"),
        pytest.param({**TWO, "problem_type": "single_label_classification"}, "softmax", id="single-label"),
        pytest.param({**TWO, "problem_type": "multi_label_classification"}, "sigmoid", id="multi-label"),
        pytest.param({**TWO, "problem_type": "regression"}, "none", id="regression"),
        pytest.param({"id2label": {"0": "SCORE"}, "problem_type": "regression"}, "none", id="regression-of-one"),
    ],
)
def test_the_activation_fits_how_a_model_was_trained(config: dict[str, Any], activation: str):
    assert default_activation(config) == activation


def test_scores_are_the_softmax_of_the_logits():
    # exp(0) : exp(ln 3) = 1 : 3
    assert decode([0.0, float(np.log(3))]) == {"label": "POSITIVE", "score": pytest.approx(0.75)}


def test_nested_answers_are_lists_of_all_labels():
    options = ClassifyOptions(activation="none", top_k=None, is_nested=True)
    assert decode([1.0, 2.0], options) == [
        {"label": "POSITIVE", "score": 2.0},
        {"label": "NEGATIVE", "score": 1.0},
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=["nan", "infinity", "minus-infinity"])
def test_logits_that_are_not_finite_are_refused(bad: float):
    with pytest.raises(NonFiniteError) as caught:
        decode([bad, 0.0])
    assert str(caught.value) == (
        "class scores requested, the graph answered NaN or infinity; run 'ortolan verify' on the artifact"
    )


@pytest.mark.parametrize("value", [0, -1, True, False, 1.5, "2"], ids=repr)
def test_a_top_k_that_is_no_count_is_refused(value: object):
    with pytest.raises(ConfigError) as caught:
        Classify().options({"top_k": value}, FACTS)
    assert str(caught.value) == f"top_k requested, got {value!r}; use a whole number from 1 on"


@pytest.mark.parametrize("value", ["relu", "", 5, ["softmax"]], ids=repr)
def test_an_unknown_function_names_the_known(value: object):
    with pytest.raises(ConfigError) as caught:
        Classify().options({"function_to_apply": value}, FACTS)
    assert str(caught.value) == f"function_to_apply requested, got {value!r}; use one of softmax, sigmoid, none"


@pytest.mark.parametrize("value", ["sigmoid", "SIGMOID", "Sigmoid"])
def test_a_function_is_known_in_any_case_of_letters(value: str):
    assert Classify().options({"function_to_apply": value}, FACTS).activation == "sigmoid"


def test_no_function_is_the_one_of_the_model():
    assert Classify().options({"function_to_apply": None}, FACTS).activation == "softmax"


def test_no_function_keeps_the_one_set_before():
    # transformers' pipeline ignores function_to_apply=None, so that the constructor's holds
    before = ClassifyOptions(activation="sigmoid")
    assert Classify().options({"function_to_apply": None}, FACTS, before).activation == "sigmoid"


def test_options_not_passed_keep_what_was_set_before():
    before = ClassifyOptions(activation="sigmoid", top_k=2, is_nested=True)
    assert Classify().options({}, FACTS, before) == before
