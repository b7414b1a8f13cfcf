"""Which rows of the cache belong to whom: requests that write lie before those whose prompt is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from typing import Protocol

from ortolan.errors import OrtolanError
from ortolan.generation.decoder import Decoder
from ortolan.generation.policy import Need, arrange, seated, together
from ortolan.generation.search import Search, Step, Written

READING = 1 << 30
"""Segment of those whose prompt is read; those who write are sorted by their rows."""


class Sink(Protocol):
    """Who wants a text. In the end one of `done` and `failed` is called, unless the request is cancelled."""

    def wrote(self, ids: Sequence[int]) -> None:
        """Take what the first row has written so far, after every step. An exception fails the request."""

    def done(self, texts: Sequence[Written]) -> None:
        """Take all texts, the best first. Must not raise."""

    def failed(self, error: OrtolanError) -> None:
        """Take the reason why there are none. Must not raise."""


@dataclass(slots=True, eq=False)
class Request:
    """A request for a text, or for several with the same beginning.

    Attributes:
        search: Says what is written.
        prompt: What is there already; of a model with an encoder, what its decoder begins with.
        longest: Tokens that a text may have in the end, the prompt included.
        sink: Who wants it.
        source: What the encoder reads; empty where there is none.
        urgency: Least goes first; who came first among equals.
        is_cancelled: Whether nobody wants it any more. It leaves with the next step.
        begun: When it was admitted, by the clock of the scheduler; None before.
    """

    search: Search
    prompt: Sequence[int]
    longest: int
    sink: Sink
    source: Sequence[int] = ()
    urgency: float = 0.0
    is_cancelled: bool = False
    begun: float | None = None

    @property
    def need(self) -> Need:
        """What it may come to; the token that is written last is never read."""
        return Need(self.search.max_rows, max(len(self.prompt), self.longest - 1), len(self.source))


@dataclass(slots=True, eq=False)
class Seat:
    """A request, and its rows.

    Attributes:
        request: The request.
        need: What it may come to.
        number: Seats are counted as they are given.
        first: Its first row.
        places: The row of each of its texts, counted from there.
        tokens: What each text reads next; none as long as the prompt is read.
        num_read: Tokens of the prompt that were read.
        error: Why there will be no texts; None if nothing is wrong.
    """

    request: Request
    need: Need
    number: int
    first: int
    places: list[int] = field(default_factory=lambda: [0])
    tokens: tuple[tuple[int, ...], ...] = ()
    num_read: int = 0
    error: OrtolanError | None = None

    @property
    def is_writing(self) -> bool:
        """Whether its prompt has been read."""
        return bool(self.tokens)

    @property
    def num_left(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return len(self.request.prompt) - self.num_read

    @property
    def reads(self) -> list[tuple[int, ...]]:
        """What its rows read next, in their order."""
        return [tokens for _, tokens in sorted(zip(self.places, self.tokens, strict=True))]

    def goes_straight_on(self, step: Step) -> bool:
        """Whether every row goes on where it is."""
        return self.is_writing and step.parents == tuple(range(len(self.places)))


class Seats:
    """The requests that have rows, and the rows of the decoder's cache that they have.

    Attributes:
        taken: In the order of their rows. What an encoder has read for them is in the same order.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.taken: list[Seat] = []
        self._decoder = decoder
        self._count = 0

    @property
    def writing(self) -> list[Seat]:
        """Those who write; the first ones."""
        return [seat for seat in self.taken if seat.is_writing]

    @property
    def reading(self) -> list[Seat]:
        """Whose prompt is read next: the one that came first and, if its rows are as empty, those behind it."""
        waiting = [seat for seat in self.taken if not seat.is_writing]
        first = min(waiting, key=lambda seat: seat.number, default=None)
        if first is None or first.num_read:
            return [] if first is None else [first]
        return list(takewhile(lambda seat: not seat.num_read, waiting[waiting.index(first) :]))

    def reserve(self, more: Sequence[Need] = ()) -> None:
        """See that there is room for all who have a seat, and some more."""
        self._decoder.reserve(*together([*(seat.need for seat in self.taken), *more]))

    def give(self, request: Request) -> Seat:
        """Give a request a row, behind all others; room was reserved, and its source is encoded."""
        seat = Seat(request, request.need, self._count, self._decoder.cache.add())
        self._count += 1
        self.taken.append(seat)
        return seat

    def settle(self, steps: Mapping[Seat, Step], gone: Sequence[Seat]) -> None:
        """Let rows go on as their searches say, others leave, and close the gaps.

        Args:
            steps: What goes on, and how; seats that are not named go on as they are.
            gone: Seats that are free from now on.
        """
        straight = [seat.goes_straight_on(step) for seat, step in steps.items()]
        before = {seat: [seat.first + place for place in seat.places] for seat in self.taken}
        for seat, step in steps.items():
            seat.tokens = step.tokens
        if not gone and all(straight):
            return
        for seat, step in steps.items():
            before[seat] = [before[seat][parent] for parent in step.parents]
        left = [-1 if seat in gone else len(before[seat]) if seat.is_writing else READING for seat in self.taken]
        order = arrange(left)
        parents: list[int] = []
        for seat in (self.taken[place] for place in order):
            first = len(parents)
            rows = seated(before[seat], first)
            by_row = dict(zip(rows, before[seat], strict=True))
            parents += [by_row[row] for row in sorted(by_row)]
            seat.first, seat.places = first, [row - first for row in rows]
        self.taken = [self.taken[place] for place in order]
        self._decoder.cache.reorder(parents)
        if self._decoder.has_encoder:
            self._decoder.cross.reorder(order)
        if gone:
            self.reserve()

    def runs(self) -> list[list[Seat]]:
        """Sort those who write into runs, whose rows lie side by side.

        With an encoder, all requests of a run have equally many rows.
        """
        writing = self.writing
        if not self._decoder.has_encoder:
            return [writing] if writing else []
        return [list(run) for _, run in groupby(writing, lambda seat: len(seat.places))]
