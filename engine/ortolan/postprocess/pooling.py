"""One vector of many: from the hidden states of tokens to an embedding of the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ortolan.postprocess.activations import FloatArray

POOLINGS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "mean": lambda hidden: hidden.mean(axis=0, dtype=np.float32),
    "cls": lambda hidden: hidden[0],
    "max": lambda hidden: hidden.max(axis=0),
    "last": lambda hidden: hidden[-1],
}
"""Ways to pool the hidden states of the real tokens of a text, float32 [S, H], to float32 [H]."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a model makes an embedding of hidden states.

    Attributes:
        mode: A key of `POOLINGS`.
        normalizes: Whether embeddings have length 1.
    """

    mode: str = "mean"
    normalizes: bool = False


def unit_length(vector: FloatArray) -> FloatArray:
    """Scale a vector to length 1.

    Args:
        vector: float32 [..., D]. Not modified.

    Returns:
        float32 of the same shape; zero where the vector is zero.
    """
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.asarray(vector / np.maximum(length, 1e-12), dtype=np.float32)
