"""Rows of different length to one rectangle, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def pad(rows: Sequence[Sequence[int]], value: int, *, side: str = "right", width: int = 0) -> IntArray:
    """Fill rows up to the longest one.

    Args:
        rows: B rows of at most S numbers.
        value: What fills the gaps.
        side: Where the gaps go, "right" or "left".
        width: Least length of a row that is returned.

    Returns:
        int64 [B, S].
    """
    lengths = [len(row) for row in rows]
    width = max([width, *lengths])
    if rows and min(lengths) == width:  # a lone text, most often: an array at once, and no gaps
        return np.array(rows, dtype=np.int64)
    out = np.full((len(rows), width), value, dtype=np.int64)
    for row, length, target in zip(rows, lengths, out, strict=True):
        target[real_part(length, width, side)] = row
    return out


def real_part(length: int, width: int, side: str) -> slice:
    """Say where in a padded row its own numbers are.

    Args:
        length: How many there are.
        width: Length of the padded row, S.
        side: Where the gap is, "right" or "left".
    """
    return slice(width - length, None) if side == "left" else slice(length)
