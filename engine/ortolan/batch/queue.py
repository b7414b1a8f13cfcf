"""The lines of an engine, and what becomes of the requests in them. The late and the cancelled are dropped.

A state without clock and thread: whoever calls says what time it is, and locks. What became of requests gathers in
`Queue.settled` until it is taken from there, so that nobody is told anything while the lines are locked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ortolan.batch.alarms import Alarms
from ortolan.batch.group import Group, too_late
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Job, Ticket
from ortolan.errors import CapacityError, ClosedError, OrtolanError


class Queue:
    """All lines of an engine.

    Attributes:
        groups: Those that may have requests.
        num_open: Requests that were let in and have not come to an end.
        settled: Requests that came to an end in the line, with the error of each; to be taken and told to their owners.
    """

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.num_open = 0
        self.settled: list[tuple[Ticket, OrtolanError]] = []
        self._alarms = Alarms()

    @property
    def has_waiting(self) -> bool:
        """Whether a text waits in any line."""
        return any(group.has_waiting for group in self.groups)

    def put(self, ticket: Ticket, now: float) -> None:
        """Let a request wait.

        Raises:
            InvalidInputError: It has more texts than may ever wait.
            QueueFullError: Too many texts wait already.
            DeadlineError: It can't be answered in time.
        """
        group, counters = ticket.group, ticket.group.counters
        try:
            group.check(ticket, now)
        except CapacityError as error:
            counters.refused[type(error).__name__] += 1
            raise
        counters.submitted += 1
        self.num_open += 1
        ticket.answers, ticket.missing = [None] * len(ticket.texts), len(ticket.texts)
        for place in range(len(ticket.texts)):
            group.join(ticket, place, now)
        if ticket.due < math.inf:
            self._alarms.set(ticket, ticket.due - ticket.quickest)

    def next_job(self, now: float) -> Job | None:
        """Take the texts out of the lines that run now; None if nothing can run."""
        self.expire(now)
        kept: list[Slots] = []
        for group in sorted(self.groups, key=lambda group: group.urgency):
            # threads that are too few for the most urgent group are kept for it, or it would wait for ever
            if not group.has_waiting or any(slots is group.slots for slots in kept):
                continue
            if (job := group.start(now)) is not None:
                return job
            kept.append(group.slots)
        return None

    def next_start(self, now: float) -> float | None:
        """When a text that waits for company, or for a wider run, starts without it; None if none does."""
        soonest = min((group.next_start(now) for group in self.groups), default=math.inf)
        return None if soonest == math.inf else soonest

    def answered(self, job: Job, answers: Sequence[Any], seconds: float) -> list[Ticket]:
        """Hand out the answers of a job, one for each payload.

        Returns:
            Requests that are complete now.
        """
        if not self._end(job):
            return []
        counters = job.group.counters
        counters.add_batch(len(job.entries), job.num_tokens, job.num_padding)
        for ticket in dict.fromkeys(ticket for entry in job.entries for ticket, _ in entry.riders):
            ticket.run_seconds += seconds
            ticket.batch_size = max(ticket.batch_size, len(job.entries))
            ticket.num_tokens += job.num_tokens
            ticket.num_padding += job.num_padding
        complete = []
        for entry, answer in zip(job.entries, answers, strict=True):
            counters.duplicates += len(entry.riders) - 1
            for ticket, place in entry.riders:
                ticket.answers[place] = answer
                ticket.missing -= 1
                if not ticket.missing and not ticket.is_settled:
                    complete.append(ticket)
        return complete

    def failed(self, job: Job, error: OrtolanError, *, retries: bool) -> None:
        """Say that a job failed: its texts run again, each alone, or if they did or shall not, their requests fail."""
        if not self._end(job):
            return
        self.release(job)
        for entry in job.entries:
            for ticket, place in entry.riders:
                if retries and len(job.entries) > 1:
                    self.retry(ticket, [place])
                else:
                    self.settle(ticket, error)

    def retry(self, ticket: Ticket, places: Iterable[int]) -> None:
        """Let texts of a request run again, each alone, in the turn that the request had."""
        if ticket.is_settled:
            return
        ticket.was_retried = True
        for place in places:
            if ticket.answers[place] is not None:
                ticket.answers[place] = None
                ticket.missing += 1
            ticket.group.join_alone(ticket, place)
            ticket.group.counters.retried += 1

    def settle(self, ticket: Ticket, error: OrtolanError) -> None:
        """End a request with an error, whatever of it waits; once."""
        if not self._leave(ticket):
            return
        counters = ticket.group.counters
        if isinstance(error, CapacityError):
            counters.refused[type(error).__name__] += 1
            counters.dropped += 1
        else:
            counters.failed += 1
        self.settled.append((ticket, error))

    def finish(self, ticket: Ticket) -> bool:
        """Say that the owner of a request gets its result; False if it has been told something else before."""
        if not self._leave(ticket):
            return False
        taken = (ticket.tokenize_seconds, ticket.queue_seconds, ticket.run_seconds, ticket.postprocess_seconds)
        ticket.group.counters.add_answer([seconds * 1e3 for seconds in taken])
        return True

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request whose owner has gone."""
        if self._leave(ticket):
            ticket.group.counters.cancelled += 1

    def expire(self, now: float) -> None:
        """End the requests that can't be answered in time any more."""
        while (ticket := self._alarms.pop(now)) is not None:
            if ticket.started is not None and now <= ticket.due:
                self._alarms.set(ticket, ticket.due)  # it runs, and is of use until the very end
            elif ticket.started is not None:
                self.settle(ticket, too_late(ticket, "its run took longer"))
            else:
                waited_ms = (now - ticket.arrival) * 1e3
                self.settle(ticket, too_late(ticket, f"its turn did not come within {waited_ms:.0f} ms"))

    def next_alarm(self) -> float:
        """When `expire` is to be called at the latest; infinity if nobody has a deadline."""
        return self._alarms.next

    def close(self) -> None:
        """End all requests that have not started."""
        error = ClosedError("an answer requested", "the engine closed before", "ask another one; drain() waits for all")
        for group in self.groups:
            for ticket in group.tickets():
                self.settle(ticket, error)

    def _end(self, job: Job) -> bool:
        """Say that the answers of a job are there, or not wanted any more; False if that was done before."""
        if job.is_over:
            return False
        job.is_over = True
        return True

    def release(self, job: Job) -> None:
        """Give back the threads of a job; once."""
        if not job.is_released:
            job.is_released = True
            job.group.slots.give_back(job)
            job.group.num_running -= 1

    def _leave(self, ticket: Ticket) -> bool:
        """End a request, and take what waits of it out of the line; False if it has come to an end before."""
        if ticket.is_settled:
            return False
        ticket.is_settled = True
        self.num_open -= 1
        ticket.group.leave(ticket)
        self._alarms.forget(ticket)
        return True
