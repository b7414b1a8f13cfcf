"""Prompts that were read, kept so that those which begin alike need not be read from their beginning."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from ortolan.batch.padding import IntArray
from ortolan.generation.cache import SlotCache
from ortolan.generation.policy import LEAST_PART
from ortolan.session.base import Array
from ortolan.session.memory import usable_bytes

LEAST_SHARED = 16
"""Prompts that have fewer tokens in common are read anew: that takes no longer."""

MAX_PREFIXES = 256
"""Prompts that are kept at most, however short."""

MOST_BYTES, SHARE = 256 << 20, 16
"""What they may take where nobody says how much, and which part of the memory that the process may use at most."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A prompt that was read.

    Attributes:
        ids: Its tokens, int64 [T].
        tokens: What the cache had of them, as `SlotCache.read` gives it.
    """

    ids: IntArray
    tokens: Mapping[str, Array]

    @property
    def num_bytes(self) -> int:
        return self.ids.nbytes + sum(array.nbytes for array in self.tokens.values())

    def shared(self, ids: IntArray) -> int:
        """Tokens that a prompt begins with, and this one too."""
        length = min(len(ids), len(self.ids))
        differs = ids[:length] != self.ids[:length]
        return int(differs.argmax()) if differs.any() else length


class Prefixes:
    """Prompts of a decoder without encoder. Those used longest ago go when memory is short.

    Safe to share between threads, and between caches of the same model.

    Attributes:
        most_bytes: What they may take; 0 for no prompts at all.
        num_bytes: What they take.
        hits: Prompts whose beginning was found.
        misses: Prompts that had to be read whole.
        saved_tokens: Tokens that were not read again.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = min(MOST_BYTES, usable_bytes() // SHARE) if most_bytes is None else most_bytes
        self.num_bytes = self.hits = self.misses = self.saved_tokens = 0
        self._kept: OrderedDict[tuple[int, ...], _Kept] = OrderedDict()  # by all ids; the one used last at the end
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def copy(self, prompt: Sequence[int], cache: SlotCache, row: int) -> int:
        """Put what is known of a prompt into its empty row.

        Args:
            prompt: Its tokens.
            cache: Where the row is; there must be room for the prompt.
            row: The row.

        Returns:
            How many of the tokens need not be read: all but `LEAST_PART` at most, for the last one's logits are wanted,
            as they would be without a copy.
        """
        ids = np.array(prompt, np.int64)
        with self._lock:
            found, length = self._longest(ids[:-LEAST_PART])
            if found is None:
                self.misses += 1
                return 0
            self.hits += 1
            self.saved_tokens += length
            self._kept.move_to_end(tuple(found.ids.tolist()))
        cache.write(row, found.tokens, length)
        return length

    def keep(self, prompt: Sequence[int], cache: SlotCache, row: int) -> None:
        """Keep a prompt that was read, unless it is too short, too long, or the beginning of one that is kept.

        Args:
            prompt: Its tokens.
            cache: Where it was read into.
            row: The row; it begins with these tokens.
        """
        if len(prompt) < LEAST_SHARED or len(prompt) * cache.layout.token_bytes > self.most_bytes:
            return
        ids = np.array(prompt, np.int64)
        with self._lock:
            if self._longest(ids)[1] == len(ids):
                return
        new = _Kept(ids, cache.read(row, len(ids)))
        with self._lock:
            for key in [key for key, one in self._kept.items() if one.shared(ids) == len(one.ids)]:
                self._forget(key)
            self._kept[tuple(prompt)] = new
            self.num_bytes += new.num_bytes
            while self.num_bytes > self.most_bytes or len(self._kept) > MAX_PREFIXES:
                self._forget(next(iter(self._kept)))

    def _longest(self, ids: IntArray) -> tuple[_Kept | None, int]:
        """Find the prompt that has most in common with another one; None if that is too little."""
        best, length = None, LEAST_SHARED - 1
        for one in self._kept.values():
            if (shared := one.shared(ids)) > length:
                best, length = one, shared
        return best, length

    def _forget(self, key: tuple[int, ...]) -> None:
        self.num_bytes -= self._kept.pop(key).num_bytes
