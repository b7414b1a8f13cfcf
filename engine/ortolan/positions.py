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

    def by_distance(self) -> IntArray:
        """List the bucket of each distance, int64 [D]; all longer ones are in the last of these."""
        return self.of(np.arange(self.max_distance + 1))


def relative_buckets(by_distance: IntArray, places: IntArray, total: int) -> IntArray:
    """Find the bucket of every cached token as seen from new ones.

    Args:
        by_distance: Bucket of each distance, int64 [D]; longer ones fall into the last of these.
        places: Where the new tokens stand, int64 [B, S].
        total: How many tokens the longest row has, T.

    Returns:
        int64 [B, S, T]; of tokens that come later, which nobody looks at, 0.
    """
    distances = places[:, :, None] - np.arange(total)
    np.clip(distances, 0, len(by_distance) - 1, out=distances)
    found: IntArray = by_distance[distances]
    return found


def buckets_of(config: Mapping[str, Any]) -> Buckets:
    """Read the buckets of a model from its config.json."""
    return Buckets(
        int(config.get("relative_attention_num_buckets", NUM_BUCKETS)),
        int(config.get("relative_attention_max_distance", MAX_DISTANCE)),
    )
