"""What an encoder has said of each text: keys and values that all its beams look at, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ortolan.batch.padding import IntArray
from ortolan.generation.layout import Layout
from ortolan.generation.store import Store
from ortolan.session.base import Array
from ortolan.teacher_forcing import CROSS, MASK

WIDTH_STEP = 16
"""Texts are padded to a multiple of so many tokens, so that not every one that is longer moves the others."""

MOST_SLACK = 2
"""Wider arrays than so many times what is needed are made narrower: every text costs as much time as the longest."""


class CrossCache:
    """Keys and values for the texts in use, which lie side by side and are padded to the longest of them.

    Attributes:
        layout: What is kept of a token.
        num_requests: Texts in use.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.num_requests = 0
        self._store = Store(layout.cross, WIDTH_STEP)
        self._mask: IntArray = np.zeros((0, 0), np.int64)
        self._lengths: IntArray = np.zeros(0, np.int64)

    @property
    def num_bytes(self) -> int:
        """What the arrays take."""
        return self._store.num_bytes

    @property
    def version(self) -> int:
        """Changes whenever the arrays are elsewhere."""
        return self._store.version

    def reserve(self, requests: int, encoded: int, most_bytes: int) -> None:
        """See that there is room, and not much more of it than needed.

        Args:
            requests: How many texts there will be, those in use among them.
            encoded: Tokens of the longest of them.
            most_bytes: What the arrays may take; enough for these.
        """
        size = self._store.size_for(requests, encoded, most_bytes)
        is_too_small = requests > self._store.rows or encoded > self._store.length
        is_too_large = self._store.length > MOST_SLACK * size[1] or self.num_bytes > most_bytes
        if is_too_small or is_too_large:
            self._move(*size)

    def add(self, encoded: Mapping[str, Array], lengths: Sequence[int]) -> None:
        """Take texts into use, behind those that are; there must be room.

        Args:
            encoded: What the encoder answered: `cross.{layer}.{part}` [texts, heads, encoded, head_size].
            lengths: How many tokens each text has, without padding.
        """
        first, last = self.num_requests, self.num_requests + len(lengths)
        for name, array in self._store.arrays.items():
            for place, length in enumerate(lengths):
                array[first + place, :, :length] = encoded[CROSS + name][place, :, :length]
        self._lengths[first:last] = lengths
        self._mask[first:last] = np.arange(self._mask.shape[1]) < self._lengths[first:last, None]
        self.num_requests = last

    def reorder(self, parents: Sequence[int]) -> None:
        """Say which texts are still in use, and in which order; those that are not named are let go."""
        sources = np.asarray(parents, np.int64)
        places = np.flatnonzero(sources != np.arange(len(sources)))
        for array in (*self._store.arrays.values(), self._mask, self._lengths):
            array[places] = array[sources[places]]
        self.num_requests = len(sources)

    def views(self, start: int, stop: int) -> dict[str, Array]:
        """Give a decoder's inputs for some texts, not copied, the mask among them."""
        arrays = {CROSS + name: array for name, array in self._store.views(start, stop).items()}
        return {**arrays, MASK: self._mask[start:stop]}

    def _move(self, requests: int, width: int) -> None:
        kept, used = slice(0, self.num_requests), slice(0, min(width, self._store.length))
        self._store.move(requests, width, self.num_requests, used.stop)
        mask, lengths = np.zeros((requests, width), np.int64), np.zeros(requests, np.int64)
        mask[kept, used], lengths[kept] = self._mask[kept, used], self._lengths[kept]
        self._mask, self._lengths = mask, lengths
