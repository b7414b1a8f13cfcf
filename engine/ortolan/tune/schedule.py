"""What to look at next, so that the result is as good as the time allows whenever it runs out. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ortolan.choice import Way

FINALISTS = 3
"""As many of the most promising ways are looked at to the end."""

MAX_LOOKS = 16
"""After so many looks at a way, another one would change little."""


def next_way(promising: Sequence[Way], looks: Mapping[Way, int]) -> Way | None:
    """Choose the way to look at next, by successive halving.

    First each way gets a look. Then, round after round, the better half goes on and the number of looks doubles.
    The order is asked for anew after each look, so that a way that a slow minute threw back may return.

    Args:
        promising: Ways that may still be chosen, the most promising first.
        looks: How often each of them was looked at so far.

    Returns:
        The next one; None when there is nothing left to learn.
    """
    places, target = len(promising), 1
    while target <= MAX_LOOKS:
        for way in promising[:places]:
            if looks[way] < target:
                return way
        places, target = max(FINALISTS, math.ceil(places / 2)), 2 * target
    return None
