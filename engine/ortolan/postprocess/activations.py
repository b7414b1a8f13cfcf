"""Logits to probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def softmax(logits: FloatArray) -> FloatArray:
    """Normalize the last axis to probabilities.

    Args:
        logits: float32 [..., V], finite. Not modified.

    Returns:
        float32 [..., V]; each row sums to 1. The row maximum is subtracted first, so nothing overflows.
    """
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Map each logit to a probability of its own.

    Args:
        logits: float32, any shape, finite. Not modified.

    Returns:
        float32 of the same shape, between 0 and 1. Computed from exp(-|x|), so nothing overflows.
    """
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), dtype=np.float32)
