"""The waiting line: bounded, in the order of urgency, without duplicates, the late and the cancelled dropped.

A state without clock and thread: whoever calls says what time it is, and locks. What became of requests gathers in
`Queue.settled` until it is taken from there, so that nobody is told anything while the line is locked.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ortolan.batch.costs import CostTable
from ortolan.batch.counters import Counters
from ortolan.batch.policy import WINDOW, Limits, Waiting, can_make_it, choose_run
from ortolan.errors import (
    CapacityError,
    ClosedError,
    DeadlineError,
    InvalidInputError,
    OrtolanError,
    QueueFullError,
)

OVERDUE = 0.25
"""A run that takes longer than expected by this share: nobody plans with its end any more."""

STALE_ALARMS = 64
"""So many alarms of requests that have ended may be kept: clearing each away at once would take longer."""


@dataclass(slots=True)
class Slots:
    """Threads that runs share; or where runs need a device and no threads, devices.

    Attributes:
        total: How many there are.
        free: How many nobody uses.
        running: Jobs that use the others.
    """

    total: int
    free: int = field(init=False)
    running: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = self.total

    def all_free_at(self, now: float) -> float:
        """When all will be free; infinity if a run takes so long already that nobody can tell."""
        ends = [job.started + job.expected_seconds for job in self.running]
        is_overdue = any(
            now > end + OVERDUE * job.expected_seconds for job, end in zip(self.running, ends, strict=True)
        )
        return math.inf if is_overdue else max([now, *ends])

    def overdue_at(self, now: float) -> float:
        """When what `all_free_at` says turns to infinity, unless runs end before."""
        ends = [job.started + (1 + OVERDUE) * job.expected_seconds for job in self.running]
        return min((end for end in ends if end > now), default=math.inf)


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a request.

    Attributes:
        payload: What is run.
        length: Its tokens.
        key: Equal for texts that have equal answers.
    """

    payload: Any
    length: int
    key: Hashable


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way.

    Attributes:
        group: What answers it.
        texts: What it asks. None for an empty list, or a context without a token: its answer needs no run.
        arrival: When it came, seconds on the clock of all.
        due: When its answer is of no use any more.
        priority: Higher goes first.
        is_alone: Whether its texts must not share a batch.
        asked: What its owner needs to know again when it is answered.
        tokenize_seconds: How long its owner took to make texts of it.
        answers: Of its texts, in their order; complete when `missing` is 0.
        missing: How many texts have no answer yet.
        started: When its first text ran; None before.
        run_seconds: Duration of the runs that its texts were in.
        batch_size: Texts of the largest of them.
        num_tokens: Tokens of these runs, padding left out.
        num_padding: Tokens of padding.
        postprocess_seconds: How long it took to make a result of its answers.
        is_settled: Whether its owner has been told what became of it, or asked not to be.
        was_retried: Whether its texts ran alone because something was wrong with a batch.
    """

    group: Group
    texts: Sequence[Text]
    arrival: float
    due: float = math.inf
    priority: int = 0
    is_alone: bool = False
    asked: Any = None
    tokenize_seconds: float = 0.0
    answers: list[Any] = field(default_factory=list)
    missing: int = 0
    started: float | None = None
    run_seconds: float = 0.0
    batch_size: int = 0
    num_tokens: int = 0
    num_padding: int = 0
    postprocess_seconds: float = 0.0
    is_settled: bool = False
    was_retried: bool = False
    _entries: list[_Entry] = field(default_factory=list)

    @property
    def queue_seconds(self) -> float:
        """How long it waited until its first text ran."""
        waited = self.arrival if self.started is None else self.started
        return max(0.0, waited - self.arrival - self.tokenize_seconds)

    @property
    def padding_share(self) -> float:
        """Which part of the tokens of its runs was padding."""
        return self.num_padding / max(1, self.num_padding + self.num_tokens)

    @property
    def deadline_ms(self) -> float:
        """Its deadline, milliseconds from its arrival."""
        return (self.due - self.arrival) * 1e3

    @property
    def longest(self) -> int:
        """Tokens of its longest text; 0 without any."""
        return max((text.length for text in self.texts), default=0)


@dataclass(slots=True, eq=False)
class _Entry:
    """A text in the line, on behalf of all that wait for its answer."""

    text: Text
    waiting: Waiting
    order: tuple[float, int]
    riders: list[tuple[Ticket, int]]
    price: float = 0.0


@dataclass(slots=True, eq=False)
class Job:
    """Texts that run together.

    Attributes:
        group: What runs them.
        payloads: The texts, each once.
        width: Tokens of the longest.
        num_threads: How many threads, or devices, the run has.
        expected_seconds: How long it will take, going by the cost table.
        started: When it started.
        is_released: Whether its threads were given back.
        is_over: Whether its answers are there, or not wanted any more.
    """

    group: Group
    payloads: list[Any]
    width: int
    num_threads: int
    expected_seconds: float
    started: float
    is_released: bool = False
    is_over: bool = False
    _entries: list[_Entry] = field(default_factory=list)


class Group:
    """Requests that may share a batch: those for one version of a model.

    Attributes:
        name: Of the model.
        costs: For each number of threads that a run may have, what runs cost.
        limits: What a batch may not exceed.
        max_queue: Most texts that wait.
        slots: The threads it shares with others.
        counters: What became of its requests.
        num_running: How many of its jobs are under way.
        num_waiting: Texts in its line, equal ones counted each.
        is_open: Whether it gets new requests.
        owner: What runs its texts.
    """

    def __init__(
        self,
        name: str,
        costs: Mapping[int, CostTable],
        limits: Limits,
        max_queue: int,
        slots: Slots,
        counters: Counters | None = None,
        owner: Any = None,
    ) -> None:
        self.name = name
        self.owner = owner
        self.costs = costs
        self.limits = limits
        self.max_queue = max_queue
        self.slots = slots
        self.counters = counters or Counters()
        self.num_running = 0
        self.num_waiting = 0
        self.is_open = True
        self._line: list[_Entry] = []
        self._by_key: dict[Hashable, _Entry] = {}
        self._backlog = 0.0

    @property
    def backlog_seconds(self) -> float:
        """How long all threads take at least for the texts that wait."""
        return self._backlog

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._line and not self.num_running

    @property
    def urgency(self) -> float:
        """Of the text that goes first; infinity if there is none."""
        return self._line[0].waiting.urgency if self._line else math.inf

    def seconds_ahead(self, waiting: Waiting) -> float:
        """How long all threads take at least for the texts that go before one."""
        if not self._line or waiting.urgency >= self._line[-1].waiting.urgency:
            return self._backlog
        before = bisect_left(self._line, (waiting.urgency, -1), key=lambda entry: entry.order)
        return self._backlog * before / len(self._line)

    def price(self, length: int) -> float:
        """Least seconds of all threads that a text of this length takes."""
        return min(table.price(length) * width for width, table in self.costs.items()) / self.slots.total

    def _add(self, entry: _Entry) -> None:
        insort(self._line, entry, key=lambda other: other.order)
        entry.price = self.price(entry.text.length)
        self._backlog += entry.price

    def _remove(self, entry: _Entry) -> None:
        position = bisect_left(self._line, entry.order, key=lambda other: other.order)
        assert self._line[position] is entry
        del self._line[position]
        self._backlog = max(0.0, self._backlog - entry.price) if self._line else 0.0
        if self._by_key.get(entry.text.key) is entry:
            del self._by_key[entry.text.key]


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
        self._numbers = count()
        self._alarms: list[tuple[float, int, Ticket]] = []
        self._num_stale = 0

    def put(self, ticket: Ticket, now: float) -> None:
        """Let a request wait.

        Raises:
            InvalidInputError: It has more texts than may ever wait.
            QueueFullError: Too many texts wait already.
            DeadlineError: It can't be answered in time.
        """
        group, counters = ticket.group, ticket.group.counters
        try:
            self._check_room(ticket)
            self._check_time(ticket, now)
        except CapacityError as error:
            counters.refused[type(error).__name__] += 1
            raise
        counters.submitted += 1
        self.num_open += 1
        ticket.answers, ticket.missing = [None] * len(ticket.texts), len(ticket.texts)
        for place, text in enumerate(ticket.texts):
            self._wait(ticket, place, text)
        group.num_waiting += len(ticket.texts)
        if ticket.due < math.inf:
            quickest = min(table.seconds(1, ticket.longest) for table in group.costs.values())
            heapq.heappush(self._alarms, (ticket.due - quickest, next(self._numbers), ticket))

    def next_job(self, now: float) -> Job | None:
        """Take the texts out of the line that run now; None if nothing can run."""
        self.expire(now)
        busy: list[Slots] = []
        for group in sorted(self.groups, key=lambda group: group.urgency):
            # threads that are too few for the most urgent group are kept for it, or it would wait for ever
            if not group._line or any(slots is group.slots for slots in busy):
                continue
            if (job := self._start(group, now)) is not None:
                return job
            busy.append(group.slots)
        return None

    def release(self, job: Job, seconds: float | None) -> None:
        """Give back the threads of a job, and learn from how long it took; None for one that failed."""
        if job.is_released:
            return
        job.is_released = True
        job.group.slots.free += job.num_threads
        job.group.slots.running.remove(job)
        if seconds is not None:
            job.group.costs[job.num_threads].observe(len(job.payloads), job.width, seconds)

    def answered(self, job: Job, answers: Sequence[Any], seconds: float) -> list[Ticket]:
        """Hand out the answers of a job, one for each payload.

        Returns:
            Requests that are complete now.
        """
        if not self._end(job):
            return []
        counters = job.group.counters
        real = sum(entry.text.length for entry in job._entries)
        counters.add_batch(len(job.payloads), real, job.width * len(job.payloads) - real)
        complete = []
        for ticket in dict.fromkeys(ticket for entry in job._entries for ticket, _ in entry.riders):
            ticket.run_seconds += seconds
            ticket.batch_size = max(ticket.batch_size, len(job.payloads))
            ticket.num_tokens += real
            ticket.num_padding += job.width * len(job.payloads) - real
        for entry, answer in zip(job._entries, answers, strict=True):
            counters.duplicates += len(entry.riders) - 1
            for ticket, place in entry.riders:
                if ticket.is_settled:
                    continue
                ticket.answers[place] = answer
                ticket.missing -= 1
                if not ticket.missing:
                    complete.append(ticket)
        return complete

    def failed(self, job: Job, error: OrtolanError, *, retries: bool) -> None:
        """Say that a job failed: its texts run again, each alone, or if they did or shall not, their requests fail."""
        if not self._end(job):
            return
        for entry in job._entries:
            if retries and len(job.payloads) > 1:
                for ticket, place in entry.riders:
                    self.retry(ticket, [place])
                continue
            for ticket, _ in entry.riders:
                self.settle(ticket, error)

    def retry(self, ticket: Ticket, places: Iterable[int]) -> None:
        """Let texts of a request run again, each alone, in the turn that the request had."""
        if ticket.is_settled:
            return
        ticket.was_retried = True
        for place in places:
            text = ticket.texts[place]
            if ticket.answers[place] is not None:
                ticket.answers[place] = None
                ticket.missing += 1
            waiting = Waiting(text.length, ticket.arrival, ticket.due, ticket.priority, is_alone=True)
            entry = _Entry(text, waiting, (waiting.urgency, next(self._numbers)), [(ticket, place)])
            ticket.group._add(entry)
            ticket._entries.append(entry)
            ticket.group.num_waiting += 1
            ticket.group.counters.retried += 1

    def settle(self, ticket: Ticket, error: OrtolanError) -> None:
        """End a request with an error, whatever of it waits; once."""
        if self._leave(ticket):
            if isinstance(error, CapacityError):
                ticket.group.counters.refused[type(error).__name__] += 1
                ticket.group.counters.dropped += 1
            else:
                ticket.group.counters.failed += 1
            self.settled.append((ticket, error))

    def finish(self, ticket: Ticket) -> bool:
        """Say that the owner of a request gets its result; False if it has been told something else before."""
        if ticket.is_settled:
            return False
        self._end_of(ticket)
        taken = (ticket.tokenize_seconds, ticket.queue_seconds, ticket.run_seconds, ticket.postprocess_seconds)
        ticket.group.counters.add_answer([seconds * 1e3 for seconds in taken])
        return True

    def cancel(self, ticket: Ticket) -> None:
        """Forget a request whose owner has gone."""
        if self._leave(ticket):
            ticket.group.counters.cancelled += 1

    def expire(self, now: float) -> None:
        """End the requests that can't be answered in time any more."""
        while self._alarms and self._alarms[0][0] < now:
            _, _, ticket = heapq.heappop(self._alarms)
            if ticket.is_settled:
                self._num_stale = max(0, self._num_stale - 1)
                continue
            if ticket.started is not None and now <= ticket.due:
                # it runs, and is of use until the very end
                heapq.heappush(self._alarms, (ticket.due, next(self._numbers), ticket))
                continue
            if ticket.started is None:
                found = f"its turn did not come within {(now - ticket.arrival) * 1e3:.0f} ms"
            else:
                found = "its run took longer"
            self.settle(ticket, _too_late(ticket, found))
            self._num_stale = max(0, self._num_stale - 1)  # its alarm is gone already

    def next_start(self, now: float) -> float | None:
        """When a text that waits for company, or for a wider run, starts without it; None if none does."""
        times = [math.inf]
        for group in self.groups:
            if group._line and group.slots.free:
                times += [group._line[0].waiting.arrival + group.limits.max_wait_seconds, group.slots.overdue_at(now)]
        soonest = min((time for time in times if time > now), default=math.inf)
        return None if soonest == math.inf else soonest

    def next_alarm(self) -> float:
        """When `expire` is to be called at the latest; infinity if nobody has a deadline."""
        return self._alarms[0][0] if self._alarms else math.inf

    def close(self) -> None:
        """End all requests that have not started."""
        error = ClosedError(
            "an answer requested", "the engine closed before", "ask another one, or drain before closing"
        )
        for group in self.groups:
            for entry in list(group._line):
                for ticket, _ in list(entry.riders):
                    self.settle(ticket, error)

    def _check_room(self, ticket: Ticket) -> None:
        group, asked = ticket.group, len(ticket.texts)
        if asked > group.max_queue:
            raise InvalidInputError(
                f"{asked} texts at once requested", f"at most {group.max_queue} may wait", "send fewer at a time"
            )
        if group.num_waiting + asked > group.max_queue:
            wait_ms = max(1.0, group.backlog_seconds / 2 * 1e3)
            raise QueueFullError(
                f"an answer by '{group.name}' requested",
                f"{group.num_waiting} texts wait of at most {group.max_queue}",
                f"try again in {wait_ms:.0f} ms",
                retry_after_ms=wait_ms,
            )

    def _check_time(self, ticket: Ticket, now: float) -> None:
        if ticket.due == math.inf:
            return
        longest = Waiting(ticket.longest, ticket.arrival, ticket.due, ticket.priority)
        ahead = ticket.group.seconds_ahead(longest)
        if not can_make_it(longest, now, ticket.group.costs.values(), ahead):
            raise _too_late(ticket, f"{ahead * 1e3:.0f} ms of work are before it")

    def _wait(self, ticket: Ticket, place: int, text: Text) -> None:
        """Add a text to the line, or to its like that waits there."""
        group = ticket.group
        waiting = Waiting(text.length, ticket.arrival, ticket.due, ticket.priority, ticket.is_alone)
        entry = group._by_key.get(text.key)
        if entry is None:
            entry = _Entry(text, waiting, (waiting.urgency, next(self._numbers)), [])
            group._by_key[text.key] = entry
            group._add(entry)
        elif waiting.urgency < entry.waiting.urgency or waiting.is_alone > entry.waiting.is_alone:
            group._remove(entry)
            urgent = min(waiting, entry.waiting, key=lambda one: one.urgency)
            is_alone = waiting.is_alone or entry.waiting.is_alone
            entry.waiting = Waiting(text.length, urgent.arrival, urgent.due, urgent.priority, is_alone)
            entry.order = (urgent.urgency, entry.order[1])
            group._by_key[text.key] = entry
            group._add(entry)
        entry.riders.append((ticket, place))
        ticket._entries.append(entry)

    def _start(self, group: Group, now: float) -> Job | None:
        line = group._line
        slots = group.slots
        busy = slots.all_free_at(now) - now if slots.running else math.inf
        waiting = [entry.waiting for entry in line[:WINDOW]]
        run = choose_run(waiting, group.costs, group.limits, now, slots.free, busy)
        if run is None:
            return None
        entries = [line[row] for row in run.rows]
        for entry in entries:
            group._remove(entry)
            group.num_waiting -= len(entry.riders)
            for ticket, _ in entry.riders:
                ticket._entries.remove(entry)
                if ticket.started is None:
                    ticket.started = now
        slots.free -= run.num_threads
        group.num_running += 1
        payloads, width = [entry.text.payload for entry in entries], max(entry.text.length for entry in entries)
        job = Job(group, payloads, width, run.num_threads, run.seconds, now)
        job._entries = entries
        slots.running.append(job)
        return job

    def _end(self, job: Job) -> bool:
        """Count a job out; False if that was done before."""
        if job.is_over:
            return False
        self.release(job, None)
        job.is_over = True
        job.group.num_running -= 1
        return True

    def _end_of(self, ticket: Ticket) -> None:
        """Note that a request has come to an end, and clear alarms away that nobody needs before they are too many."""
        ticket.is_settled = True
        self.num_open -= 1
        if ticket.due == math.inf:
            return
        self._num_stale += 1
        if self._num_stale > max(STALE_ALARMS, len(self._alarms) // 2):
            self._alarms = [alarm for alarm in self._alarms if not alarm[2].is_settled]
            heapq.heapify(self._alarms)
            self._num_stale = 0

    def _leave(self, ticket: Ticket) -> bool:
        """Take what waits of a request out of the line; False if it has come to an end before."""
        if ticket.is_settled:
            return False
        self._end_of(ticket)
        for entry in dict.fromkeys(ticket._entries):  # equal texts of a request are in one entry
            riders = [rider for rider in entry.riders if rider[0] is not ticket]
            ticket.group.num_waiting -= len(entry.riders) - len(riders)
            entry.riders = riders
            if not riders:
                ticket.group._remove(entry)
        ticket._entries.clear()
        return True


def _too_late(ticket: Ticket, found: str) -> DeadlineError:
    return DeadlineError(
        f"an answer by '{ticket.group.name}' within {ticket.deadline_ms:.0f} ms requested",
        found,
        "allow more time, or send less",
        deadline_ms=ticket.deadline_ms,
    )
