from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.postprocess.labels import top_labels

NAMES = {0: "sad", 1: "calm", 2: "glad"}


def labels(scores: list[float], top_k: int | None) -> list[str]:
    return [one["label"] for one in top_labels(np.array(scores, np.float32), NAMES, top_k)]


def test_labels_come_by_falling_score():
    assert labels([0.2, 0.1, 0.7], None) == ["glad", "sad", "calm"]


def test_equal_scores_keep_the_order_of_their_ids():
    assert labels([0.25, 0.5, 0.25], None) == ["calm", "sad", "glad"]


def test_all_scores_equal_keep_the_order_of_ids():
    assert labels([0.5, 0.5, 0.5], None) == ["sad", "calm", "glad"]


def test_many_equal_scores_keep_the_order_of_their_ids():
    # short arrays are sorted stably by any of numpy's methods
    names = {index: str(index) for index in range(200)}
    found = top_labels(np.array([0.5, 0.25] * 100, np.float32), names, None)
    assert [int(one["label"]) for one in found] == [*range(0, 200, 2), *range(1, 200, 2)]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (9, 3), (None, 3)], ids=str)
def test_top_k_says_how_many(top_k: int | None, count: int):
    assert len(labels([0.2, 0.1, 0.7], top_k)) == count


def test_a_label_comes_with_its_own_score_as_a_plain_float():
    assert top_labels(np.array([0.5, 0.25, 0.125], np.float32), NAMES, 2) == [
        {"label": "sad", "score": 0.5},
        {"label": "calm", "score": 0.25},
    ]


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), st.integers(1, 9))
def test_no_label_left_out_beats_one_returned(scores: list[float], top_k: int):
    names = {index: str(index) for index in range(len(scores))}
    found = top_labels(np.array(scores, np.float32), names, top_k)
    left_out = [scores[index] for index in names if str(index) not in {one["label"] for one in found}]
    assert all(one["score"] >= score for one in found for score in left_out)
