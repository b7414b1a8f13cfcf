"""A pipeline that writes, ready for an engine: its requests, and those who wait for them or read along."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ortolan.batch.policy import Waiting
from ortolan.config import BatchingConfig
from ortolan.delivery import Order, deliver
from ortolan.errors import ConfigError, OrtolanError
from ortolan.forward import Row
from ortolan.generation.pieces import Pieces
from ortolan.generation.policy import MAX_REQUESTS
from ortolan.generation.search import outputs
from ortolan.generation.worker import Call, Owner, WritingWorker
from ortolan.pipeline import Encoded, Pipeline

MOST_WAITING = 256
"""Texts that may wait, where nothing else is said: eight for each that is written."""

OWN_OPTIONS = ("cache_bytes", "strict_batching")
"""Options of a pipeline that make no sense where all requests share a cache and their runs."""


class Writing:
    """A pipeline that writes, and the thread in which it does.

    Attributes:
        pipe: What encodes and decodes.
        worker: The thread; to be started.
    """

    def __init__(
        self, name: str, pipes: Sequence[Pipeline], batching: BatchingConfig, before: Writing | None = None
    ) -> None:
        """Prepare.

        Args:
            name: Of the model.
            pipes: One pipeline.
            batching: `max_batch_size` is how many texts are written side by side, `max_queue` how many wait, and
                `run_timeout_ms` how long a run is waited for in the end.
            before: The version before, whose counters go on.

        Raises:
            ConfigError: Several pipelines.
            SignatureError, SessionError: A model that cannot write.
        """
        if len(pipes) != 1:
            raise ConfigError(
                f"{len(pipes)} replicas of '{name}' requested",
                f"{pipes[0].task} writes, and all its texts share one cache",
                "pass one pipeline, or run several engines",
            )
        self.pipe = pipes[0]
        assert self.pipe.writer is not None, "whoever calls looked whether it writes"
        self._writer = self.pipe.writer
        self.worker: WritingWorker = WritingWorker(
            name,
            partial(
                self._writer.scheduler,
                max_requests=batching.max_batch_size or MAX_REQUESTS,
                cache_bytes=self.pipe.cache_bytes,
            ),
            max_waiting=batching.max_queue or MOST_WAITING,
            run_timeout_seconds=batching.run_timeout_ms / 1e3,
            before=None if before is None else before.worker,
        )
        self._writer.probe()

    def put(
        self, inputs: Any, options: Mapping[str, Any], deadline_ms: float | None, priority: int, order: Order
    ) -> Call | None:
        """Encode a request, and let it wait.

        Args:
            inputs: What the pipeline takes: one input, or a short list.
            options: Those of the pipeline, but for `OWN_OPTIONS`.
            deadline_ms: When the answer is of no use any more, milliseconds from now.
            priority: Higher goes first.
            order: Who waits for it.

        Returns:
            What the worker knows it by; None if another version has just taken the place of this one.

        Raises:
            RequestError, ConfigError: As from the pipeline.
            CapacityError: As from `WritingWorker.put`.
        """
        arrival, encoded = time.perf_counter(), self._encode(inputs, options)
        return self._sent(encoded, _Answer(self.pipe, encoded, order), arrival, deadline_ms, priority)

    def read(
        self,
        inputs: Any,
        options: Mapping[str, Any],
        deadline_ms: float | None,
        priority: int,
        post: Callable[[Any], None],
    ) -> Reading | None:
        """Do the same for somebody who reads along.

        Args:
            inputs: One input.
            options: As for `put`.
            deadline_ms: As for `put`.
            priority: As for `put`.
            post: Brings to the reader what `Reading.take` takes; called by another thread.

        Returns:
            What makes text of what is posted; None as for `put`.

        Raises:
            ConfigError: Several inputs, texts or beams.
            OrtolanError: As for `put`.
        """
        arrival, encoded = time.perf_counter(), self._encode(inputs, options)
        pieces = self.pipe.pieces(encoded)
        call = self._sent(encoded, _Reader(post), arrival, deadline_ms, priority)
        return None if call is None else Reading(pieces, partial(self.worker.cancel, call))

    def _encode(self, inputs: Any, options: Mapping[str, Any]) -> Encoded:
        if own := [name for name in OWN_OPTIONS if name in options]:
            raise ConfigError(
                f"{', '.join(own)} requested",
                "texts of all requests are written side by side, in one cache",
                "pass it to the pipeline, or call that itself",
            )
        return self.pipe.encode(inputs, **options)

    def _sent(
        self, encoded: Encoded, owner: Owner, arrival: float, deadline_ms: float | None, priority: int
    ) -> Call | None:
        due = float("inf") if deadline_ms is None else arrival + deadline_ms / 1e3
        call, config = Call(owner, arrival, due), self.pipe.writing(encoded)
        for row in encoded.rows:
            request = self._writer.request(row, config, self.worker.add_part(call))
            request.urgency = Waiting(len(row.ids), arrival, due, priority).urgency
            call.requests.append(request)
        call.tokenize_seconds = time.perf_counter() - arrival
        return call if self.worker.put(call) else None


@dataclass(slots=True)
class Reading:
    """Makes text of tokens as they come from the thread that writes.

    Attributes:
        pieces: What makes text of tokens.
        cancel: Ends the writing, if it goes on.
        is_over: Whether nothing more comes.
    """

    pieces: Pieces
    cancel: Callable[[], None]
    is_over: bool = False
    _ids: list[int] = field(default_factory=list)

    def take(self, posted: Any) -> str:
        """Take what was posted: new tokens, or None for the end.

        Returns:
            The next piece; "" if nothing can be said yet.

        Raises:
            OrtolanError: That was posted.
        """
        if isinstance(posted, list):
            self._ids += posted
            return self.pieces.feed(self._ids)
        self.is_over = True
        if isinstance(posted, OrtolanError):
            raise posted
        return self.pieces.flush()


class Stream:
    """Pieces of a text, for a thread that reads along. Closing it, or forgetting it, ends the writing."""

    def __init__(self, begin: Callable[[Callable[[Any], None]], Reading]) -> None:
        """Begin.

        Args:
            begin: Sends the request; takes what posts to the reader.

        Raises:
            OrtolanError: From `begin`.
        """
        self._posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._reading: Reading | None = None  # if nothing comes of the next line
        self._reading = begin(self._posted.put)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        assert self._reading is not None
        while not self._reading.is_over:
            if piece := self._reading.take(self._posted.get()):
                return piece
        raise StopIteration

    def close(self) -> None:
        """End the writing, if it goes on."""
        if self._reading is not None:
            self._reading.is_over = True
            self._reading.cancel()

    def __del__(self) -> None:
        self.close()


async def read_along(begin: Callable[[Callable[[Any], None]], Reading]) -> AsyncGenerator[str, None]:
    """Give pieces of a text to an event loop. Leaving it ends the writing.

    Args:
        begin: As for `Stream`.

    Yields:
        The pieces.

    Raises:
        OrtolanError: From `begin`, or when the writing failed.
    """
    loop, posted = asyncio.get_running_loop(), asyncio.Queue[Any]()

    def post(item: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(posted.put_nowait, item)

    reading = begin(post)
    try:
        while not reading.is_over:
            if piece := reading.take(await posted.get()):
                yield piece
    finally:
        reading.cancel()


@dataclass(frozen=True, slots=True)
class _Answer:
    """One who waits for a result; see `Owner`."""

    pipe: Pipeline
    encoded: Encoded
    order: Order

    def wrote(self, ids: Sequence[int]) -> None:
        """Nobody reads along."""

    def finish(self, call: Call) -> Any:
        rows = [
            [Row(encoding, outputs(request.prompt, text)) for text in texts or ()]
            for encoding, request, texts in zip(self.encoded.rows, call.requests, call.texts, strict=True)
        ]
        return self.pipe.decode_texts(self.encoded, rows)

    def deliver(self, call: Call, outcome: Any) -> None:
        deliver(self.order, call, outcome)


@dataclass(slots=True)
class _Reader:
    """One who reads along; see `Owner`."""

    post: Callable[[Any], None]
    num_posted: int = 0

    def wrote(self, ids: Sequence[int]) -> None:
        self.post(list(ids[self.num_posted :]))
        self.num_posted = len(ids)

    def finish(self, call: Call) -> None:
        return None

    def deliver(self, call: Call, outcome: Any) -> None:
        self.post(outcome)
