"""The thread that writes: requests come from other threads, and what becomes of them goes back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

from ortolan.batch.counters import Counters
from ortolan.errors import (
    CapacityError,
    ClosedError,
    DeadlineError,
    InvalidInputError,
    OrtolanError,
    QueueFullError,
    SessionError,
)
from ortolan.generation.scheduler import Scheduler, Work
from ortolan.generation.search import Written
from ortolan.generation.seats import Request
from ortolan.session.base import Stop

FIRST_GUESS_SECONDS = 1.0
"""How long it takes until a request has a seat, before any was seen to leave one."""


class Owner(Protocol):
    """Who sent a call. Its methods are called by the thread that writes, or by the one that ends a call."""

    def wrote(self, ids: Sequence[int]) -> None:
        """Take what the first text of the first request has so far, after every step."""

    def finish(self, call: Call) -> Any:
        """Make a result of the texts.

        Raises:
            OrtolanError: There is none.
        """

    def deliver(self, call: Call, outcome: Any) -> None:
        """Take the result, or the `OrtolanError` in its place. Must not raise."""


@dataclass(slots=True, eq=False)
class Call:
    """Requests that were sent together: they have one result, or one error.

    Attributes:
        owner: Who sent them.
        arrival: When they came, seconds on the clock of all.
        due: When the result is of no use any more.
        tokenize_seconds: How long the owner took to make requests of what was sent.
        requests: They, each with one of `sinks`.
        texts: Of each request; None before it is done.
        ended: When the last of them was done.
        batch_size: Requests that were read or written when its first token was.
        postprocess_seconds: How long it took to make a result.
        is_unwanted: Whether its owner has gone.
        is_over: Whether the owner has been told what became of it, or has gone.
    """

    owner: Owner
    arrival: float
    due: float = math.inf
    tokenize_seconds: float = 0.0
    requests: list[Request] = field(default_factory=list)
    texts: list[Sequence[Written] | None] = field(default_factory=list)
    ended: float = 0.0
    batch_size: int = 0
    postprocess_seconds: float = 0.0
    is_unwanted: bool = False
    is_over: bool = False

    @property
    def queue_seconds(self) -> float:
        """How long it waited until its first request had a seat."""
        begun = [request.begun for request in self.requests if request.begun is not None]
        return max(0.0, min(begun, default=self.arrival) - self.arrival - self.tokenize_seconds)

    @property
    def run_seconds(self) -> float:
        """From then on until the last one was done."""
        return max(0.0, self.ended - self.arrival - self.tokenize_seconds - self.queue_seconds)

    @property
    def padding_share(self) -> float:
        """Which part of what was computed for it was padding: a text that is written has next to none."""
        return 0.0

    @property
    def deadline_ms(self) -> float:
        """Its deadline, milliseconds from its arrival."""
        return (self.due - self.arrival) * 1e3


@dataclass(slots=True, eq=False)
class _Part:
    """One request of a call, as the scheduler sees its owner."""

    worker: WritingWorker
    call: Call
    place: int

    def wrote(self, ids: Sequence[int]) -> None:
        self.call.batch_size = self.call.batch_size or self.worker.num_active
        if not self.place and not self.call.is_over:
            self.call.owner.wrote(ids)

    def done(self, texts: Sequence[Written]) -> None:
        self.call.texts[self.place] = texts
        self.worker.part_done(self.call)

    def failed(self, error: OrtolanError) -> None:
        self.worker.settle(self.call, error)


class WritingWorker:
    """A scheduler in a thread of its own.

    Attributes:
        name: Of the model, for messages.
        counters: What became of the calls.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Scheduler],
        *,
        max_waiting: int,
        run_timeout_seconds: float,
        before: WritingWorker | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            name: Of the model.
            make: Makes the scheduler; and another one should it break.
            max_waiting: Requests that may wait for a seat.
            run_timeout_seconds: `close` waits so long for a run under way.
            before: The version before, whose counters go on.
            clock: Seconds from any moment on.
        """
        self.name = name
        self.counters: Counters = Counters() if before is None else before.counters
        self._make = make
        self._scheduler = make()
        self._max_waiting = max_waiting
        self._timeout = run_timeout_seconds
        self._clock = clock
        self._lock: threading.Lock = threading.Lock() if before is None else before._lock  # they count together
        self._work_there = threading.Condition(self._lock)
        self._all_over = threading.Condition(self._lock)
        self._open: set[Call] = set()
        self._incoming: list[Call] = []
        self._is_open = self._is_closing = self._is_retired = False
        self._stop = Stop()
        self._leave_seconds = 0.0
        self._left_at: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def num_waiting(self) -> int:
        """Requests without a seat."""
        return self._scheduler.num_waiting + sum(len(call.requests) for call in list(self._incoming))

    @property
    def num_active(self) -> int:
        """Requests that are read or written."""
        return self._scheduler.num_active

    def start(self) -> None:
        """Start the thread, and let calls in."""
        self._is_open = True
        self._thread = threading.Thread(target=self._work, name=f"ortolan-writer-{self.name}", daemon=True)
        self._thread.start()

    def add_part(self, call: Call) -> _Part:
        """Make the sink for another request of a call that has not been put."""
        call.texts.append(None)
        return _Part(self, call, len(call.texts) - 1)

    def put(self, call: Call) -> bool:
        """Let a call wait.

        Returns:
            Whether it does; False if another version has taken the place of this one.

        Raises:
            ClosedError: No calls are let in.
            InvalidInputError: It has more requests than may ever wait.
            QueueFullError: Too many wait already.
            DeadlineError: Its deadline is over.
        """
        with self._lock:
            if self._is_retired:
                return False
            if not self._is_open:
                raise ClosedError("an answer requested", "the engine takes no requests", "start one, or ask another")
            try:
                self._check(call)
            except CapacityError as error:
                self.counters.refused[type(error).__name__] += 1
                raise
            self.counters.submitted += 1
            self._open.add(call)
            self._incoming.append(call)
            self._work_there.notify()
        if not call.requests:
            self._complete(call)
        return True

    def cancel(self, call: Call) -> None:
        """Forget a call whose owner has gone, before the next step. Takes no lock: a finalizer may call it anywhere."""
        call.is_unwanted = True

    def copy_counters(self) -> Counters:
        """What the counters are at now."""
        with self._lock:
            return deepcopy(self.counters)

    def retire(self) -> None:
        """Let another version have the calls that come, answer those that came, and end."""
        with self._lock:
            self._is_retired = True
        self.drain()
        self.close()

    def shut(self) -> None:
        """Let no more calls in."""
        with self._lock:
            self._is_open = False

    def drain(self, timeout_seconds: float | None = None) -> bool:
        """Let no more calls in, and wait until all have come to an end.

        Returns:
            Whether they have; False if the time ran out before.
        """
        with self._lock:
            self._is_open = False
            return self._all_over.wait_for(lambda: not self._open, timeout_seconds)

    def close(self) -> None:
        """Let no more calls in, end those there are with a `ClosedError`, and the thread."""
        with self._lock:
            self._is_open, self._is_closing = False, True
            calls = list(self._open)
            self._work_there.notify()
        error = ClosedError("an answer requested", "the engine closed before", "ask another one; drain() waits for all")
        for call in calls:
            self.settle(call, error)
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._thread.join(self._timeout)
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join(self._timeout)

    def part_done(self, call: Call) -> None:
        """Take note that a request of a call is done; called by the thread that writes."""
        now = self._clock()
        if self._left_at is not None:
            self._leave_seconds += 0.1 * (now - self._left_at - self._leave_seconds)
        self._left_at = now
        if all(texts is not None for texts in call.texts):
            call.ended = now
            self._complete(call)

    def settle(self, call: Call, error: OrtolanError) -> None:
        """End a call with an error, once."""
        with self._lock:
            if not self._end(call):
                return
            if isinstance(error, CapacityError):
                self.counters.refused[type(error).__name__] += 1
                self.counters.dropped += 1
            else:
                self.counters.failed += 1
        call.owner.deliver(call, error)

    def _check(self, call: Call) -> None:
        count = len(call.requests)
        if count > self._max_waiting:
            raise InvalidInputError(
                f"{count} texts at once requested", f"at most {self._max_waiting} may wait", "send fewer at a time"
            )
        if call.due <= self._clock():
            raise self._too_late(call, "that time is over")
        if (waiting := self.num_waiting) + count > self._max_waiting:
            wait_ms = max(1.0, (self._leave_seconds or FIRST_GUESS_SECONDS) * 1e3)
            raise QueueFullError(
                f"an answer by '{self.name}' requested",
                f"{waiting} texts wait of at most {self._max_waiting}",
                f"try again in {wait_ms:.0f} ms",
                retry_after_ms=wait_ms,
            )

    def _too_late(self, call: Call, found: str) -> DeadlineError:
        return DeadlineError(
            f"an answer by '{self.name}' within {call.deadline_ms:.0f} ms requested",
            found,
            "allow more time, or ask for fewer tokens",
            deadline_ms=call.deadline_ms,
        )

    def _end(self, call: Call) -> bool:
        """Say that a call has come to an end, with the lock; False if that was done before."""
        if call.is_over:
            return False
        call.is_over = True
        for request in call.requests:
            request.is_cancelled = True
        self._open.discard(call)
        if not self._open:
            self._all_over.notify_all()
        self._work_there.notify()  # seats are to be freed
        return True

    def _complete(self, call: Call) -> None:
        """Make the result of a call, and tell its owner."""
        outcome: Any
        start = self._clock()
        try:
            outcome = call.owner.finish(call)
        except OrtolanError as error:
            self.settle(call, error)
            return
        except Exception as error:  # noqa: BLE001  # a bug must not take the thread along
            self.settle(call, _broken("a result", error))
            return
        call.postprocess_seconds = self._clock() - start
        with self._lock:
            if not self._end(call):
                return
            stages = (call.tokenize_seconds, call.queue_seconds, call.run_seconds, call.postprocess_seconds)
            self.counters.add_answer([seconds * 1e3 for seconds in stages])
        call.owner.deliver(call, outcome)

    def _work(self) -> None:
        goes_on = False
        while True:
            with self._lock:
                while not (goes_on or self._incoming or self._is_closing):
                    self._work_there.wait()
                if self._is_closing:
                    break
                incoming, self._incoming = self._incoming, []
            try:
                self._take(incoming)
                self._sweep()
                goes_on = self._scheduler.step(self._stop)
            except Exception as error:  # noqa: BLE001  # as above
                self._begin_anew(_broken("a text", error))
                goes_on = False
            self._note()
        self._scheduler.fail_all(ClosedError("a text requested", "the engine closed", "ask another one"))

    def _take(self, calls: Sequence[Call]) -> None:
        for call in calls:
            try:
                for request in call.requests:
                    self._scheduler.add(request)
            except OrtolanError as error:
                self.settle(call, error)

    def _begin_anew(self, error: OrtolanError) -> None:
        """Give up a scheduler that is broken, with all that it was at."""
        with self._lock:
            calls = [call for call in self._open if call not in self._incoming]
            self.counters.replaced_workers += 1
        for call in calls:
            self.settle(call, error)
        self._scheduler = self._make()

    def _note(self) -> None:
        """Count what was done."""
        work, self._scheduler.work = self._scheduler.work, Work()
        with self._lock:
            self.counters.batches += work.steps + work.chunks
            self.counters.rows += work.rows
            self.counters.tokens += work.read + work.rows
            self.counters.padding += work.padding

    def _sweep(self) -> None:
        """End the calls that nobody wants any more, and those whose time is over."""
        now = self._clock()
        with self._lock:
            for call in [call for call in self._open if call.is_unwanted]:
                self._end(call)
                self.counters.cancelled += 1
            late = [call for call in self._open if now >= call.due]
        for call in late:
            is_written = any(request.begun is not None for request in call.requests)
            self.settle(call, self._too_late(call, "it was still written" if is_written else "its turn did not come"))


def _broken(what: str, error: Exception) -> SessionError:
    raised = SessionError(f"{what} requested", f"writing it failed: {error!r}", "please report this")
    raised.__cause__ = error
    return raised
