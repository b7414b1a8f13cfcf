"""What a precision costs: numbers worked out by hand, and laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ortolan_exporters.quality import (
    Agreement,
    Alignment,
    Metric,
    agreement,
    decisions,
    faults,
    mean_squared_difference,
    spearman,
)


def logits(*probabilities: float) -> list[np.ndarray]:
    """One text for each probability of the second of two classes, which the softmax of its logits gives."""
    yes = np.array(probabilities)
    return list(np.stack([np.zeros_like(yes), np.log(yes / (1 - yes))], axis=-1).astype(np.float32)[:, None])


def test_agreement_counts_labels_and_the_movement_of_the_choice_of_torch() -> None:
    found = agreement(logits(0.9, 0.6, 0.1, 0.2), logits(0.8, 0.45, 0.1, 0.2), "softmax")
    assert isinstance(found, Agreement)
    assert (found.texts, found.decisions, found.label_agreement) == (4, 4, 0.75)
    assert found.mean_probability_difference == pytest.approx(0.25 / 4)
    assert found.max_probability_difference == pytest.approx(0.15)


def test_movement_among_the_other_classes_does_not_count() -> None:
    three = [np.log(np.array([row], np.float32)) for row in ([0.5, 0.3, 0.2], [0.5, 0.1, 0.4])]
    found = agreement(three[:1], three[1:], "softmax")
    assert isinstance(found, Agreement)
    assert found.max_probability_difference == pytest.approx(0, abs=1e-6)


def test_expected_drop_is_what_torch_thinks_of_the_other_label() -> None:
    # the second text turns from 0.6 to no, of which torch thinks 0.4
    found = agreement(logits(0.9, 0.6, 0.1, 0.2), logits(0.8, 0.45, 0.1, 0.2), "softmax")
    assert found.expected_drop == pytest.approx((0.6 - 0.4) / 4)


def test_flip_at_a_tie_costs_nothing() -> None:
    found = agreement(logits(0.5001, 0.9), logits(0.4999, 0.9), "softmax")
    assert isinstance(found, Agreement)
    assert found.label_agreement == 0.5
    assert found.expected_drop == pytest.approx(0.0001, rel=1e-3)


def test_each_token_of_a_text_is_a_decision() -> None:
    wanted = [np.array([[5, 0], [0, 5], [5, 0]], np.float32), np.array([[0, 5]], np.float32)]
    got = [np.array([[5, 0], [5, 0], [5, 0]], np.float32), np.array([[0, 5]], np.float32)]
    found = agreement(wanted, got, "softmax")
    assert isinstance(found, Agreement)
    assert (found.texts, found.decisions, found.label_agreement) == (2, 4, 0.75)


def test_texts_may_differ_in_how_many_choices_there_are() -> None:
    spans = [np.eye(2, length, dtype=np.float32) for length in (5, 3)]
    found = agreement(spans, spans, "softmax")
    assert isinstance(found, Agreement)
    assert (found.decisions, found.label_agreement) == (4, 1.0)


def test_each_label_of_a_multi_label_model_is_a_decision() -> None:
    rows = decisions(np.array([[0.0, 100.0]], np.float32), "sigmoid")
    np.testing.assert_allclose(rows, [[0.5, 0.5], [0.0, 1.0]])
    multi = [np.array([[3, -3, 3]], np.float32)]
    found = agreement(multi, [np.array([[3, 3, 3]], np.float32)], "sigmoid")
    assert isinstance(found, Agreement)
    assert (found.texts, found.decisions) == (1, 3)
    assert found.label_agreement == pytest.approx(2 / 3)


def test_regression_is_measured_against_the_spread_of_torch() -> None:
    wanted, got = ([np.array([[value]], np.float32) for value in row] for row in ((1.0, 3.0), (1.1, 3.3)))
    found = agreement(wanted, got, "none")
    assert isinstance(found, Agreement)
    assert found.mean_probability_difference == pytest.approx(0.2)
    assert found.max_probability_difference == pytest.approx(0.3)
    assert found.expected_drop == pytest.approx(0.2)  # the values of torch deviate by 1
    assert found.label_agreement == 1.0


def test_vectors_are_compared_by_their_directions() -> None:
    wanted = [np.array([[1, 0], [0, 2]], np.float32), np.array([[1, 1]], np.float32)]
    got = [np.array([[7, 0], [0, 2]], np.float32), np.array([[1, 0]], np.float32)]
    found = agreement(wanted, got, "cosine")
    assert isinstance(found, Alignment)
    assert (found.texts, found.decisions) == (2, 3)
    assert found.min_cosine == pytest.approx(0.5**0.5)
    assert found.mean_cosine == pytest.approx((2 + 0.5**0.5) / 3)
    assert found.expected_drop == pytest.approx(1 - found.mean_cosine)


NUMBERS = st.floats(-20, 20, width=32)


@st.composite
def answers(draw: st.DrawFn, least: int = 1) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Answers of torch and of a graph: some texts, each with decisions among as many choices."""
    shapes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(least, 5)), min_size=1, max_size=5))
    both = [[draw(arrays(np.float32, shape, elements=NUMBERS)) for shape in shapes] for _ in range(2)]
    return both[0], both[1]


@given(pair=answers(), measure=st.sampled_from(["softmax", "sigmoid"]))
def test_equal_answers_agree_wholly_and_cost_nothing(
    pair: tuple[list[np.ndarray], list[np.ndarray]], measure: str
) -> None:
    found = agreement(pair[0], pair[0], measure)
    assert isinstance(found, Agreement)
    assert found.label_agreement == 1
    assert found.expected_drop == found.mean_probability_difference == found.max_probability_difference == 0
    assert faults(found, None, 0.0) == []


@given(pair=answers(), measure=st.sampled_from(["softmax", "sigmoid"]))
def test_decisions_that_differ_never_gain(pair: tuple[list[np.ndarray], list[np.ndarray]], measure: str) -> None:
    found = agreement(*pair, measure)
    assert isinstance(found, Agreement)
    assert found.expected_drop >= 0
    assert 0 <= found.label_agreement <= 1
    assert 0 <= found.mean_probability_difference <= found.max_probability_difference + 1e-6 <= 1 + 2e-6
    assert found.expected_drop == 0 or found.label_agreement < 1


@given(shape=st.tuples(st.integers(1, 8), st.integers(1, 5)), data=st.data())
def test_cosines_lie_between_minus_one_and_one(shape: tuple[int, int], data: st.DataObject) -> None:
    one, other = (data.draw(arrays(np.float32, shape, elements=NUMBERS)) for _ in range(2))
    found = agreement([one], [other], "cosine")
    assert isinstance(found, Alignment)
    assert -1 - 1e-5 <= found.min_cosine <= found.mean_cosine + 1e-6 <= 1 + 2e-5
    assert found.expected_drop >= -1e-5


@given(rows=st.integers(1, 6), factor=st.floats(0.125, 8, width=32), seed=st.integers(0, 1000))
def test_length_of_a_vector_does_not_count(rows: int, factor: float, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    found = agreement([vectors], [vectors * np.float32(factor)], "cosine")
    assert isinstance(found, Alignment)
    assert found.min_cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 3], [1, 3, 2], 0.5),
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / np.sqrt(4.5 * 5)),
        ([1, 1, 2, 2], [1, 2, 1, 2], 0.0),
        ([1, 2, 3], [5, 5, 5], 0.0),
    ],
    ids=["same order", "turned around", "two swapped", "a tie", "ties on both sides", "constant"],
)
def test_rank_correlation_by_hand(values: list[float], others: list[float], expected: float) -> None:
    # ranks around their mean, such as -1.5, 0, 0, 1.5 with a tie; the sum of products over the root of the squares
    assert spearman(np.array(values, float), np.array(others, float)) == pytest.approx(expected)


PAIRS = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=20)


@given(pairs=PAIRS)
def test_rank_correlation_is_symmetric_and_within_one(pairs: list[tuple[int, int]]) -> None:
    values, others = np.array(pairs, float).T
    found = spearman(values, others)
    assert -1 - 1e-12 <= found <= 1 + 1e-12
    assert spearman(others, values) == pytest.approx(found)
    assert spearman(-values, others) == pytest.approx(-found)


@given(pairs=PAIRS)
def test_rank_correlation_asks_for_the_order_alone(pairs: list[tuple[int, int]]) -> None:
    values, others = np.array(pairs, float).T
    assert spearman(values**3 + 2 * values, others) == pytest.approx(spearman(values, others))
    assert spearman(values, values**3) == pytest.approx(1 if len(set(values)) > 1 else 0)


GOOD = Agreement(100, 100, 1.0, 0.001, 0.01, 0.0)


def test_precision_that_is_as_good_has_no_faults() -> None:
    assert faults(GOOD, Metric("accuracy", 100, 0.9, 0.895), 0.01) == []


def test_labelled_data_decides_where_there_is_any() -> None:
    doubtful = Agreement(100, 100, 0.9, 0.001, 0.01, 0.5)
    assert faults(doubtful, Metric("accuracy", 100, 0.9, 0.9), 0.01) == []
    assert faults(doubtful, None, 0.01) == ["expected drop 0.5000 of 0.01 allowed"]


def test_decisions_must_stay_where_the_head_says_so_and_no_labelled_data_decides() -> None:
    changed = Agreement(100, 100, 0.97, 0.001, 0.01, 0.002)
    assert faults(changed, None, 0.01) == []
    assert faults(changed, None, 0.01, 0.99) == ["same label 97.00%, 99% wanted"]
    assert faults(changed, Metric("accuracy", 100, 0.9, 0.9), 0.01, 0.99) == []


def test_one_of_few_decisions_may_change() -> None:
    assert faults(Agreement(11, 11, 10 / 11, 0.001, 0.01, 0.002), None, 0.01, 0.99) == []
    assert faults(Agreement(11, 11, 9 / 11, 0.001, 0.01, 0.002), None, 0.01, 0.99) == ["same label 81.82%, 99% wanted"]


def test_mean_squared_difference_counts_every_number_alike() -> None:
    wanted = [np.zeros((1, 2), np.float32), np.zeros((3, 2), np.float32)]
    got = [np.array([[2, 0]], np.float32), np.full((3, 2), 1, np.float32)]
    assert mean_squared_difference(got, wanted) == (4 + 6) / 8
    assert mean_squared_difference(wanted, wanted) == 0


def test_drop_over_the_limit_is_told_with_its_numbers() -> None:
    assert faults(GOOD, Metric("accuracy", 100, 0.9, 0.88), 0.01) == [
        "accuracy falls from 0.9000 to 0.8800, by 0.0200 of 0.01 allowed"
    ]


def test_probabilities_that_move_too_far_are_a_fault_of_their_own() -> None:
    moved = Agreement(100, 100, 1.0, 0.03, 0.2, 0.0)
    assert faults(moved, None, 0.01) == ["mean probability difference 0.0300 of 0.02 allowed"]


def test_vectors_must_not_turn_even_where_their_score_is_as_good() -> None:
    turned = Alignment(100, 100, 0.95, 0.5)
    told = ["mean cosine 0.9500, 0.9900 wanted"]
    assert faults(turned, None, 0.01) == told
    assert faults(turned, Metric("Spearman correlation", 100, 0.8, 0.8), 0.01) == told
    assert faults(Alignment(100, 100, 0.995, 0.5), None, 0.01) == []


def test_nan_does_not_pass() -> None:
    nan = float("nan")
    assert len(faults(Agreement(100, 100, 1.0, nan, 0.0, nan), None, 0.01)) == 2
    assert len(faults(Alignment(100, 100, nan, nan), None, 0.01)) == 1
    assert len(faults(GOOD, Metric("accuracy", 100, 0.9, nan), 0.01)) == 1


def test_records_say_how_they_were_measured() -> None:
    assert GOOD.to_json() == {
        "measure": "labels",
        "texts": 100,
        "decisions": 100,
        "label_agreement": 1.0,
        "mean_probability_difference": 0.001,
        "max_probability_difference": 0.01,
        "expected_drop": 0.0,
    }
    aligned = Alignment(10, 20, 0.75, 0.5).to_json()
    assert (aligned["measure"], aligned["mean_cosine"], aligned["expected_drop"]) == ("cosine", 0.75, 0.25)
    metric = Metric("accuracy", 8, 0.75, 0.5).to_json()
    assert metric == {"name": "accuracy", "texts": 8, "torch": 0.75, "this": 0.5, "drop": 0.25}
