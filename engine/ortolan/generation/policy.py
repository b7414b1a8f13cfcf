"""Who writes now, and which part of whose prompt is read next: pure decisions on plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ortolan.errors import ConfigError
from ortolan.generation.layout import Layout

MAX_REQUESTS = 32
"""Texts that are written side by side, where nobody says how many."""

MAX_ROWS = 128
"""Rows of these texts together; a lone request with more beams has its way."""

FIRST_CHUNK = 128
"""Tokens of a prompt that are read at a time while others write, until it is known what that costs."""

LEAST_CHUNK, MOST_CHUNK = 8, 512
"""Fewer tokens take hardly less time, and more of them do not get cheaper."""

CHUNK_SHARE = 0.9
"""Share of a step's time that a part of a prompt may take; the rest is for what varies."""

LEAST_CHANGE, MOST_CHANGE = 0.25, 1.5
"""Part of a prompt against the one before: a single slow run does not stop the reading, nor a quick one the writing."""

CHEAP_TOKENS = 64
"""Runs of so few tokens take about as long as those of half as many, so padding costs nothing in them."""

MOST_PADDING = 0.25
"""Share of a larger run that may be padding, for the sake of reading several prompts in it."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a request may come to.

    Attributes:
        rows: Texts side by side: its beams, or those that are returned.
        length: Tokens of the longest in the cache: prompt and everything that may be written.
        encoded: Tokens that the encoder reads.
    """

    rows: int
    length: int
    encoded: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What all requests together may not exceed.

    Attributes:
        layout: What a token takes.
        cache_bytes: What all of them may take.
        max_requests: How many write side by side.
        max_rows: How many rows these have.
    """

    layout: Layout
    cache_bytes: int
    max_requests: int = MAX_REQUESTS
    max_rows: int = MAX_ROWS

    def bytes_of(self, needs: Iterable[Need]) -> int:
        """Compute what requests take that run together; see `Layout.num_bytes`."""
        return self.layout.num_bytes(*together(list(needs)))

    def hold(self, needs: Sequence[Need]) -> bool:
        """Say whether requests may run together."""
        rows = sum(need.rows for need in needs)
        if len(needs) > 1 and (len(needs) > self.max_requests or rows > self.max_rows):
            return False
        return self.bytes_of(needs) <= self.cache_bytes


def together(needs: Sequence[Need]) -> tuple[int, int, int, int]:
    """Add up what requests need: rows, tokens of the longest row, texts of the encoder, tokens of the longest."""
    return (
        sum(need.rows for need in needs),
        max((need.length for need in needs), default=0),
        sum(1 for need in needs if need.encoded),
        max((need.encoded for need in needs), default=0),
    )


def check_fits(need: Need, limits: Limits) -> None:
    """Refuse a request that could never run.

    Raises:
        ConfigError: Alone it takes more than the cache may.
    """
    if limits.hold([need]):
        return
    raise ConfigError(
        f"{need.rows} texts of up to {need.length} tokens requested",
        f"their cache takes {limits.bytes_of([need])} bytes, and may take {limits.cache_bytes}",
        "ask for fewer tokens or texts, or raise cache_bytes",
    )


def num_admitted(waiting: Sequence[Need], running: Sequence[Need], limits: Limits) -> int:
    """Say how many of those who wait may start, the first ones first.

    Everything that a request may come to is set aside for it, so that none runs out of room midway; and the first one
    is never passed over, so that its turn comes.

    Args:
        waiting: Needs of those who wait, the first in line at the beginning.
        running: Needs of those who write.
        limits: What all together may not exceed.
    """
    admitted = 0
    while admitted < len(waiting) and limits.hold([*running, *waiting[: admitted + 1]]):
        admitted += 1
    return admitted


def plan_chunk(left: Sequence[int], budget: int) -> tuple[int, int]:
    """Say what is read next.

    Several prompts go together only if they are read to their ends: then none is waited for that came later. They
    are padded to the longest.

    Args:
        left: For each prompt the tokens that are still to be read, one at least; the one that came first at the
            beginning.
        budget: Most tokens of the run, padding counted.

    Returns:
        How many of the prompts are read, and how many tokens of each at most.
    """
    count, width, real = 1, left[0], left[0]
    for following in left[1:]:
        padded = (count + 1) * max(width, following)
        if padded > budget or padded > max(CHEAP_TOKENS, (real + following) / (1 - MOST_PADDING)):
            break
        count, width, real = count + 1, max(width, following), real + following
    return count, min(width, max(1, budget))


def next_chunk(chunk: int, tokens: int, seconds: float, step_seconds: float) -> int:
    """Say how many tokens of a prompt to read next between two steps of those who write.

    Reading them is to take as long as a step, so that nobody waits more than twice as long for the next token. What it
    takes is no multiple of their number: a short run takes nearly as long as a longer one, and a long past costs time
    too. So this goes on from what the last run has shown.

    Args:
        chunk: How many it was to be so far.
        tokens: How many were read; fewer where a prompt had no more.
        seconds: What that took.
        step_seconds: What a step takes.
    """
    ratio = max(LEAST_CHANGE, min(MOST_CHANGE, CHUNK_SHARE * step_seconds / seconds))
    # too many if even these were, and too few only if these were
    chunk = min(chunk, int(tokens * ratio)) if ratio < 1 else max(chunk, int(tokens * ratio))
    return max(LEAST_CHUNK, min(MOST_CHUNK, chunk))


def arrange(segments: Sequence[int]) -> list[int]:
    """Bring together what runs together, and move as little as possible.

    Args:
        segments: For each place the segment that who is there belongs to; -1 where nobody is left.

    Returns:
        For each place from now on the place where its owner was before. Segments lie side by side, the lowest number
        first; who is in the range of its segment already stays.
    """
    order: list[int] = []
    for segment in sorted({one for one in segments if one >= 0}):
        members = [place for place, one in enumerate(segments) if one == segment]
        seats = dict(zip(seated(members, len(order)), members, strict=True))
        order += [seats[seat] for seat in sorted(seats)]
    return order


def seated(present: Sequence[int], first: int) -> list[int]:
    """Give as many seats as there are members, side by side; who has one of them already stays.

    Args:
        present: Where each member is now. Of several at one place one can stay.
        first: The first seat.

    Returns:
        For each member its seat.
    """
    seats = range(first, first + len(present))
    kept = {place: member for member, place in reversed(list(enumerate(present))) if place in seats}
    free = iter([seat for seat in seats if seat not in kept])
    return [place if kept.get(place) == member else next(free) for member, place in enumerate(present)]
