"""The threads of an engine: workers that run what the policy chooses, and one that watches over them and the clock."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol

from ortolan.batch.counters import Counters
from ortolan.batch.group import Group
from ortolan.batch.queue import Queue
from ortolan.batch.tickets import Job, Ticket
from ortolan.errors import ClosedError, NonFiniteError, OrtolanError, SessionError

LOOK_SECONDS = 1.0
"""So often at least the watcher looks whether all workers are alive."""

HANGS_AFTER = 20.0
"""A run that takes so many times as long as expected hangs, if it also takes longer than the limit that was set."""


class Service(Protocol):
    """What the workers do their work with."""

    def run(self, job: Job) -> Sequence[Any]:
        """Answer the payloads of a job, in their order.

        Raises:
            OrtolanError: That failed.
        """

    def stop(self, job: Job) -> None:
        """Let a run under way end soon, if that is possible. Its answers are not wanted any more."""

    def decode(self, ticket: Ticket) -> Any:
        """Make a result of the answers to a request.

        Raises:
            OrtolanError: There is none.
        """

    def deliver(self, ticket: Ticket, outcome: Any) -> None:
        """Tell the owner of a request the result, or the `OrtolanError` in its place."""


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread, and what it is at.

    Attributes:
        thread: The thread.
        job: What it runs, or decodes.
        complete: Requests that it makes results of.
        is_lost: Whether it hangs, and another one has taken its place.
    """

    thread: threading.Thread | None = None
    job: Job | None = None
    complete: list[Ticket] = field(default_factory=list)
    is_lost: bool = False


class Workers:
    """Threads that answer the requests of a queue.

    Attributes:
        queue: What waits. To be touched with the lock of the workers alone, which all methods here take.
    """

    def __init__(
        self,
        queue: Queue,
        service: Service,
        num_workers: int,
        run_timeout_seconds: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare; `start` starts the threads.

        Args:
            queue: What waits.
            service: What answers.
            num_workers: How many threads: as many as runs go side by side.
            run_timeout_seconds: A run that takes longer hangs, unless much time was expected of it.
            clock: Seconds from any moment on.
        """
        self.queue = queue
        self._service = service
        self._num_workers = num_workers
        self._timeout = run_timeout_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._work_there = threading.Condition(self._lock)
        self._watcher_needed = threading.Condition(self._lock)
        self._all_answered = threading.Condition(self._lock)
        self._workers: list[_Worker] = []
        self._watcher: threading.Thread | None = None
        self._watcher_sleeps_until = math.inf
        self._takes_requests = False
        self._is_closing = False

    @property
    def is_open(self) -> bool:
        """Whether requests are let in."""
        return self._takes_requests

    def start(self) -> None:
        """Start the threads, and let requests in."""
        with self._lock:
            self._takes_requests = True
            for _ in range(self._num_workers):
                self._hire()
            self._watcher = threading.Thread(target=self._watch, name="ortolan-watcher", daemon=True)
            self._watcher.start()

    def put(self, ticket: Ticket) -> bool:
        """Let a request wait.

        Returns:
            Whether it does; False if its group has been replaced by another one.

        Raises:
            ClosedError: No requests are let in.
            InvalidInputError, QueueFullError, DeadlineError: See `Queue.put`.
        """
        with self._lock:
            self._check_open("an answer requested")
            if not ticket.group.is_open:
                return False
            self.queue.put(ticket, self._clock())
            if ticket.group.slots.free:
                self._work_there.notify()
            if self.queue.next_alarm() < self._watcher_sleeps_until:
                self._watcher_needed.notify()
        if not ticket.texts:
            self._complete(ticket)  # no run will end, and with it the request
        return True

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request whose owner has gone."""
        with self._lock:
            self.queue.cancel(ticket)
            self._look_whether_all_answered()

    def copy_of(self, counters: Counters) -> Counters:
        """What some counters are at now."""
        with self._lock:
            return deepcopy(counters)

    def add(self, group: Group) -> None:
        """Let a group have requests.

        Raises:
            ClosedError: No requests are let in.
        """
        with self._lock:
            self._check_open("another version requested")
            self.queue.groups.append(group)

    def retire(self, group: Group) -> None:
        """Let a group have no more requests, wait until it has answered those it has, and forget it."""
        with self._lock:
            group.is_open = False
            while not group.is_idle and self._workers:
                self._all_answered.wait(LOOK_SECONDS)
            self.queue.groups.remove(group)

    def drain(self, timeout_seconds: float | None = None) -> bool:
        """Let no more requests in, and wait until all have come to an end.

        Returns:
            Whether they have; False if the time ran out before.
        """
        with self._lock:
            self._takes_requests = False
            return self._all_answered.wait_for(lambda: not self.queue.num_open, timeout_seconds)

    def close(self) -> None:
        """Let no more requests in, end those that have not started with a `ClosedError`, and the threads.

        Runs under way are waited for, unless they hang.
        """
        with self._lock:
            self._takes_requests = False
            self._is_closing = True
            self.queue.close()
            told = self._take_settled()
            self._work_there.notify_all()
            workers = list(self._workers)
        self._tell(told)
        for worker in workers:
            if worker.thread is not None and worker.thread is not threading.current_thread():
                while worker.thread.is_alive() and not worker.is_lost:
                    worker.thread.join(LOOK_SECONDS)
        with self._lock:
            self._workers.clear()
            self._watcher_needed.notify_all()
        if self._watcher is not None and self._watcher is not threading.current_thread():
            self._watcher.join()

    def _check_open(self, asked: str) -> None:
        if not self._takes_requests:
            raise ClosedError(asked, "the engine takes no requests", "start one, or ask another")

    def _hire(self) -> None:
        worker = _Worker()
        worker.thread = threading.Thread(target=self._work, args=(worker,), name="ortolan-worker", daemon=True)
        self._workers.append(worker)
        worker.thread.start()

    def _work(self, worker: _Worker) -> None:
        try:
            while (job := self._take(worker)) is not None:
                self._serve(worker, job)
        finally:
            # also where something killed the thread: what it was at must not hang, nor the engine lose a worker
            with self._lock:
                told = self._dismiss(worker)
            self._tell(told)

    def _take(self, worker: _Worker) -> Job | None:
        """Wait for something to run; None when there is nothing more to do."""
        while True:
            with self._lock:
                if worker.is_lost:
                    return None
                job = self.queue.next_job(self._clock())
                told = self._take_settled()
                if job is None and not told:
                    if self._is_closing:
                        return None
                    now = self._clock()
                    start = self.queue.next_start(now)
                    self._work_there.wait(None if start is None else start - now)
                    continue
                worker.job = job
                if job is not None:
                    self._after_start(job)
            self._tell(told)
            if job is not None:
                return job

    def _after_start(self, job: Job) -> None:
        if job.group.slots.free and self.queue.has_waiting:
            self._work_there.notify()  # there may be more to do
        if job.started + self._limit(job) < self._watcher_sleeps_until:
            self._watcher_needed.notify()

    def _serve(self, worker: _Worker, job: Job) -> None:
        start = self._clock()
        error: OrtolanError | None = None
        answers: Sequence[Any] = ()
        try:
            answers = self._service.run(job)
        except OrtolanError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001  # a bug must not take the worker along
            error = SessionError("a run requested", f"it failed: {raised!r}", "please report this")
            error.__cause__ = raised
        seconds = self._clock() - start
        with self._lock:
            if error is None:
                worker.complete = self.queue.answered(job, answers, seconds)
            else:
                self.queue.failed(job, error, retries=True)
            told = self._take_settled()
        self._tell(told)
        for ticket in worker.complete:
            self._complete(ticket)
        with self._lock:
            worker.job, worker.complete = None, []
            # not before: a run beside the Python of decoding would be in its way, and it in the way of the run
            self.queue.release(job)
            if error is None:
                job.group.costs[job.num_threads].observe(len(job.entries), job.width, seconds)
            self._look_whether_all_answered()

    def _complete(self, ticket: Ticket) -> None:
        """Make the result of a request, and tell its owner."""
        outcome: Any
        start = self._clock()
        try:
            outcome = self._service.decode(ticket)
        except OrtolanError as raised:
            outcome = raised
        except Exception as raised:  # noqa: BLE001  # as above
            outcome = SessionError("a result requested", f"decoding failed: {raised!r}", "please report this")
            outcome.__cause__ = raised
        ticket.postprocess_seconds = self._clock() - start
        with self._lock:
            if isinstance(outcome, NonFiniteError) and ticket.batch_size > 1 and not ticket.was_retried:
                # perhaps another text's: with dynamic quantization the texts of a batch share a scale
                self.queue.retry(ticket, range(len(ticket.texts)))
                self._work_there.notify()
                return
            self.queue.expire(self._clock())
            if isinstance(outcome, OrtolanError):
                self.queue.settle(ticket, outcome)
                is_wanted = False
            else:
                is_wanted = self.queue.finish(ticket)
            told = self._take_settled()
            self._look_whether_all_answered()
        self._tell(told)
        if is_wanted:
            self._service.deliver(ticket, outcome)

    def _watch(self) -> None:
        """Drop requests whose time is up, and see that no run hangs and no worker is missing."""
        while True:
            with self._lock:
                if self._is_closing and not self._workers:
                    return
                now = self._clock()
                self.queue.expire(now)
                hung = self._hung(now)
                for worker, job in hung:
                    worker.is_lost = True
                    self.queue.failed(job, _hangs(job, now), retries=False)
                missing = [worker for worker in self._workers if worker.thread and not worker.thread.is_alive()]
                told = self._take_settled()
                for worker in [*missing, *(worker for worker, _ in hung)]:
                    told += self._dismiss(worker)
                self._look_whether_all_answered()
                if not told and not hung:
                    self._sleep(now)
            for _, job in hung:
                self._service.stop(job)
            self._tell(told)

    def _sleep(self, now: float) -> None:
        limits = [worker.job.started + self._limit(worker.job) for worker in self._workers if worker.job]
        self._watcher_sleeps_until = min([self.queue.next_alarm(), now + LOOK_SECONDS, *limits])
        # an alarm is for what is past it, not at it
        self._watcher_needed.wait(max(0.0, self._watcher_sleeps_until - now) + 1e-4)
        self._watcher_sleeps_until = math.inf

    def _hung(self, now: float) -> list[tuple[_Worker, Job]]:
        return [
            (worker, worker.job)
            for worker in self._workers
            if worker.job is not None and not worker.is_lost and now > worker.job.started + self._limit(worker.job)
        ]

    def _limit(self, job: Job) -> float:
        return max(self._timeout, HANGS_AFTER * job.expected_seconds)

    def _dismiss(self, worker: _Worker) -> list[tuple[Ticket, OrtolanError]]:
        """Forget a worker, whatever it was at, and hire another one if it is needed; once."""
        if worker not in self._workers:
            return []
        self._workers.remove(worker)
        if worker.job is not None:
            error = SessionError(
                "an answer requested",
                "the thread that ran it died",
                "ask again; if it happens again, please report this",
            )
            self.queue.failed(worker.job, error, retries=False)
            self.queue.release(worker.job)
            for ticket in worker.complete:
                self.queue.settle(ticket, error)
        if not self._is_closing:
            groups = [worker.job.group] if worker.job is not None else self.queue.groups
            for group in groups:
                group.counters.replaced_workers += 1
            self._hire()
            self._work_there.notify()
        self._look_whether_all_answered()
        return self._take_settled()

    def _look_whether_all_answered(self) -> None:
        if not self.queue.num_open or any(group.is_idle for group in self.queue.groups):
            self._all_answered.notify_all()

    def _take_settled(self) -> list[tuple[Ticket, OrtolanError]]:
        told, self.queue.settled = self.queue.settled, []
        return told

    def _tell(self, told: Sequence[tuple[Ticket, OrtolanError]]) -> None:
        for ticket, error in told:
            self._service.deliver(ticket, error)


def _hangs(job: Job, now: float) -> SessionError:
    return SessionError(
        f"a run of {len(job.payloads)} texts of up to {job.width} tokens requested",
        f"it hangs: {now - job.started:.1f} s, and {job.expected_seconds:.3f} s were expected",
        "ask again; raise run_timeout_ms if that is not enough time",
    )
