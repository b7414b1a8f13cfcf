"""Arrays made from declared inputs, for tracing and for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DECODER_SEQUENCE = "decoder_sequence"
FREE_AXES = ("batch", "sequence", DECODER_SEQUENCE)
"""Axes that vary: B, S, and T, which what a decoder has written is long."""


def axes_of(name: str) -> tuple[str, str]:
    """Name the axes of an input."""
    return ("batch", DECODER_SEQUENCE if name.startswith("decoder_") else "sequence")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What random tokens are drawn from.

    Attributes:
        size: Ids are drawn below this.
        pad_id: Fills up short rows, and is not drawn: models tell padding by it.
        end_id: Ends each row, and is not drawn elsewhere; None where no token needs to.
    """

    size: int
    pad_id: int = 0
    end_id: int | None = None


def example_batch(
    names: Sequence[str], batch: int, sequence: int, *, vocabulary: Vocabulary, padding: bool = True, seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Make a batch of random tokens.

    Args:
        names: Inputs to make: any of input_ids, attention_mask, token_type_ids, decoder_input_ids.
        batch: B.
        sequence: S.
        vocabulary: What ids are drawn from.
        padding: Pad the rows of a batch to different lengths, the first one not at all.
        seed: Of the draw.

    Returns:
        int64 [B, S] for each name, and [B, T] for what a decoder has written, where T is about half of S.
    """
    draw = np.random.default_rng(seed)
    lengths = np.full(batch, sequence)
    if padding and batch > 1 and sequence > 1:
        lengths[1:] = draw.integers(1, sequence, batch - 1)
    mask = (np.arange(sequence) < lengths[:, None]).astype(np.int64)
    special = [vocabulary.pad_id] if vocabulary.end_id is None else [vocabulary.pad_id, vocabulary.end_id]
    ids = draw.choice(np.setdiff1d(np.arange(vocabulary.size), special), (batch, sequence))
    if vocabulary.end_id is not None:
        ids[np.arange(batch), lengths - 1] = vocabulary.end_id
    made = {
        "input_ids": np.where(mask == 1, ids, vocabulary.pad_id),
        "attention_mask": mask,
        "token_type_ids": (np.arange(sequence) >= lengths[:, None] // 2).astype(np.int64) * mask,
    }
    if "decoder_input_ids" in names:
        made["decoder_input_ids"] = draw.choice(
            np.setdiff1d(np.arange(vocabulary.size), special), (batch, sequence // 2 + 1)
        )
    return {name: made[name] for name in names}
