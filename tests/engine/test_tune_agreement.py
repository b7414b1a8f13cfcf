from __future__ import annotations

import numpy as np
import pytest

from ortolan.tune.agreement import agreement


def answers(*values: object, name: str = "logits") -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name: np.array(values, np.float32)}


def labels(expected: dict, found: dict, *, is_multi_label: bool = False) -> float:  # type: ignore[type-arg]
    return agreement(expected, found, "labels", is_multi_label=is_multi_label)


def test_the_same_best_label_agrees_whatever_the_scores():
    assert labels(answers([0.1, 0.2]), answers([5.0, 9.0])) == 1.0


def test_another_best_label_does_not_agree():
    assert labels(answers([0.1, 0.2]), answers([0.2, 0.1])) == 0.0


def test_each_token_is_a_decision():
    assert labels(answers([[1, 2], [3, 4]]), answers([[1, 2], [4, 3]])) == 0.5


def test_each_output_counts():
    start, end = answers([0, 1, 2], name="start_logits"), answers([0, 1, 2], name="end_logits")
    assert labels({**start, **end}, {**start, "end_logits": end["end_logits"][:, ::-1]}) == 0.5


def test_with_many_labels_each_is_a_decision():
    assert labels(answers([1, -1, 1, -1]), answers([2, -2, -3, -4]), is_multi_label=True) == 0.75


@pytest.mark.parametrize("is_multi_label", [False, True], ids=["one-label", "many-labels"])
def test_nan_agrees_with_nothing(is_multi_label: bool):
    assert labels(answers([1, 2]), answers([np.nan, np.nan]), is_multi_label=is_multi_label) == 0.0


@pytest.mark.parametrize(
    ("found", "cosine"),
    [([2, 0], 1.0), ([0, 3], 0.0), ([-1, 0], -1.0), ([np.nan, 0], 0.0), ([0, 0], 0.0)],
    ids=["same", "across", "opposite", "nan", "nothing"],
)
def test_vectors_agree_by_their_cosine(found: list[float], cosine: float):
    assert agreement(answers([1, 0]), answers(found), "cosine", is_multi_label=False) == pytest.approx(cosine)
