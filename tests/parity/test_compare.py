"""The comparison itself: what it lets pass, and what not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from tests.parity import compare
from tests.parity.compare import assert_same


@pytest.fixture(autouse=True)
def _counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "compared", Counter())


def label(name: str, score: Any) -> dict[str, Any]:
    return {"label": name, "score": score}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param([label("a", 0.50001)], [label("a", 0.5)], id="rounding"),
        pytest.param([label("a", 0.5)], [label("a", np.float32(0.5))], id="a number of numpy"),
        pytest.param(
            [label("b", 0.4), label("a", 0.4)], [label("a", 0.400001), label("b", 0.4)], id="a tie in another order"
        ),
        pytest.param(
            {"sequence": "x", "labels": ["b", "a"], "scores": [0.5, 0.5]},
            {"sequence": "x", "labels": ["a", "b"], "scores": [0.5, 0.5]},
            id="a tie of zero-shot labels",
        ),
        pytest.param([[[0.1, 0.2]]], [[[0.1, 0.20005]]], id="nested numbers"),
        pytest.param(torch.ones(2), torch.ones(2), id="tensors"),
    ],
)
def test_answers_that_are_equal_but_for_rounding_pass(ours: Any, theirs: Any) -> None:
    assert_same(ours, theirs, "task")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param([label("a", 0.5002)], [label("a", 0.5)], id="another score"),
        pytest.param([label("b", 0.5)], [label("a", 0.5)], id="another label"),
        pytest.param([label("a", np.float32(0.5))], [label("a", 0.5)], id="a number of numpy of ours"),
        pytest.param([{"score": 0.5, "label": "a"}], [label("a", 0.5)], id="keys in another order"),
        pytest.param([label("a", 0.5)], label("a", 0.5), id="a list too many"),
        pytest.param([label("a", 0.5)], [], id="an answer too many"),
        pytest.param([{**label("a", 0.5), "start": True}], [{**label("a", 0.5), "start": 1}], id="another type"),
        pytest.param([label("b", 0.4), label("a", 0.5)], [label("a", 0.5), label("b", 0.4)], id="another order"),
        pytest.param(
            {"sequence": "x", "labels": ["b", "a"], "scores": [0.6, 0.4]},
            {"sequence": "x", "labels": ["a", "b"], "scores": [0.6, 0.4]},
            id="other zero-shot labels",
        ),
        pytest.param([[0.1, 0.2]], [[0.1, 0.3]], id="other numbers"),
        pytest.param([[0.1, 0.2]], [[0.1]], id="more numbers"),
        pytest.param(np.ones(2), torch.ones(2), id="an array for a tensor"),
        pytest.param(torch.ones(1, 2), torch.ones(2), id="another shape"),
    ],
)
def test_answers_that_differ_fail(ours: Any, theirs: Any) -> None:
    with pytest.raises(AssertionError):
        assert_same(ours, theirs, "task")
