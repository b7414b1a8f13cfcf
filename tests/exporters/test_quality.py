"""What a precision costs: numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ortolan_exporters.quality import Agreement, Metric, accuracy, agreement, decisions, faults


def logits(*probabilities: float) -> np.ndarray:
    """Two-class logits whose softmax gives these probabilities to the second class."""
    yes = np.array(probabilities)
    return np.stack([np.zeros_like(yes), np.log(yes / (1 - yes))], axis=-1).astype(np.float32)


def test_agreement_counts_labels_and_probabilities() -> None:
    found = agreement(logits(0.9, 0.6, 0.1, 0.2), logits(0.8, 0.45, 0.1, 0.2), "softmax")
    assert found.texts == 4
    assert found.label_agreement == 0.75
    assert found.mean_probability_difference == pytest.approx(0.25 / 4)
    assert found.max_probability_difference == pytest.approx(0.15)


def test_expected_drop_is_what_torch_thinks_of_the_other_label() -> None:
    # the second text turns from 0.6 to no, of which torch thinks 0.4
    found = agreement(logits(0.9, 0.6, 0.1, 0.2), logits(0.8, 0.45, 0.1, 0.2), "softmax")
    assert found.expected_drop == pytest.approx((0.6 - 0.4) / 4)


def test_flip_at_a_tie_costs_nothing() -> None:
    found = agreement(logits(0.5001, 0.9), logits(0.4999, 0.9), "softmax")
    assert found.label_agreement == 0.5
    assert found.expected_drop == pytest.approx(0.0001, rel=1e-3)


def test_each_label_of_a_multi_label_model_is_a_decision() -> None:
    rows = decisions(np.array([[0.0, 100.0]], np.float32), "sigmoid")
    np.testing.assert_allclose(rows, [[0.5, 0.5], [0.0, 1.0]])


def test_regression_is_measured_against_the_spread_of_torch() -> None:
    found = agreement(np.array([[1.0], [3.0]], np.float32), np.array([[1.1], [3.1]], np.float32), "none")
    assert found.expected_drop == pytest.approx(0.1)
    assert found.label_agreement == 1.0


def test_accuracy_is_the_share_of_right_labels() -> None:
    assert accuracy(logits(0.9, 0.6, 0.1, 0.2), np.array([1, 1, 1, 0])) == 0.75


GOOD = Agreement(100, 1.0, 0.001, 0.01, 0.0)


def test_precision_that_is_as_good_has_no_faults() -> None:
    assert faults(GOOD, Metric("accuracy", 100, 0.9, 0.895), 0.01) == []


def test_labelled_data_decides_where_there_is_any() -> None:
    doubtful = Agreement(100, 0.9, 0.001, 0.01, 0.5)
    assert faults(doubtful, Metric("accuracy", 100, 0.9, 0.9), 0.01) == []
    assert faults(doubtful, None, 0.01) == ["expected drop 0.5000 of 0.01 allowed"]


def test_drop_over_the_limit_is_told_with_its_numbers() -> None:
    assert faults(GOOD, Metric("accuracy", 100, 0.9, 0.88), 0.01) == [
        "accuracy falls from 0.9000 to 0.8800, by 0.0200 of 0.01 allowed"
    ]


def test_probabilities_that_move_too_far_are_a_fault_of_their_own() -> None:
    moved = Agreement(100, 1.0, 0.03, 0.2, 0.0)
    assert faults(moved, None, 0.01) == ["mean probability difference 0.0300 of 0.02 allowed"]


def test_nan_does_not_pass() -> None:
    assert len(faults(Agreement(100, 1.0, float("nan"), 0.0, float("nan")), None, 0.01)) == 2
