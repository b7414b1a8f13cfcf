"""A hand-moved clock over a queue: requests come, runs take what the table says, nobody sleeps."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from ortolan.batch.costs import CostTable
from ortolan.batch.group import Group
from ortolan.batch.policy import Limits
from ortolan.batch.queue import Queue
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Job, Text, Ticket
from ortolan.errors import CapacityError, OrtolanError, SessionError

# one run on two threads, and two runs side by side on one thread each, of a law like that of a small encoder
WIDE = {(1, 16): 0.0016, (8, 16): 0.0064, (1, 128): 0.0062, (8, 128): 0.048}
NARROW = {(1, 16): 0.0022, (8, 16): 0.0106, (1, 128): 0.011, (8, 128): 0.110}


def tables() -> dict[int, CostTable]:
    return {
        2: CostTable(WIDE, max_rows=16, max_length=256),
        1: CostTable(NARROW, max_rows=16, max_length=256),
    }


def group(*, limits: Limits | None = None, max_queue: int = 10_000, slots: Slots | None = None) -> Group:
    return Group("model", tables(), limits or Limits(16, 512), max_queue, slots or Slots(2))


@dataclass(frozen=True)
class Asked:
    """A request of a made-up caller."""

    at: float
    lengths: tuple[int, ...] = (16,)
    deadline: float = math.inf
    priority: int = 0
    is_alone: bool = False
    word: int | None = None
    """Requests with the same word are for the same text."""
    cancelled_after: float = math.inf


@dataclass
class Ended:
    """What became of a request, and when."""

    ticket: Ticket
    at: float
    outcome: object


@dataclass
class Traffic:
    """Requests on their way through a queue, until all have come to an end."""

    served: Group
    duration: Callable[[Job], float] = lambda job: job.expected_seconds
    fails: Callable[[Job], bool] = lambda job: False
    queue: Queue = field(default_factory=Queue)
    jobs: list[tuple[float, Job]] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    refused: list[Asked] = field(default_factory=list)
    tickets: list[Ticket] = field(default_factory=list)

    def run(self, requests: Sequence[Asked]) -> None:
        self.queue.groups.append(self.served)
        numbers = count()
        events: list[tuple[float, int, Callable[[float], None]]] = []

        def at(time: float, act: Callable[[float], None]) -> None:
            heapq.heappush(events, (time, next(numbers), act))

        def come(asked: Asked, number: int) -> Callable[[float], None]:
            def act(now: float) -> None:
                texts = [
                    Text((number, place), length, (asked.word, length) if asked.word is not None else (number, place))
                    for place, length in enumerate(asked.lengths)
                ]
                ticket = Ticket(self.served, texts, now, now + asked.deadline, asked.priority, asked.is_alone)
                ticket.asked = number
                try:
                    self.queue.put(ticket, now)
                except CapacityError:
                    self.refused.append(asked)
                    return
                self.tickets.append(ticket)
                if asked.cancelled_after < math.inf:
                    at(now + asked.cancelled_after, lambda _: self.queue.cancel(ticket))

            return act

        def over(job: Job, began: float) -> Callable[[float], None]:
            def act(now: float) -> None:
                if self.fails(job):
                    self.queue.failed(job, SessionError("a", "b", "c"), retries=True)
                    return
                for ticket in self.queue.answered(job, [("answer", payload) for payload in job.payloads], now - began):
                    if self.queue.finish(ticket):
                        self.ended.append(Ended(ticket, now, list(ticket.answers)))
                self.queue.release(job)

            return act

        for number, asked in enumerate(requests):
            at(asked.at, come(asked, number))
        while events or not self.served.is_idle or self.queue.next_alarm() < math.inf:
            assert events or self.queue.next_alarm() < math.inf, "texts wait, and nothing will happen"
            alarm = self.queue.next_alarm()
            if events and events[0][0] <= alarm:
                now, _, act = heapq.heappop(events)
                act(now)
            else:
                now = math.nextafter(alarm, math.inf)
                self.queue.expire(now)
            while (job := self.queue.next_job(now)) is not None:
                assert self.served.slots.free >= 0
                self.jobs.append((now, job))
                at(now + self.duration(job), over(job, now))
            for ticket, error in self.queue.settled:
                self.ended.append(Ended(ticket, now, error))
            self.queue.settled.clear()

    def errors(self, kind: type[OrtolanError]) -> list[Ended]:
        return [ended for ended in self.ended if isinstance(ended.outcome, kind)]
