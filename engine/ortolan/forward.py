"""From tokenized rows to the outputs for each: the one road to the graph, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ortolan.batch.padding import real_part
from ortolan.batch.policy import plan_batches
from ortolan.config import BatchConfig
from ortolan.model import Model
from ortolan.session.base import Array
from ortolan.tokenize import Encoding, Tokenizer


@dataclass(frozen=True, slots=True)
class Row:
    """One encoding, and what the graph answered to it.

    Attributes:
        encoding: What was asked.
        outputs: By name, without batch axis, and without padding where there is a sequence axis: float32 [S, ...]
            or [...]. They are views of the outputs of a batch.
    """

    encoding: Encoding
    outputs: Mapping[str, Array]


def forward(
    model: Model, tokenizer: Tokenizer, encodings: Sequence[Encoding], limits: BatchConfig
) -> Iterator[tuple[int, Row]]:
    """Run encodings in batches of similar length.

    Args:
        model: What answers.
        tokenizer: What pads.
        encodings: The rows.
        limits: How many rows and tokens go together.

    Yields:
        The position of a row in `encodings`, and the row; every position once, in the order in which they ran.

    Raises:
        ShapeError: A row is longer than the model reads.
        SessionError: ONNX Runtime failed.
    """
    lengths = [len(encoding.ids) for encoding in encodings]
    for batch in plan_batches(lengths, max_batch_size=limits.max_batch_size, max_batch_tokens=limits.max_batch_tokens):
        outputs = model.run(tokenizer.pad([encodings[i] for i in batch]))
        width = max(lengths[i] for i in batch)
        for place, index in enumerate(batch):
            real = real_part(lengths[index], width, tokenizer.padding_side)
            row = {
                name: array[place][real] if name in model.sequence_outputs else array[place]
                for name, array in outputs.items()
            }
            yield index, Row(encodings[index], row)
