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

LEAST_CHUNK, MOST_CHUNK = 4, 512
"""Fewer tokens take hardly less time, and more of them do not get cheaper. Parts are multiples of the former."""

READING_SHARE = 0.85
"""Of the time of a step, what reading may take before the next one for each prompt that waits: tokens of others are to
come within twice the time that they take otherwise, and parts vary."""

LEAST_PART = 2
"""Tokens of a prompt that are read at a time behind others, at least. A lone one would be computed as a step is, which
rounds otherwise than a prompt that is read at once; with quantized activations that can change what is written."""

MEMORY = 0.5
"""Weight of the last run in what runs are expected to be like."""

FORGETTING = 1.01
"""By how much the price of a token is taken to have risen with each run that read at a higher one."""

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
class Run:
    """What runs of the decoder are like.

    Attributes:
        tokens: How many they read, padding counted.
        seconds: What they take.
    """

    tokens: float
    seconds: float

    def after(self, tokens: float, seconds: float) -> Run:
        """Let one more run count, those before it less and less."""
        return Run(self.tokens + MEMORY * (tokens - self.tokens), self.seconds + MEMORY * (seconds - self.seconds))


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
    are padded to the longest. No part leaves fewer than `LEAST_PART` tokens: it takes the last one along.

    Args:
        left: For each prompt the tokens that are still to be read, one at least; the one that came first at the
            beginning.
        budget: Most tokens of the run, padding counted, beside the last one of a prompt.

    Returns:
        How many of the prompts are read, and how many tokens of each at most.
    """
    count, width, real = 1, left[0], left[0]
    for following in left[1:]:
        padded = (count + 1) * max(width, following)
        if padded > budget or padded > max(CHEAP_TOKENS, (real + following) / (1 - MOST_PADDING)):
            break
        count, width, real = count + 1, max(width, following), real + following
    part = min(width, max(LEAST_PART, budget))
    return count, width if width - part < LEAST_PART else part


def chunk_within(seconds: float, chunk: Run, price: float) -> int:
    """Say how many tokens of prompts can be read in some time.

    A run takes some time for the weights and for what was read before, and some for each of its tokens. From what the
    last ones took it is more tokens or fewer, at the price of a token in a run where the rest hardly counts.

    Args:
        seconds: What reading may take.
        chunk: What runs are like that read parts of prompts.
        price: Seconds that a token takes in the cheapest of them.

    Returns:
        A multiple of `LEAST_CHUNK` up to `MOST_CHUNK`; 0 if the time is too short for any.
    """
    tokens = chunk.tokens + (seconds - chunk.seconds) / price
    return max(0, min(MOST_CHUNK, int(tokens) // LEAST_CHUNK * LEAST_CHUNK))


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
