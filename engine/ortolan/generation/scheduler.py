"""Texts of many requests, written side by side: whoever comes or goes does so between two steps.

A step admits requests, lets the decoder read a part of a prompt, lets every text that is written go on by a token, and
tells what was written.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ortolan.errors import OrtolanError, SessionError
from ortolan.generation.decoder import Decoder, Places
from ortolan.generation.policy import (
    FIRST_CHUNK,
    FORGETTING,
    LEAST_CHUNK,
    MAX_REQUESTS,
    MEMORY,
    MOST_CHUNK,
    READING_SHARE,
    Limits,
    Run,
    check_fits,
    chunk_within,
    num_admitted,
    plan_chunk,
)
from ortolan.generation.prefix import Prefixes
from ortolan.generation.search import Step
from ortolan.generation.seats import Request, Seat, Seats
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Stop


@dataclass(slots=True)
class Pace:
    """What runs have been like lately, and what follows for the next ones.

    Attributes:
        step: Steps, in which all texts go on and are told, seconds each; None before the first one.
        chunk: Runs that read prompts, or what an encoder reads; None before the first one.
        price: Seconds that a token took in the cheapest of them.
    """

    step: float | None = None
    chunk: Run | None = None
    price: float = math.inf

    def saw_step(self, seconds: float) -> None:
        """Take note of a step."""
        self.step = seconds if self.step is None else self.step + MEMORY * (seconds - self.step)

    def saw_chunk(self, tokens: int, seconds: float) -> None:
        """Take note of a part of a prompt, padding counted."""
        self.chunk = self.chunk.after(tokens, seconds) if self.chunk else Run(tokens, seconds)
        self.price = min(FORGETTING * self.price, seconds / tokens)

    def seconds_for(self, prompts: int) -> float:
        """Say what reading may take between two steps: a share of a step for each prompt that waits.

        So nobody waits longer for a first token because more prompts came, and a lone one less than doubles the time
        between two tokens of those who write.
        """
        return READING_SHARE * prompts * (self.step or 0.0)

    def tokens_within(self, seconds: float) -> int:
        """Say how many tokens can be read in some time; see `chunk_within`."""
        return chunk_within(seconds, self.chunk, self.price) if self.step and self.chunk else FIRST_CHUNK


@dataclass(slots=True)
class Work:
    """What a scheduler has done.

    Attributes:
        steps: Runs in which texts went on.
        rows: Texts that went on in them, each counted once a run.
        chunks: Runs in which prompts were read.
        read: Tokens of prompts that were read.
        padding: Tokens of padding beside them.
    """

    steps: int = 0
    rows: int = 0
    chunks: int = 0
    read: int = 0
    padding: int = 0


class Scheduler:
    """Writes the texts of many requests. For one thread; it has none of its own.

    Attributes:
        limits: What all requests together may not exceed.
        work: What was done.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        max_requests: int = MAX_REQUESTS,
        chunk_tokens: int | None = None,
        prefixes: Prefixes | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begin without requests.

        Args:
            decoder: What reads, and gives logits. Nobody else may use it.
            max_requests: How many requests write side by side.
            chunk_tokens: How many tokens of prompts are read at a time; None for as many as hold nobody up for long.
            prefixes: Prompts that were read before; None to read every prompt whole.
            clock: Seconds from any moment on.
        """
        self.limits = Limits(decoder.layout, decoder.cache_bytes, max_requests)
        self.work = Work()
        self._decoder = decoder
        self._chunk_tokens = chunk_tokens
        self._prefixes = None if decoder.has_encoder else prefixes
        self._clock = clock
        self._pace = Pace()
        self._waiting: list[Request] = []
        self._seats = Seats(decoder)

    @property
    def num_waiting(self) -> int:
        """Requests that have no row yet."""
        return len(self._waiting)

    @property
    def num_active(self) -> int:
        """Requests that are read or written."""
        return len(self._seats.taken)

    def add(self, request: Request) -> None:
        """Let a request wait for its turn, behind those that are as urgent.

        Raises:
            ConfigError: It alone needs more of the cache than there may be.
        """
        check_fits(request.need, self.limits)
        insort(self._waiting, request, key=lambda other: other.urgency)

    def step(self, stop: Stop | None = None) -> bool:
        """Go on by a token.

        Args:
            stop: Ends the runs early when it is set; the requests in them fail.

        Returns:
            Whether there is more to do.
        """
        self._forget_cancelled()
        self._admit(stop)
        is_anyone_writing = bool(self._seats.writing)
        self._read(stop)
        if is_anyone_writing:  # else a first token would be told only together with the second
            self._write(stop)
        return bool(self._seats.taken or self._waiting)

    def fail_all(self, error: OrtolanError) -> None:
        """End all requests with an error."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if not request.is_cancelled:
                request.sink.failed(error)
        self._forget_cancelled()
        for seat in self._seats.taken:
            seat.error = error
        self._conclude([], self._seats.taken)

    def _forget_cancelled(self) -> None:
        if any(request.is_cancelled for request in self._waiting):
            self._waiting = [request for request in self._waiting if not request.is_cancelled]
        if gone := [seat for seat in self._seats.taken if seat.request.is_cancelled]:
            self._seats.settle({}, gone)

    def _admit(self, stop: Stop | None) -> None:
        """Give seats to those whose turn it is."""
        waiting = [request.need for request in self._waiting[: self.limits.max_requests]]
        count = num_admitted(waiting, [seat.need for seat in self._seats.taken], self.limits)
        if count and self._decoder.has_encoder:
            count, _ = plan_chunk([need.encoded for need in waiting[:count]], self._budget(count))
        if not count:
            return
        # prompts of similar length are read together
        admitted = sorted(self._waiting[:count], key=lambda request: len(request.prompt))
        del self._waiting[:count]
        for request in admitted:
            request.begun = self._clock()
        self._seats.reserve([request.need for request in admitted])
        if self._decoder.has_encoder:
            begun = self._clock()
            try:
                self._decoder.encode([request.source for request in admitted], stop)
            except OrtolanError as error:
                self._seats.reserve()
                for request in admitted:
                    request.sink.failed(error)
                return
            width = max(len(request.source) for request in admitted)
            self._pace.saw_chunk(len(admitted) * width, self._clock() - begun)
        for request in admitted:
            seat = self._seats.give(request)
            if self._prefixes is not None:
                seat.num_read = self._prefixes.copy(request.prompt, self._decoder.cache, seat.first)

    def _read(self, stop: Stop | None) -> None:
        """Let the decoder read prompts, those that came first, for as long as others can wait for their next token."""
        unread = sum(not seat.is_writing for seat in self._seats.taken)
        seconds, budget = self._pace.seconds_for(unread), self._budget(unread)
        is_anyone_writing = bool(self._seats.writing)
        while budget > 0 and (reading := self._seats.reading):
            count, width = plan_chunk([seat.num_left for seat in reading], budget)
            begun = self._clock()
            self._read_chunk(reading[:count], width, stop)
            if not is_anyone_writing:
                budget -= max(count * width, LEAST_CHUNK)
            elif self._chunk_tokens is None:
                seconds -= self._clock() - begun
                budget = self._pace.tokens_within(seconds)
            else:
                budget = 0

    def _read_chunk(self, group: Sequence[Seat], width: int, stop: Stop | None) -> None:
        parts = [seat.request.prompt[seat.num_read : seat.num_read + width] for seat in group]
        begun = self._clock()
        is_an_end = any(seat.num_left <= width for seat in group)
        logits = self._run(group, parts, stop, "last" if is_an_end else "none")
        if logits is None:
            self._conclude([], group)
            return
        if not self._decoder.has_encoder:
            self._pace.saw_chunk(len(group) * width, self._clock() - begun)
        num_tokens = sum(map(len, parts))
        self.work.chunks += 1
        self.work.read += num_tokens
        self.work.padding += len(group) * width - num_tokens
        for seat, part in zip(group, parts, strict=True):
            seat.num_read += len(part)
            if self._prefixes is not None and not seat.num_left:
                self._prefixes.keep(seat.request.prompt, self._decoder.cache, seat.first)
        self._conclude([(seat, logits[n : n + 1]) for n, seat in enumerate(group) if not seat.num_left])

    def _write(self, stop: Stop | None) -> None:
        """Let all texts go on whose prompt was read; what was guessed of one is read along if it is alone."""
        begun = self._clock()
        answers: list[tuple[Seat, FloatArray]] = []
        failed: list[Seat] = []
        for group in self._seats.runs():
            rows = [tokens for seat in group for tokens in seat.reads]
            if len(rows) > 1:
                rows = [tokens[:1] for tokens in rows]
            logits = self._run(group, rows, stop, "every")
            if logits is None:
                failed += group
                continue
            self.work.steps += 1
            self.work.rows += len(rows)
            answers += _shared_out(group, logits)
        self._conclude(answers, failed)
        if answers:
            self._pace.saw_step(self._clock() - begun)

    def _run(
        self, group: Sequence[Seat], rows: Sequence[Sequence[int]], stop: Stop | None, places: Places
    ) -> FloatArray | None:
        """Ask the decoder; None if that failed, and with it all requests of the run."""
        requests = (0, 0)
        if self._decoder.has_encoder:
            start = self._seats.taken.index(group[0])
            requests = (start, start + len(group))
        try:
            return self._decoder.run(group[0].first, rows, requests=requests, places=places, stop=stop)
        except OrtolanError as error:
            for seat in group:
                seat.error = error
            return None

    def _conclude(self, answers: Sequence[tuple[Seat, FloatArray]], failed: Sequence[Seat] = ()) -> None:
        """Ask searches what goes on, free the seats of those who are done, and tell them."""
        steps: dict[Seat, Step] = {}
        gone = list(failed)
        for seat, logits in answers:
            step = self._next(seat, logits)
            if step is not None and step.tokens:
                steps[seat] = step
            else:
                gone.append(seat)
        self._seats.settle(steps, gone)
        for seat in gone:
            if seat.error is not None:
                seat.request.sink.failed(seat.error)
            else:
                seat.request.sink.done(seat.request.search.written)

    def _next(self, seat: Seat, logits: FloatArray) -> Step | None:
        """Ask the search of a request what goes on; None if it fails, which is no matter of others."""
        request = seat.request
        try:
            step = request.search.advance(logits)
            request.sink.wrote(request.search.ids)
        except OrtolanError as error:
            seat.error = error
            return None
        except Exception as error:  # noqa: BLE001  # a bug in one request must not take the others along
            seat.error = SessionError("a text requested", f"writing it failed: {error!r}", "please report this")
            seat.error.__cause__ = error
            return None
        if refused := logits.shape[1] - step.kept:
            self._decoder.cache.drop(seat.first, seat.first + len(seat.places), refused)
        return step

    def _budget(self, prompts: int) -> int:
        """Tokens, padding counted, that may be read next while so many prompts wait."""
        if self._chunk_tokens is not None:
            return self._chunk_tokens
        if not self._seats.writing:
            return MOST_CHUNK
        return max(LEAST_CHUNK, self._pace.tokens_within(self._pace.seconds_for(prompts)))


def _shared_out(group: Sequence[Seat], logits: FloatArray) -> list[tuple[Seat, FloatArray]]:
    """Give each request the logits of its texts, in their order, float32 [texts, places, V]."""
    shares, first = [], 0
    for seat in group:
        share = logits[first : first + len(seat.places)]
        is_in_order = seat.places == list(range(len(seat.places)))
        shares.append((seat, share if is_in_order else share[seat.places]))
        first += len(seat.places)
    return shares
