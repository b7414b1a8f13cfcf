"""Arrays made from declared axes, for tracing and for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def example_batch(
    names: Sequence[str], batch: int, sequence: int, *, vocabulary: int, padding: bool = True, seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Make a batch of random tokens.

    Args:
        names: Inputs to make: any of input_ids, attention_mask, token_type_ids.
        batch: B.
        sequence: S.
        vocabulary: Ids are drawn below this.
        padding: Pad the rows of a batch to different lengths, the first one not at all.
        seed: Of the draw.

    Returns:
        int64 [B, S] for each name.
    """
    draw = np.random.default_rng(seed)
    lengths = np.full(batch, sequence)
    if padding and batch > 1 and sequence > 1:
        lengths[1:] = draw.integers(1, sequence, batch - 1)
    mask = (np.arange(sequence) < lengths[:, None]).astype(np.int64)
    made = {
        "input_ids": draw.integers(0, vocabulary, (batch, sequence)) * mask,
        "attention_mask": mask,
        "token_type_ids": (np.arange(sequence) >= lengths[:, None] // 2).astype(np.int64) * mask,
    }
    return {name: made[name] for name in names}
