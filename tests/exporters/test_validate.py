"""Comparing a graph with torch, with sessions that answer wrongly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from ortolan.session.base import Signature, TensorSpec
from ortolan_exporters import ToleranceError
from ortolan_exporters.architectures.distilbert import DISTILBERT
from ortolan_exporters.validate import check_interface, compare

AXES = ("batch", "sequence")
INPUTS = (TensorSpec("input_ids", "int64", AXES), TensorSpec("attention_mask", "int64", AXES))
LOGITS = TensorSpec("logits", "float32", ("batch", 2))


class FakeSession:
    """Answers with one array."""

    signature = Signature(INPUTS, (LOGITS,))
    provider = "fake"

    def __init__(self, answer: np.ndarray) -> None:
        self.answer = answer

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": self.answer}


FEED = {"input_ids": np.ones((3, 4), np.int64), "attention_mask": np.ones((3, 4), np.int64)}
EXPECTED = np.zeros((3, 2), np.float32)


def test_differences_are_measured() -> None:
    answer = EXPECTED.copy()
    answer[1, 1] = -0.6
    parity = compare(FakeSession(answer), [FEED], [EXPECTED])
    assert (parity.batches, parity.shapes) == (1, ["3 x 4"])
    assert parity.max_difference == pytest.approx(0.6)
    assert parity.mean_difference == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((3, 3), np.float32), r"a batch of 3 x 4 requested, shape \(3, 3\)"),
        (np.full((3, 2), np.nan, np.float32), "NaN or infinity"),
        (np.full((3, 2), np.inf, np.float32), "NaN or infinity"),
    ],
    ids=["shape", "NaN", "infinity"],
)
def test_wrong_shape_and_non_finite_values_stop_the_export(answer: np.ndarray, message: str) -> None:
    with pytest.raises(ToleranceError, match=message):
        compare(FakeSession(answer), [FEED], [EXPECTED])


def test_torch_that_answers_nan_stops_the_export() -> None:
    with pytest.raises(ToleranceError, match="torch answers NaN or infinity"):
        compare(FakeSession(EXPECTED), [FEED], [np.full((3, 2), np.nan, np.float32)])


def test_right_interface_passes() -> None:
    check_interface(Signature(INPUTS, (LOGITS,)), DISTILBERT, 2)


@pytest.mark.parametrize(
    "signature",
    [
        Signature(INPUTS[:1], (LOGITS,)),
        Signature(INPUTS, (TensorSpec("logits", "float16", ("batch", 2)),)),
        Signature(INPUTS, (TensorSpec("logits", "float32", (1, 2)),)),
        Signature(INPUTS, (LOGITS, TensorSpec("more", "float32", ("batch",)))),
    ],
    ids=["input missing", "dtype", "axis fixed", "output too many"],
)
def test_wrong_interface_is_told_whole(signature: Signature) -> None:
    with pytest.raises(ToleranceError, match="input_ids: int64.* requested, it has"):
        check_interface(signature, DISTILBERT, 2)
