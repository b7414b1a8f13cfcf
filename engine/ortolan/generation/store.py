"""Arrays for keys and values, one for each part, that grow and shrink by steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ortolan.generation.layout import Part, bytes_of
from ortolan.session.base import Array


class Store:
    """Arrays [rows, heads, length, head_size], one for each part.

    Attributes:
        rows: Rows that there is room for.
        length: Tokens that each of them has room for.
        version: Changes whenever the arrays are elsewhere.
    """

    def __init__(self, parts: Sequence[Part], step: int) -> None:
        """Begin without room.

        Args:
            parts: What each token has.
            step: Lengths are multiples of it, where there is memory for that.
        """
        self._parts = tuple(parts)
        self._step = step
        self.token_bytes = bytes_of(self._parts)
        self.rows = self.length = self.version = 0
        self.arrays = {part.name: _zeros(part, 0, 0) for part in self._parts}

    @property
    def num_bytes(self) -> int:
        """What the arrays take."""
        return self.rows * self.length * self.token_bytes

    def size_for(self, rows: int, length: int, most_bytes: int) -> tuple[int, int]:
        """Find the rows and the length to take: by steps, so that not every request changes them, if memory allows.

        Args:
            rows: How many are needed.
            length: How many tokens.
            most_bytes: What the arrays may take; enough for these.
        """
        doubled, stepped = 1 << (rows - 1).bit_length() if rows else 0, -(-length // self._step) * self._step
        sizes = ((doubled, stepped), (rows, stepped), (rows, length))
        return next(size for size in sizes if size[0] * size[1] * self.token_bytes <= most_bytes or size is sizes[-1])

    def move(self, rows: int, length: int, kept_rows: int, kept_length: int) -> None:
        """Take arrays of another size, one after the other, and bring along what is used."""
        kept, used = slice(0, kept_rows), slice(0, kept_length)
        for part in self._parts:
            # pages of zeros take no memory before something is written to them
            moved = _zeros(part, rows, length)
            moved[kept, :, used] = self.arrays[part.name][kept, :, used]
            self.arrays[part.name] = moved
        self.rows, self.length, self.version = rows, length, self.version + 1

    def views(self, start: int, stop: int) -> dict[str, Array]:
        """Give some rows of each part, by its name: [rows, heads, length, head_size], not copied."""
        return {name: array[start:stop] for name, array in self.arrays.items()}


def _zeros(part: Part, rows: int, length: int) -> Array:
    return np.zeros((rows, part.heads, length, part.head_size), part.dtype)
