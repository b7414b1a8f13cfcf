"""What torch answers: the measure of everything that is exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from ortolan.batch.lists import plan_batches
from ortolan.batch.padding import IntArray
from ortolan.config import BatchConfig
from ortolan.model import DECODER_IDS
from ortolan.postprocess.activations import FloatArray
from ortolan.progress import track
from ortolan.session.base import Array, Session
from ortolan.teacher_forcing import shift_right
from ortolan.tokenize import Encoding, Tokenizer
from ortolan_exporters.heads.base import ask
from ortolan_exporters.heads.text2text_generation import start_of
from ortolan_exporters.resolve import Checkpoint

Feed = Mapping[str, IntArray]
Run = Callable[[Feed], dict[str, Array]]
"""A batch to its outputs, by name."""


def feed_of(checkpoint: Checkpoint, tokenizer: Tokenizer, encodings: Sequence[Encoding]) -> Feed:
    """Pad texts to a batch that a graph reads; what a decoder has written is the texts themselves, one place later."""
    padded = tokenizer.pad(encodings)
    if DECODER_IDS in checkpoint.inputs:
        padded[DECODER_IDS] = shift_right(padded["input_ids"], start_of(checkpoint.transformer))
    return {name: padded[name] for name in checkpoint.inputs}


def torch_run(checkpoint: Checkpoint) -> Run:
    """Wrap a torch module as a function of numpy arrays."""
    head, module, extra = checkpoint.head, checkpoint.module, checkpoint.extra_outputs

    def run(feed: Feed) -> dict[str, Array]:
        tensors = {name: torch.from_numpy(feed[name]) for name in checkpoint.inputs}
        with torch.inference_mode():
            outputs = ask(head.answer, head, module, tensors, extra)
        return {name: value.float().numpy() for name, value in outputs.items()}

    return run


def session_run(session: Session) -> Run:
    """Wrap a loaded graph in the same way."""
    names = [spec.name for spec in session.signature.inputs]
    return lambda feed: session.run({name: feed[name] for name in names})


def predict(
    run: Run, checkpoint: Checkpoint, tokenizer: Tokenizer, encodings: Sequence[Encoding], what: str | None = None
) -> list[FloatArray]:
    """Run many texts, in the batches that a pipeline would make of them.

    Args:
        run: The model.
        checkpoint: Its head says what to keep of the outputs.
        tokenizer: Pads the batches.
        encodings: Tokenized texts.
        what: Says in a progress bar what is done; None for no bar.

    Returns:
        What is compared, float32 [D, C] for each encoding, in the same order.
    """
    limits = BatchConfig()
    lengths = [len(encoding.ids) for encoding in encodings]
    batches = plan_batches(lengths, max_batch_size=limits.max_batch_size, max_batch_tokens=limits.max_batch_tokens)
    rows: list[FloatArray] = [np.empty((0, 0), np.float32)] * len(encodings)
    for batch in batches if what is None else track(batches, what):
        feed = feed_of(checkpoint, tokenizer, [encodings[i] for i in batch])
        decisions = checkpoint.head.decisions(run(feed), feed, checkpoint.tokenizer)
        for index, row in zip(batch, decisions, strict=True):
            rows[index] = row
    return rows
