"""The cache of a decoder: keys and values of every token that was read, a row for each text in the making.

Its memory is that of a rectangle: `Layout.num_bytes`. A graph works on a slice of the rows, so those in use lie side by
side, from the first on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ortolan.batch.padding import IntArray
from ortolan.errors import ConfigError
from ortolan.generation.layout import Layout
from ortolan.generation.store import Store
from ortolan.session.base import Array

LENGTH_STEP = 64
"""Room in a row grows by so many tokens."""

KEPT_BYTES = 1 << 30
"""A cache of this size is kept when nobody uses it: the next requests would ask for it again, and memory that comes
fresh from the system was seen to take a second for half as much."""

MOST_SLACK = 4
"""A larger one that is so many times as large as needed is made smaller."""


class Copy(NamedTuple):
    """Tokens `start` to `end` of a row that another row takes over."""

    target: int
    source: int
    start: int
    end: int


class SlotCache:
    """Keys and values of the rows in use.

    It knows what rows have in common: every place that is written gets a tag, and a row that continues another one
    copies only what has another tag there. So beams that parted late cost little.

    Attributes:
        layout: What is kept of a token.
        num_rows: Rows in use.
        lengths: Tokens in each row, int64 [rows]; those behind the rows in use mean nothing.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.num_rows = 0
        self._store = Store(layout.parts, LENGTH_STEP)
        self._last_tag = 0
        self._tags: IntArray = np.zeros((0, 0), np.int64)
        self.lengths: IntArray = np.zeros(0, np.int64)

    @property
    def num_bytes(self) -> int:
        """What the arrays take."""
        return self._store.num_bytes

    @property
    def used_bytes(self) -> int:
        """What the tokens in them take."""
        return int(self.lengths[: self.num_rows].sum()) * self.layout.token_bytes

    @property
    def max_rows(self) -> int:
        """Rows that there is room for."""
        return self._store.rows

    @property
    def max_length(self) -> int:
        """Tokens that each row has room for."""
        return self._store.length

    @property
    def version(self) -> int:
        """Changes whenever the arrays are elsewhere."""
        return self._store.version

    def reserve(self, rows: int, length: int, most_bytes: int) -> None:
        """See that there is room, and not much more of it than needed.

        Args:
            rows: How many there will be at a time, those in use among them.
            length: How many tokens the longest will have.
            most_bytes: What the arrays may take. While they are moved, one part is there twice.

        Raises:
            ConfigError: More is needed.
        """
        longest = int(self.lengths[: self.num_rows].max(initial=0))
        rows, length = max(rows, self.num_rows), max(length, longest)
        needed = self.layout.num_bytes(rows, length)
        if needed > most_bytes:
            raise ConfigError(
                f"a cache of {rows} rows of {length} tokens requested",
                f"it takes {needed} bytes, and may take {most_bytes}",
                "ask for fewer or shorter texts, or raise cache_bytes",
            )
        size = self._store.size_for(rows, length, most_bytes)
        is_too_small = rows > self.max_rows or length > self.max_length
        enough = max(KEPT_BYTES, MOST_SLACK * self.layout.num_bytes(*size))
        if is_too_small or self.num_bytes > min(enough, most_bytes):
            self._move(*size, longest)

    def add(self) -> int:
        """Take a row into use, and say which; there must be room."""
        assert self.num_rows < self.max_rows, "whoever adds a row has reserved it"
        self.lengths[self.num_rows] = 0
        self.num_rows += 1
        return self.num_rows - 1

    def reorder(self, parents: Sequence[int]) -> None:
        """Say which rows go on.

        Args:
            parents: For each row from now on the one that it continues; rows that are not named are let go.
        """
        sources = np.asarray(parents, np.int64)
        places = np.flatnonzero(sources != np.arange(len(sources)))
        copies = [copy for place in places if (copy := self._missing(int(place), int(sources[place])))]
        self._copy(copies)
        self.lengths[: len(sources)] = self.lengths[sources]
        self.num_rows = len(sources)

    def wrote(self, start: int, past: IntArray, width: int, counts: IntArray) -> None:
        """Say that a run has written into some rows.

        Args:
            start: The first of them.
            past: Tokens that each had, int64 [rows].
            width: Places behind them that were written in each row.
            counts: How many of these are tokens that stay, int64 [rows]; the others are padding.
        """
        rows = np.arange(start, start + len(past))
        tags = np.arange(len(past) * width).reshape(len(past), width) + (self._last_tag + 1)
        self._last_tag += tags.size
        self._tags[rows[:, None], past[:, None] + np.arange(width)] = tags
        self.lengths[start : start + len(past)] = past + counts

    def drop(self, start: int, stop: int, count: int) -> None:
        """Take the last tokens out of some rows: those that were guessed, and wrong."""
        self.lengths[start:stop] -= count

    def views(self, start: int, stop: int) -> dict[str, Array]:
        """Give some rows, by the name of the part: [rows, heads, length, head_size], not copied."""
        return self._store.views(start, stop)

    def read(self, row: int, length: int) -> dict[str, Array]:
        """Copy the first tokens of a row, by the name of the part: [heads, length, head_size]."""
        return {name: array[row, :, :length].copy() for name, array in self._store.arrays.items()}

    def write(self, row: int, tokens: Mapping[str, Array], length: int) -> None:
        """Put the first tokens of what `read` has given into an empty row."""
        for name, array in tokens.items():
            self._store.arrays[name][row, :, :length] = array[:, :length]
        self.wrote(row, np.zeros(1, np.int64), length, np.array([length]))

    def _move(self, rows: int, length: int, longest: int) -> None:
        self._store.move(rows, length, self.num_rows, longest)
        tags, lengths = np.zeros((rows, length), np.int64), np.zeros(rows, np.int64)
        kept, used = slice(0, self.num_rows), slice(0, longest)
        tags[kept, used], lengths[kept] = self._tags[kept, used], self.lengths[kept]
        self._tags, self.lengths = tags, lengths

    def _missing(self, target: int, source: int) -> Copy | None:
        """Find what a row must copy to continue another one; None if it has everything."""
        end = int(self.lengths[source])
        differs = self._tags[target, :end] != self._tags[source, :end]
        start = int(differs.argmax()) if end else 0
        return Copy(target, source, start, end) if end and differs[start] else None

    def _copy(self, copies: Sequence[Copy]) -> None:
        # a row that is both must be read before it is written
        is_read = {copy.source for copy in copies}
        overlaps = any(copy.target in is_read for copy in copies)
        for array in (*self._store.arrays.values(), self._tags[:, None, :, None]):
            parts = [array[copy.source, :, copy.start : copy.end] for copy in copies]
            for copy, part in zip(copies, [one.copy() for one in parts] if overlaps else parts, strict=True):
                array[copy.target, :, copy.start : copy.end] = part
