"""From tokenized rows to the outputs for each: the one road to the graph, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ortolan.batch.lists import plan_batches
from ortolan.batch.padding import real_part
from ortolan.config import BatchConfig
from ortolan.model import Model
from ortolan.session.base import Array, Stop
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
        rows = [encodings[i] for i in batch]
        for index, outputs in zip(batch, run_batch(model, tokenizer, rows), strict=True):
            yield index, Row(encodings[index], outputs)


def run_batch(
    model: Model, tokenizer: Tokenizer, encodings: Sequence[Encoding], stop: Stop | None = None
) -> list[dict[str, Array]]:
    """Run encodings together.

    Args:
        model: What answers.
        tokenizer: What pads.
        encodings: The rows.
        stop: Ends the run early when another thread sets it.

    Returns:
        The outputs for each row, as in `Row`.

    Raises:
        ShapeError: A row is longer than the model reads.
        SessionError: ONNX Runtime failed.
    """
    return rows_of(model, tokenizer, encodings, model.run(tokenizer.pad(encodings), stop))


def rows_of(
    model: Model, tokenizer: Tokenizer, encodings: Sequence[Encoding], outputs: Mapping[str, Array]
) -> list[dict[str, Array]]:
    """Take the outputs for each row from those of a batch.

    Args:
        model: What answered.
        tokenizer: What padded.
        encodings: The rows of the batch.
        outputs: Its outputs.

    Returns:
        As in `Row`.
    """
    width = max(len(encoding.ids) for encoding in encodings)
    answers = []
    for place, encoding in enumerate(encodings):
        real = real_part(len(encoding.ids), width, tokenizer.padding_side)
        answers.append(
            {
                name: array[place][real] if name in model.sequence_outputs else array[place]
                for name, array in outputs.items()
            }
        )
    return answers
