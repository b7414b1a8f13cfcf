"""Is a graph the model? Names, shapes, dtypes, finiteness and values, on batches of several shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array, Session, Signature, TensorSpec
from ortolan.tokenize import Encoding, Tokenizer
from ortolan_exporters.errors import ToleranceError
from ortolan_exporters.example_inputs import axes_of, example_batch
from ortolan_exporters.reference import Feed, feed_of
from ortolan_exporters.resolve import Checkpoint

NUM_ALONE = 16
BATCH_SIZES = (2, 5, 8)
EXAMPLE_SHAPES = ((1, 7), (5, 64), (2, 128))


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a graph's outputs are from torch's.

    Attributes:
        batches: Batches compared, texts alone among them.
        shapes: Their shapes, "B x S", each once.
        max_difference: Largest absolute difference.
        mean_difference: Mean absolute difference.
        scale: Largest absolute output of torch, at least 1: what a tolerance is a share of.
    """

    batches: int
    shapes: list[str]
    max_difference: float
    mean_difference: float
    scale: float

    def worse(self, other: Parity) -> Parity:
        """Count the differences of other runs too."""
        return replace(
            self,
            batches=self.batches + other.batches,
            max_difference=max(self.max_difference, other.max_difference),
            mean_difference=max(self.mean_difference, other.mean_difference),
        )

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return asdict(self)


def validation_batches(checkpoint: Checkpoint, tokenizer: Tokenizer, encodings: Sequence[Encoding]) -> list[Feed]:
    """Choose what to compare on: texts alone, texts padded together, and random tokens up to the longest row."""
    names = checkpoint.inputs
    feeds = [feed_of(checkpoint, tokenizer, [encoding]) for encoding in encodings[:NUM_ALONE]]
    for size in BATCH_SIZES:
        # neighbours in the file differ in length, so that there is padding
        feeds += [
            feed_of(checkpoint, tokenizer, encodings[start : start + size])
            for start in range(0, min(4 * size, len(encodings)), size)
        ]
    shapes = (*EXAMPLE_SHAPES, (2, tokenizer.max_length))
    feeds += [
        example_batch(names, rows, min(length, tokenizer.max_length), vocabulary=checkpoint.vocabulary, seed=seed)
        for seed, (rows, length) in enumerate(shapes)
    ]
    return feeds


def check_interface(signature: Signature, checkpoint: Checkpoint) -> None:
    """Check names, shapes and dtypes of a graph.

    Raises:
        ToleranceError: They are not what the checkpoint declares; the message lists both.
    """
    wanted = Signature(
        tuple(TensorSpec(name, "int64", axes_of(name)) for name in checkpoint.inputs),
        tuple(TensorSpec(name, "float32", shape) for name, shape in checkpoint.outputs.items()),
    )
    if signature != wanted:
        raise ToleranceError(
            f"a graph with {[_describe(spec) for spec in (*wanted.inputs, *wanted.outputs)]} requested",
            f"it has {[_describe(spec) for spec in (*signature.inputs, *signature.outputs)]}",
            "please report this",
        )


def compare(session: Session, feeds: Sequence[Feed], expected: Sequence[Mapping[str, Array]]) -> Parity:
    """Compare a graph with what torch answered. What stands at padding is left out.

    Args:
        session: The loaded graph.
        feeds: Batches.
        expected: torch's outputs for each.

    Raises:
        ToleranceError: A shape differs, or there is NaN or infinity, in torch's outputs or in the graph's.
    """
    total, count, largest, scale = 0.0, 0, 0.0, 1.0
    by_token = {spec.name for spec in session.signature.outputs if spec.shape[1:2] == ("sequence",)}
    for feed, outputs in zip(feeds, expected, strict=True):
        got = session.run(feed)
        for name, wanted in outputs.items():
            real = feed["attention_mask"].astype(bool) if name in by_token else None
            differences = _differences(name, got[name], wanted, feed, real)
            total, count = total + float(differences.sum()), count + differences.size
            largest, scale = max(largest, float(differences.max())), max(scale, float(np.abs(wanted).max()))
    shapes = sorted({feed["input_ids"].shape for feed in feeds})
    return Parity(len(feeds), [f"{rows} x {length}" for rows, length in shapes], largest, total / count, scale)


def _differences(name: str, got: Array, wanted: Array, feed: Feed, real: Array | None) -> FloatArray:
    shape = " x ".join(str(axis) for axis in feed["input_ids"].shape)
    asked = f"{name} {wanted.shape} for a batch of {shape} requested"
    if got.shape != wanted.shape:
        raise ToleranceError(asked, f"shape {got.shape}", "please report this")
    if real is not None:
        got, wanted = got[real], wanted[real]
    if not np.isfinite(wanted).all():  # the largest difference would pass it over: NaN is not more than 0
        raise ToleranceError(asked, "torch answers NaN or infinity", "check the checkpoint's weights")
    if not np.isfinite(got).all():
        raise ToleranceError(asked, "NaN or infinity", "please report this")
    return np.asarray(np.abs(got - wanted), np.float32)


def _describe(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype}{list(spec.shape)}"
