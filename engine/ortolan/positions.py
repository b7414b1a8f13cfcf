"""Relative positions, as T5 sorts them into buckets: near ones each for itself, far ones together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ortolan.batch.padding import IntArray

NUM_BUCKETS, MAX_DISTANCE = 32, 128
"""What T5 was trained with, where config.json does not say."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """How a decoder sorts the distance from a token back to another one.

    Attributes:
        count: How many buckets there are.
        max_distance: Distances from here on share the last one.
    """

    count: int = NUM_BUCKETS
    max_distance: int = MAX_DISTANCE

    def of(self, distances: IntArray) -> IntArray:
        """Find the bucket of each distance, int64 of any shape; what lies ahead is as near as the token itself.

        Source:
            Raffel et al. (2020), arXiv:1910.10683, section 2.1; the logarithm is taken in float32, as torch takes it,
            so that no distance at the edge of a bucket falls into its neighbour.
        """
        back = np.maximum(distances, 0)
        exact = self.count // 2
        ratio = np.log(np.maximum(back, 1).astype(np.float32) / np.float32(exact))
        steps = ratio / np.float32(np.log(self.max_distance / exact)) * np.float32(self.count - exact)
        far = np.minimum(exact + steps.astype(np.int64), self.count - 1)
        return np.where(back < exact, back, far).astype(np.int64)

    def between(self, places: IntArray, total: int) -> IntArray:
        """Sort what each new token sees.

        Args:
            places: Where the new tokens stand, int64 [B, S].
            total: How many places are seen, T.

        Returns:
            int64 [B, S, T].
        """
        return self.of(places[..., None] - np.arange(total))


def buckets_of(config: Mapping[str, Any]) -> Buckets:
    """Read the buckets of a model from its config.json."""
    return Buckets(
        int(config.get("relative_attention_num_buckets", NUM_BUCKETS)),
        int(config.get("relative_attention_max_distance", MAX_DISTANCE)),
    )
