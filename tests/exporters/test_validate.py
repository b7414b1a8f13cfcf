"""Comparing a graph with torch, with sessions that answer wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ortolan.request import TextInput
from ortolan.session.base import Signature, Stop, TensorSpec
from ortolan.tokenize import Tokenizer
from ortolan_exporters import ToleranceError
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.validate import check_interface, compare, validation_batches
from tests import tiny

AXES = ("batch", "sequence")
INPUTS = (TensorSpec("input_ids", "int64", AXES), TensorSpec("attention_mask", "int64", AXES))
LOGITS = TensorSpec("logits", "float32", ("batch", 2))


class FakeSession:
    """Answers with the same arrays whatever it is asked: three axes are those of tokens, two are not."""

    provider = "fake"

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs = outputs
        axes = {2: ("batch",), 3: ("batch", "sequence")}
        specs = [TensorSpec(name, "float32", (*axes[array.ndim], array.shape[-1])) for name, array in outputs.items()]
        self.signature = Signature(INPUTS, tuple(specs))

    def run(self, feed: Mapping[str, np.ndarray], stop: Stop | None = None) -> dict[str, np.ndarray]:
        return self.outputs


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A DistilBERT classifier with two labels."""
    return resolve(tiny.distilbert(), tiny.tokenizer(), ExportConfig())


@pytest.fixture(scope="module")
def tokenizer(bert_checkpoint: Path) -> Tokenizer:
    """The tiny tokenizer as the runtime loads it."""
    return Tokenizer.load(bert_checkpoint, max_length=64)


FEED = {"input_ids": np.ones((3, 4), np.int64), "attention_mask": np.ones((3, 4), np.int64)}
EXPECTED = np.zeros((3, 2), np.float32)


def test_differences_are_measured() -> None:
    answer = EXPECTED.copy()
    answer[1, 1] = -0.6
    parity = compare(FakeSession(logits=answer), [FEED], [{"logits": EXPECTED}])
    assert (parity.batches, parity.shapes, parity.scale) == (1, ["3 x 4"], 1.0)
    assert parity.max_difference == pytest.approx(0.6)
    assert parity.mean_difference == pytest.approx(0.1)


def test_differences_of_all_outputs_and_batches_count_and_large_outputs_set_the_scale() -> None:
    zeros, large = np.zeros((3, 4), np.float32), np.full((3, 4), -50, np.float32)
    session = FakeSession(start_logits=zeros + 0.5, end_logits=large)
    parity = compare(session, [FEED, FEED], [{"start_logits": zeros, "end_logits": large}] * 2)
    assert parity.to_json() == {
        "batches": 2,
        "shapes": ["3 x 4"],
        "max_difference": 0.5,
        "mean_difference": 0.25,
        "scale": 50.0,
    }


def test_what_stands_at_padding_is_not_compared() -> None:
    feed = {**FEED, "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])}
    expected = np.zeros((3, 4, 2), np.float32)
    answer = expected.copy()
    answer[1, 2:] = np.nan
    answer[2, 1:] = 100
    answer[2, 0, 1] = 0.25
    assert compare(FakeSession(logits=answer), [feed], [{"logits": expected}]).max_difference == 0.25


def test_as_many_labels_as_tokens_are_compared_all_the_same() -> None:
    feed = {**FEED, "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])}
    session = FakeSession(logits=np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 9]], np.float32))
    assert compare(session, [feed], [{"logits": np.zeros((3, 4), np.float32)}]).max_difference == 9


def test_shapes_are_told_in_order_each_once() -> None:
    feeds = [{name: np.ones(shape, np.int64) for name in FEED} for shape in [(2, 16), (1, 7), (2, 16)]]
    session = FakeSession(logits=np.zeros((1, 1), np.float32))
    assert compare(session, feeds, [session.outputs] * 3).shapes == ["1 x 7", "2 x 16"]


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
        compare(FakeSession(logits=answer), [FEED], [{"logits": EXPECTED}])


def test_torch_that_answers_nan_stops_the_export() -> None:
    with pytest.raises(ToleranceError, match="torch answers NaN or infinity"):
        compare(FakeSession(logits=EXPECTED), [FEED], [{"logits": np.full((3, 2), np.nan, np.float32)}])


def test_right_interface_passes(checkpoint: Checkpoint) -> None:
    check_interface(Signature(INPUTS, (LOGITS,)), checkpoint)


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
def test_wrong_interface_is_told_whole(checkpoint: Checkpoint, signature: Signature) -> None:
    with pytest.raises(ToleranceError, match="input_ids: int64.* requested, it has"):
        check_interface(signature, checkpoint)


def test_batches_are_texts_alone_texts_together_and_random_tokens_up_to_the_longest_row(
    checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    texts = tokenizer.encode([TextInput(text) for text in tiny.TEXTS])
    feeds = validation_batches(checkpoint, tokenizer, texts)
    shapes = [feed["input_ids"].shape for feed in feeds]
    assert [rows for rows, _ in shapes[:6]] == [1] * 6, "each text alone"
    assert {rows for rows, _ in shapes[6:]} == {2, 5, 6, 1}, "texts in twos, fives and up to eight; random tokens"
    assert shapes[-4:] == [(1, 7), (5, 64), (2, 64), (2, 64)], "a length over the model's is cut to it"
    assert all(list(feed) == ["input_ids", "attention_mask"] for feed in feeds)
    assert any((feed["attention_mask"] == 0).any() for feed in feeds[6:-4]), "neighbours differ in length"


def test_random_tokens_end_as_the_model_wants_them(tokenizer: Tokenizer) -> None:
    module = tiny.distilbert(eos_token_id=3)
    checkpoint = resolve(module, tiny.tokenizer(), ExportConfig())
    ends = replace(checkpoint, architecture=replace(checkpoint.architecture, needs_end=True))
    feed = validation_batches(ends, tokenizer, tokenizer.encode([TextInput("rain")]))[-1]
    lengths = feed["attention_mask"].sum(1)
    assert feed["input_ids"][np.arange(2), lengths - 1].tolist() == [3, 3]
