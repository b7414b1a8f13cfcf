"""The waiting line of a model: in the order of urgency, bounded, each text once however many want it."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Hashable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from ortolan.batch.costs import CostTable
from ortolan.batch.counters import Counters
from ortolan.batch.policy import WINDOW, Limits, Waiting, can_make_it, choose_run
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Entry, Job, Ticket
from ortolan.errors import DeadlineError, InvalidInputError, QueueFullError

_numbers = count()
"""Tell entries apart that are equally urgent: who came first goes first."""


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
        self._line: list[Entry] = []
        self._by_key: dict[Hashable, Entry] = {}
        self._backlog = 0.0

    @property
    def has_waiting(self) -> bool:
        """Whether a text waits."""
        return bool(self._line)

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

    def check(self, ticket: Ticket, now: float) -> None:
        """See whether a request may join the line.

        Raises:
            InvalidInputError: It has more texts than may ever wait.
            QueueFullError: Too many texts wait already.
            DeadlineError: It can't be answered in time.
        """
        self._check_room(len(ticket.texts))
        if ticket.due == math.inf or not ticket.texts:
            return
        longest = Waiting(ticket.longest, ticket.arrival, ticket.due, ticket.priority)
        ahead = self.seconds_ahead(longest)
        if not can_make_it(longest, now, self.costs.values(), ahead):
            raise too_late(ticket, f"{ahead * 1e3:.0f} ms of work are before it")

    def join(self, ticket: Ticket, place: int, now: float) -> None:
        """Let a text wait, together with its like if that waits already."""
        text, waiting = ticket.texts[place], ticket.waiting(place)
        entry = self._by_key.get(text.key)
        if entry is None:
            self.slots.come({width: table.seconds(1, text.length) for width, table in self.costs.items()}, now)
            entry = Entry(text, waiting, (waiting.urgency, next(_numbers)), [])
            self._add(entry)
        elif waiting.urgency < entry.waiting.urgency or waiting.is_alone > entry.waiting.is_alone:
            self._remove(entry)
            urgent = min(waiting, entry.waiting, key=lambda one: one.urgency)
            entry.waiting = replace(urgent, is_alone=waiting.is_alone or entry.waiting.is_alone)
            entry.order = (urgent.urgency, entry.order[1])
            self._add(entry)
        self._by_key[text.key] = entry
        self._board(entry, ticket, place)

    def join_alone(self, ticket: Ticket, place: int) -> None:
        """Let a text wait that runs with no other, and for nobody else."""
        waiting = ticket.waiting(place, is_alone=True)
        entry = Entry(ticket.texts[place], waiting, (waiting.urgency, next(_numbers)), [])
        self._add(entry)
        self._board(entry, ticket, place)

    def leave(self, ticket: Ticket) -> None:
        """Take what waits of a request out of the line."""
        for entry in dict.fromkeys(ticket.entries):  # equal texts of a request are in one entry
            riders = [rider for rider in entry.riders if rider[0] is not ticket]
            self.num_waiting -= len(entry.riders) - len(riders)
            entry.riders = riders
            if not riders:
                self._remove(entry)
        ticket.entries.clear()

    def start(self, now: float) -> Job | None:
        """Take the texts out of the line that run now; None if nothing can run."""
        slots, line = self.slots, self._line
        busy = slots.all_free_at(now) - now if slots.running else math.inf
        waiting = [entry.waiting for entry in line[:WINDOW]]
        run = choose_run(waiting, self.costs, self.limits, now, slots.free, busy, slots.load(now))
        if run is None:
            return None
        entries = [line[row] for row in run.rows]
        for entry in entries:
            self._remove(entry)
            self.num_waiting -= len(entry.riders)
            for ticket, _ in entry.riders:
                ticket.entries.remove(entry)
                if ticket.started is None:
                    ticket.started = now
        self.num_running += 1
        job = Job(self, entries, run.num_threads, run.seconds, now)
        slots.take(job)
        return job

    def next_start(self, now: float) -> float:
        """When the first of the line, if it waits for company or for a wider run, starts without; or infinity."""
        if not self._line or not self.slots.free:
            return math.inf
        times = (self._line[0].waiting.arrival + self.limits.max_wait_seconds, self.slots.overdue_at(now))
        return min((time for time in times if time > now), default=math.inf)

    def tickets(self) -> list[Ticket]:
        """Requests with texts in the line."""
        return list(dict.fromkeys(ticket for entry in self._line for ticket, _ in entry.riders))

    def _check_room(self, asked: int) -> None:
        if asked > self.max_queue:
            raise InvalidInputError(
                f"{asked} texts at once requested", f"at most {self.max_queue} may wait", "send fewer at a time"
            )
        if self.num_waiting + asked > self.max_queue:
            wait_ms = max(1.0, self._backlog / 2 * 1e3)
            raise QueueFullError(
                f"an answer by '{self.name}' requested",
                f"{self.num_waiting} texts wait of at most {self.max_queue}",
                f"try again in {wait_ms:.0f} ms",
                retry_after_ms=wait_ms,
            )

    def _board(self, entry: Entry, ticket: Ticket, place: int) -> None:
        entry.riders.append((ticket, place))
        ticket.entries.append(entry)
        self.num_waiting += 1

    def _add(self, entry: Entry) -> None:
        insort(self._line, entry, key=lambda other: other.order)
        entry.price = self.price(entry.text.length)
        self._backlog += entry.price

    def _remove(self, entry: Entry) -> None:
        position = bisect_left(self._line, entry.order, key=lambda other: other.order)
        assert self._line[position] is entry
        del self._line[position]
        self._backlog = max(0.0, self._backlog - entry.price) if self._line else 0.0
        if self._by_key.get(entry.text.key) is entry:
            del self._by_key[entry.text.key]


def too_late(ticket: Ticket, found: str) -> DeadlineError:
    """Say that a request is not answered in time, and why."""
    return DeadlineError(
        f"an answer by '{ticket.group.name}' within {ticket.deadline_ms:.0f} ms requested",
        found,
        "allow more time, or send less",
        deadline_ms=ticket.deadline_ms,
    )
