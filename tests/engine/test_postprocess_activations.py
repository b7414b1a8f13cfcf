from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ortolan.postprocess.activations import sigmoid, softmax

LOGITS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=5),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


def test_softmax_gives_the_values_computed_by_hand():
    # exp(0) : exp(ln 3) = 1 : 3
    assert softmax(np.array([[0.0, np.log(3)]], np.float32)) == pytest.approx(np.array([[0.25, 0.75]]))


def test_softmax_normalizes_each_row_by_itself():
    found = softmax(np.array([[0.0, 0.0], [5.0, 5.0]], np.float32))
    assert found.tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_softmax_of_huge_values_is_certain_and_warns_of_nothing():
    assert softmax(np.array([[1e30, -1e30, 3e38]], np.float32)).tolist() == [[0.0, 0.0, 1.0]]


@given(LOGITS)
def test_softmax_rows_sum_to_one(logits: np.ndarray):
    assert softmax(logits).sum(axis=-1) == pytest.approx(np.ones(len(logits)), abs=1e-6)


def test_sigmoid_gives_the_values_computed_by_hand():
    logits = np.array([[0.0, np.log(3), -np.log(3)]], np.float32)
    assert sigmoid(logits) == pytest.approx(np.array([[0.5, 0.75, 0.25]]))


def test_sigmoid_of_huge_values_is_certain_and_warns_of_nothing():
    assert sigmoid(np.array([3e38, -3e38], np.float32)).tolist() == [1.0, 0.0]


@given(LOGITS)
def test_sigmoid_of_the_opposite_is_the_rest_to_one(logits: np.ndarray):
    assert sigmoid(-logits) == pytest.approx(1 - sigmoid(logits), abs=1e-6)


@pytest.mark.parametrize("activation", [softmax, sigmoid])
def test_an_activation_leaves_its_argument_alone(activation):
    logits = np.array([[1.0, 2.0]], np.float32)
    activation(logits)
    assert logits.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("activation", [softmax, sigmoid])
def test_an_activation_answers_in_float32(activation):
    assert activation(np.zeros((2, 3), np.float32)).dtype == np.float32
