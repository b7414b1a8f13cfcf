"""What torch answers: the measure of everything that is exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ortolan.batch.padding import IntArray
from ortolan.batch.policy import plan_batches
from ortolan.config import BatchConfig
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Session
from ortolan.tokenize import Encoding, Tokenizer
from ortolan_exporters.progress import track
from ortolan_exporters.resolve import Checkpoint

Feed = Mapping[str, IntArray]
Run = Callable[[Feed], FloatArray]
"""A batch to logits, float32 [B, V]."""


def torch_run(checkpoint: Checkpoint) -> Run:
    """Wrap a torch module as a function of numpy arrays."""

    def run(feed: Feed) -> FloatArray:
        with torch.inference_mode():
            outputs = checkpoint.module(
                **{name: torch.from_numpy(feed[name]) for name in checkpoint.architecture.inputs}
            )
        logits: NDArray[np.float32] = outputs.logits.float().numpy()
        return logits

    return run


def session_run(session: Session) -> Run:
    """Wrap a loaded graph in the same way."""
    names = [spec.name for spec in session.signature.inputs]
    return lambda feed: np.asarray(session.run({name: feed[name] for name in names})["logits"], dtype=np.float32)


def predict(run: Run, tokenizer: Tokenizer, encodings: Sequence[Encoding], what: str | None = None) -> FloatArray:
    """Run many texts, in the batches that a pipeline would make of them.

    Args:
        run: The model.
        tokenizer: Pads the batches.
        encodings: Tokenized texts.
        what: Says in a progress bar what is done; None for no bar.

    Returns:
        Logits, one row for each encoding, in the same order.
    """
    limits = BatchConfig()
    lengths = [len(encoding.ids) for encoding in encodings]
    batches = plan_batches(lengths, max_batch_size=limits.max_batch_size, max_batch_tokens=limits.max_batch_tokens)
    rows: list[FloatArray] = [np.empty(0, np.float32)] * len(encodings)
    for batch in batches if what is None else track(batches, what):
        for index, row in zip(batch, run(tokenizer.pad([encodings[i] for i in batch])), strict=True):
            rows[index] = row
    return np.stack(rows)
