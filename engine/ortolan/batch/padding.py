"""Rows of different length to one rectangle, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def pad(rows: Sequence[Sequence[int]], value: int, *, side: str = "right") -> IntArray:
    """Fill rows up to the longest one.

    Args:
        rows: B rows of at most S numbers.
        value: What fills the gaps.
        side: Where the gaps go, "right" or "left".

    Returns:
        int64 [B, S].
    """
    lengths = [len(row) for row in rows]
    width = max(lengths, default=0)
    out = np.full((len(rows), width), value, dtype=np.int64)
    for row, length, target in zip(rows, lengths, out, strict=True):
        target[slice(width - length, None) if side == "left" else slice(length)] = row
    return out


def unpad(batch: IntArray, mask: IntArray) -> list[list[int]]:
    """Give back the rows that `pad` joined.

    Args:
        batch: int64 [B, S].
        mask: 1 where `batch` holds a real number, int64 [B, S].
    """
    return [row[real.astype(bool)].tolist() for row, real in zip(batch, mask, strict=True)]
