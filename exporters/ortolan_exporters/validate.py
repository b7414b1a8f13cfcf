"""Is a graph the model? Names, shapes, dtypes, finiteness and values, on batches of several shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Session, Signature, TensorSpec
from ortolan.tokenize import Encoding, Tokenizer
from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.errors import ToleranceError
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.reference import Feed

NUM_ALONE = 16
BATCH_SIZES = (2, 5, 8)
EXAMPLE_SHAPES = ((1, 7), (5, 64), (2, 128))


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a graph's logits are from torch's.

    Attributes:
        batches: Batches compared, texts alone among them.
        shapes: Their shapes, "B x S", each once.
        max_difference: Largest absolute difference.
        mean_difference: Mean absolute difference.
    """

    batches: int
    shapes: list[str]
    max_difference: float
    mean_difference: float

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return asdict(self)


def validation_batches(
    architecture: Architecture, tokenizer: Tokenizer, encodings: Sequence[Encoding], vocabulary: int
) -> list[Feed]:
    """Choose what to compare on: texts alone, texts padded together, and random tokens up to the longest row."""
    names = architecture.inputs
    feeds = [tokenizer.pad([encoding]) for encoding in encodings[:NUM_ALONE]]
    for size in BATCH_SIZES:
        # neighbours in the file differ in length, so that there is padding
        feeds += [
            tokenizer.pad(encodings[start : start + size]) for start in range(0, min(4 * size, len(encodings)), size)
        ]
    shapes = (*EXAMPLE_SHAPES, (2, tokenizer.max_length))
    feeds += [
        example_batch(names, rows, min(length, tokenizer.max_length), vocabulary=vocabulary, seed=seed)
        for seed, (rows, length) in enumerate(shapes)
    ]
    return [{name: feed[name] for name in names} for feed in feeds]


def check_interface(signature: Signature, architecture: Architecture, num_outputs: int) -> None:
    """Check names, shapes and dtypes of a graph.

    Raises:
        ToleranceError: They are not what the architecture declares; the message lists every fault.
    """
    axes: tuple[int | str, ...] = ("batch", "sequence")
    wanted = Signature(
        tuple(TensorSpec(name, "int64", axes) for name in architecture.inputs),
        (TensorSpec("logits", "float32", ("batch", num_outputs)),),
    )
    found = (*signature.inputs, *signature.outputs)
    missing = [spec for spec in (*wanted.inputs, *wanted.outputs) if spec not in found]
    if missing or len(found) != len(wanted.inputs) + 1:
        raise ToleranceError(
            f"a graph with {[_describe(spec) for spec in (*wanted.inputs, *wanted.outputs)]} requested",
            f"it has {[_describe(spec) for spec in found]}",
            "please report this",
        )


def compare(session: Session, feeds: Sequence[Feed], expected: Sequence[FloatArray]) -> Parity:
    """Compare a graph with what torch answered.

    Args:
        session: The loaded graph.
        feeds: Batches.
        expected: torch's logits for each, float32 [B, V].

    Raises:
        ToleranceError: A shape differs, or there is NaN or infinity, in torch's logits or in the graph's.
    """
    total, count, largest = 0.0, 0, 0.0
    for feed, wanted in zip(feeds, expected, strict=True):
        got = session.run(feed)["logits"]
        shape = " x ".join(str(axis) for axis in feed["input_ids"].shape)
        asked = f"logits {wanted.shape} for a batch of {shape} requested"
        if not np.isfinite(wanted).all():  # the largest difference would pass it over: NaN is not more than 0
            raise ToleranceError(asked, "torch answers NaN or infinity", "check the checkpoint's weights")
        if got.shape != wanted.shape or not np.isfinite(got).all():
            found = f"shape {got.shape}" if got.shape != wanted.shape else "NaN or infinity"
            raise ToleranceError(asked, found, "please report this")
        differences = np.abs(got - wanted)
        total, count, largest = (
            total + float(differences.sum()),
            count + got.size,
            max(largest, float(differences.max())),
        )
    shapes = sorted({feed["input_ids"].shape for feed in feeds})
    return Parity(len(feeds), [f"{rows} x {length}" for rows, length in shapes], largest, total / count)


def _describe(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype}{list(spec.shape)}"
