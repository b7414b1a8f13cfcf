"""`Engine`: pipelines for services, with dynamic batching. Requests come from threads or asyncio, one at a time.

submit -> pipeline.encode -> batch/ (queue, policy, costs, worker) -> replicas.py -> pipeline.decode
submit, stream -> writing.py -> pipeline.encode -> generation/ (worker, scheduler) -> pipeline.decode_texts
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from ortolan.batch.counters import Counters
from ortolan.batch.queue import Queue
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Job, Text, Ticket
from ortolan.batch.worker import Workers
from ortolan.config import BatchingConfig
from ortolan.delivery import Mailbox, Order, deliver
from ortolan.errors import ClosedError, ConfigError, UnknownModelError
from ortolan.forward import Row
from ortolan.pipeline import Encoded, Pipeline
from ortolan.replicas import Replicas
from ortolan.session.base import Stop
from ortolan.session.processors import usable_threads
from ortolan.tokenize import Encoding
from ortolan.writing import Reading, Stream, Writing, read_along

DEFAULT_NAME = "default"
"""Name of a model that was given none."""

MAX_PRIORITY = 10

LONG_INPUT = 20_000
"""Inputs of more characters are tokenized in a thread of their own, where they don't hold up an event loop."""

Models = Pipeline | Sequence[Pipeline] | Mapping[str, Pipeline | Sequence[Pipeline]]


class Engine:
    """Answers requests from many callers, and batches those that wait at the same time.

    async with ortolan.Engine(pipe) as engine:
        result = await engine.submit("A text.", deadline_ms=50)

    with ortolan.Engine({"mood": pipe, "names": other}) as engine:
        future = engine.submit_nowait("A text.", model="mood")

    Safe to use from several threads and event loops at once. Leaving a `with` block answers what waits, unless an
    exception ends it.
    """

    def __init__(
        self, models: Models, *, batching: BatchingConfig | None = None, num_threads: int | None = None
    ) -> None:
        """Prepare; `start`, or a `with` block, loads and starts it.

        Args:
            models: A pipeline; several by name, which share the threads; in the place of a pipeline a list of them,
                which are replicas of one artifact on several devices.
            batching: How batches are formed.
            num_threads: Threads of all runs together; by default the processors that this process may use.

        Raises:
            ConfigError: No models, or `num_threads` below 1.
        """
        named = dict(models) if isinstance(models, Mapping) else {DEFAULT_NAME: models}
        self._pipes = {name: [one] if isinstance(one, Pipeline) else list(one) for name, one in named.items()}
        if not self._pipes or not all(self._pipes.values()):
            raise ConfigError("an engine requested", "there is no model", "pass a pipeline, or several by name")
        if num_threads is not None and num_threads < 1:
            raise ConfigError("num_threads requested", f"got {num_threads!r}", "use 1 or more, or leave it out")
        self._batching = batching or BatchingConfig()
        self._cpu = Slots(num_threads or usable_threads())
        self._replicas: dict[str, Replicas] = {}
        self._writing: dict[str, Writing] = {}
        self._queue = Queue()
        self._workers: Workers | None = None
        self._pid = 0
        self._mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()

    def start(self) -> Engine:
        """Load the models for all numbers of threads, measure what runs cost, and let requests in.

        Raises:
            ConfigError: Replicas that are none.
            ClosedError: It was started before.
            SessionError: A model does not run.
        """
        if self._pid:
            raise ClosedError("the start of an engine requested", "it was started before", "make another one")
        writers = {name: pipes for name, pipes in self._pipes.items() if pipes[0].writes}
        writing = {name: Writing(name, pipes, self._batching) for name, pipes in writers.items()}
        replicas = {
            name: Replicas(name, pipes, self._batching, self._cpu)
            for name, pipes in self._pipes.items()
            if name not in writers
        }
        self._pid = os.getpid()
        self._replicas, self._writing = replicas, writing
        self._queue.groups += [replicas.group for replicas in self._replicas.values()]
        slots = {id(replicas.group.slots): replicas.group.slots for replicas in self._replicas.values()}
        most_runs = sum(found.total for found in slots.values())
        self._workers = Workers(self._queue, _Service(), most_runs, self._batching.run_timeout_ms / 1e3)
        self._workers.start()
        for one in writing.values():
            one.worker.start()
        return self

    async def submit(
        self,
        inputs: Any,
        *,
        model: str | None = None,
        deadline_ms: float | None = None,
        priority: int = 0,
        timing: bool = False,
        **options: Any,
    ) -> Any:
        """Answer one request. A cancelled call is dropped before it runs.

        Args:
            inputs: What the pipeline takes: one input, or a short list.
            model: Which of several models.
            deadline_ms: When the answer is of no use any more, milliseconds from now.
            priority: Higher goes first, -10 to 10; a step is worth a second of waiting, so that nobody waits for ever.
            timing: Whether to return a `Response`, which says where the time went.
            options: Those of the pipeline, without `batch_size` and `progress`.

        Returns:
            What the pipeline returns, or a `Response`.

        Raises:
            QueueFullError: Too many texts wait already.
            DeadlineError: There is no answer in time. Said as early as it is known.
            ClosedError: The engine is not started, or is closed.
            UnknownModelError: No model of that name.
            RequestError, ConfigError, InferenceError: As from the pipeline.
        """
        loop = asyncio.get_running_loop()
        if (mailbox := self._mailboxes.get(loop)) is None:
            mailbox = self._mailboxes[loop] = Mailbox(loop)
        future: asyncio.Future[Any] = loop.create_future()
        order = Order(mailbox, future, timing)
        if _num_characters(inputs) > LONG_INPUT:
            cancel = await self._put_from_thread(inputs, model, deadline_ms, priority, order, options)
        else:
            cancel = self._put(inputs, model, deadline_ms, priority, order, options)
        try:
            return await future
        except asyncio.CancelledError:
            cancel()
            raise

    async def _put_from_thread(self, *arguments: Any) -> Callable[[], None]:
        putting = asyncio.create_task(asyncio.to_thread(self._put, *arguments))
        try:
            return await asyncio.shield(putting)
        except asyncio.CancelledError:  # the thread goes on, and puts a request that nobody wants any more

            def take_back(done: asyncio.Task[Callable[[], None]]) -> None:
                if not done.cancelled() and done.exception() is None:
                    done.result()()

            putting.add_done_callback(take_back)
            raise

    def submit_nowait(
        self,
        inputs: Any,
        *,
        model: str | None = None,
        deadline_ms: float | None = None,
        priority: int = 0,
        timing: bool = False,
        **options: Any,
    ) -> Future[Any]:
        """Let a request wait, and return at once; for threads. A future that is cancelled is dropped before it runs.

        Args:
            inputs: As for `submit`.
            model: As for `submit`.
            deadline_ms: As for `submit`.
            priority: As for `submit`.
            timing: As for `submit`.
            options: As for `submit`.

        Returns:
            A future with the result, or the error.

        Raises:
            QueueFullError, DeadlineError, ClosedError, UnknownModelError, RequestError, ConfigError: What is known at
                once is raised here, not by the future.
        """
        future: Future[Any] = Future()
        cancel = self._put(inputs, model, deadline_ms, priority, Order(None, future, timing), options)

        def drop_if_cancelled(done: Future[Any]) -> None:
            if done.cancelled():
                cancel()

        future.add_done_callback(drop_if_cancelled)
        return future

    async def stream(
        self,
        inputs: Any,
        *,
        model: str | None = None,
        deadline_ms: float | None = None,
        priority: int = 0,
        **options: Any,
    ) -> AsyncGenerator[str, None]:
        """Write one text, and give its pieces as they are written. Leaving the loop ends the writing.

        Args:
            inputs: What the pipeline takes: one input.
            model: As for `submit`.
            deadline_ms: When the whole text is of no use any more, milliseconds from now.
            priority: As for `submit`.
            options: As for `Pipeline.stream`.

        Yields:
            Pieces; see `Pipeline.stream`.

        Raises:
            ConfigError: The model does not write, or several texts or beams.
            OrtolanError: As from `submit`, with the first piece or later.
        """
        begin = partial(self._begin_reading, inputs, model, deadline_ms, priority, options)
        async for piece in read_along(begin):
            yield piece

    def stream_nowait(
        self,
        inputs: Any,
        *,
        model: str | None = None,
        deadline_ms: float | None = None,
        priority: int = 0,
        **options: Any,
    ) -> Stream:
        """Do the same for threads.

        Args:
            inputs: As for `stream`.
            model: As for `submit`.
            deadline_ms: As for `stream`.
            priority: As for `submit`.
            options: As for `stream`.

        Returns:
            An iterator of pieces, which waits for each. Closing it, or forgetting it, ends the writing.

        Raises:
            OrtolanError: As from `stream`. What is known at once is raised here, not by the iterator.
        """
        return Stream(partial(self._begin_reading, inputs, model, deadline_ms, priority, options))

    def swap(self, models: Pipeline | Sequence[Pipeline], *, model: str | None = None) -> None:
        """Put another version in the place of a model, while requests go on.

        Requests that came before are answered by the version they came for; this returns when all of them are. From a
        coroutine call it with `asyncio.to_thread`.

        Args:
            models: The new version: a pipeline, or its replicas.
            model: Which of several models is replaced.

        Raises:
            ConfigError: Replicas that are none, or one of the versions writes and the other does not. The old version
                stays.
            UnknownModelError: No model of that name.
            ClosedError: The engine is not started, or is closed.
            SessionError: The new version does not run. The old one stays.
        """
        workers = self._running()
        name = self._name(model)
        pipes = [models] if isinstance(models, Pipeline) else list(models)
        if pipes[0].writes != (name in self._writing):
            raise ConfigError(
                f"another version of '{name}' requested",
                f"{pipes[0].task} is another kind of task: one of the two writes",
                "make another engine, or give it another name there",
            )
        if name in self._writing:
            self._swap_writing(name, pipes)
            return
        old = self._replicas[name]
        new = Replicas(name, pipes, self._batching, self._cpu, old.group.counters)
        workers.add(new.group)
        self._replicas[name] = new
        workers.retire(old.group)

    def _swap_writing(self, name: str, pipes: Sequence[Pipeline]) -> None:
        old = self._writing[name]
        new = Writing(name, pipes, self._batching, old)
        if not self._running().is_open:
            raise ClosedError("another version requested", "the engine takes no requests", "start one, or ask another")
        new.worker.start()
        self._writing[name] = new
        old.worker.retire()

    def drain(self, timeout_seconds: float | None = None) -> bool:
        """Let no more requests in, and wait until those that wait are answered.

        Returns:
            Whether they are; False if the time ran out before.
        """
        ends = None if timeout_seconds is None else time.perf_counter() + timeout_seconds
        is_drained = self._running().drain(timeout_seconds)
        for one in self._writing.values():
            one.worker.shut()
        for one in self._writing.values():
            left = None if ends is None else max(0.0, ends - time.perf_counter())
            is_drained &= one.worker.drain(left)
        return is_drained

    def close(self) -> None:
        """End. Requests that have not started fail with a `ClosedError`; runs under way are waited for."""
        if self._workers is not None and self._pid == os.getpid():
            self._workers.close()
            for one in self._writing.values():
                one.worker.close()

    @property
    def counters(self) -> dict[str, Counters]:
        """What became of the requests for each model: a copy, as of now."""
        answering = {name: self._running().copy_of(one.group.counters) for name, one in self._replicas.items()}
        return {**answering, **{name: one.worker.copy_counters() for name, one in self._writing.items()}}

    @property
    def num_waiting(self) -> dict[str, int]:
        """How many texts wait for each model."""
        answering = {name: one.group.num_waiting for name, one in self._replicas.items()}
        return {**answering, **{name: one.worker.num_waiting for name, one in self._writing.items()}}

    def __enter__(self) -> Engine:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.drain()
        self.close()

    async def __aenter__(self) -> Engine:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _put(
        self,
        inputs: Any,
        model: str | None,
        deadline_ms: float | None,
        priority: int,
        order: Order,
        options: Mapping[str, Any],
    ) -> Callable[[], None]:
        """Encode a request, and let it wait; give what cancels it."""
        workers = self._running()
        _check_request(deadline_ms, priority)
        arrival = time.perf_counter()
        while True:
            name = self._name(model)
            if (writing := self._writing.get(name)) is not None:
                if (call := writing.put(inputs, options, deadline_ms, priority, order)) is not None:
                    return partial(writing.worker.cancel, call)
                continue
            replicas = self._replicas[name]
            encoded = replicas.pipe.encode(inputs, **options)
            ticket = Ticket(
                replicas.group,
                [_text(row) for row in encoded.rows],
                arrival,
                float("inf") if deadline_ms is None else arrival + deadline_ms / 1e3,
                priority,
                encoded.is_strict,
                _Asked(replicas, encoded, order),
                time.perf_counter() - arrival,
            )
            if workers.put(ticket):
                return partial(workers.cancel, ticket)
            # another version has just taken the place of the one that encoded: its tokens may differ

    def _begin_reading(
        self,
        inputs: Any,
        model: str | None,
        deadline_ms: float | None,
        priority: int,
        options: Mapping[str, Any],
        post: Callable[[Any], None],
    ) -> Reading:
        """Send a request of somebody who reads along."""
        self._running()
        _check_request(deadline_ms, priority)
        while True:
            name = self._name(model)
            if (writing := self._writing.get(name)) is None:
                task = self._replicas[name].pipe.task
                raise ConfigError("a stream requested", f"{task} does not write", "call submit")
            if (reading := writing.read(inputs, options, deadline_ms, priority, post)) is not None:
                return reading

    def _name(self, model: str | None) -> str:
        if model is None and len(self._pipes) == 1:
            return next(iter(self._pipes))
        if model not in self._pipes:
            raise UnknownModelError(
                f"model {model!r} requested" if model else "an answer requested",
                f"there are {', '.join(map(repr, self._pipes))}",
                "name one of them",
            )
        return model

    def _running(self) -> Workers:
        if self._workers is None:
            raise ClosedError("an engine requested", "it is not started", "use it in a 'with' block, or call start()")
        if self._pid != os.getpid():
            raise ClosedError(
                "an engine requested",
                f"it was started in process {self._pid}, and threads don't survive a fork",
                "make and start it in the child process",
            )
        return self._workers


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as its pipeline knows it."""

    replicas: Replicas
    encoded: Encoded
    order: Order


class _Service:
    """What the workers do their work with."""

    def __init__(self) -> None:
        self._stops: dict[Job, Stop] = {}

    def run(self, job: Job) -> Sequence[Any]:
        """Ask the graph."""
        replicas: Replicas = job.group.owner
        stop = self._stops[job] = Stop()
        try:
            return replicas.run(job.payloads, job.num_threads, stop)
        finally:
            del self._stops[job]

    def stop(self, job: Job) -> None:
        """End a run early."""
        if (stop := self._stops.get(job)) is not None:
            stop.set()

    def decode(self, ticket: Ticket) -> Any:
        """Make the result of a request."""
        asked: _Asked = ticket.asked
        # outputs are views of a whole batch, and equal texts have the same: each result gets memory of its own
        rows = [
            Row(row, {name: np.array(array) for name, array in outputs.items()})
            for row, outputs in zip(asked.encoded.rows, ticket.answers, strict=True)
        ]
        return asked.replicas.pipe.decode(asked.encoded, rows)

    def deliver(self, ticket: Ticket, outcome: Any) -> None:
        """Tell who waits."""
        deliver(ticket.asked.order, ticket, outcome)


def _text(row: Encoding) -> Text:
    return Text(row, len(row.ids), (tuple(row.ids), tuple(row.type_ids)))


def _num_characters(inputs: Any) -> int:
    if isinstance(inputs, str):
        return len(inputs)
    if isinstance(inputs, Mapping):
        return sum(map(_num_characters, inputs.values()))
    return sum(map(_num_characters, inputs)) if isinstance(inputs, (list, tuple)) else 0


def _check_request(deadline_ms: object, priority: object) -> None:
    if deadline_ms is not None and not (isinstance(deadline_ms, (int, float)) and deadline_ms > 0):
        raise ConfigError("deadline_ms requested", f"got {deadline_ms!r}", "use milliseconds from now, above 0")
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise ConfigError(
            "priority requested", f"got {priority!r}", f"use a whole number from -{MAX_PRIORITY} to {MAX_PRIORITY}"
        )
