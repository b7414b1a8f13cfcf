"""Discrete-event simulation of a waiting line: arrivals, what serves them, and what became of each request.

Time is a number that jumps from event to event. `Ours` drives the line and the policy that the engine runs, the real
code; `InTurn` stands for the batchers of other servers.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import numpy as np

from ortolan.batch.calibrate import derive_limits, derive_max_queue, measure
from ortolan.batch.costs import CostTable, Shape, fit
from ortolan.batch.group import Group
from ortolan.batch.queue import Queue
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Job, Text, Ticket
from ortolan.errors import CapacityError

MAX_LENGTH = 256
"""Longest text of the traffic."""

CALIBRATION_SECONDS = 0.2
"""How long an engine measures what runs cost when it loads a model, all widths together."""

TYPICAL_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One text that asks for an answer.

    Attributes:
        number: Its place in the traffic.
        length: Its tokens.
        arrival: When it comes, seconds.
        due: When its answer is of no use any more.
    """

    number: int
    length: int
    arrival: float
    due: float = math.inf


@dataclass(frozen=True, slots=True)
class Run:
    """A batch under way.

    Attributes:
        numbers: Of its requests.
        length: Tokens of the longest.
        threads: How many threads, or devices, it has.
        delay: Seconds before it starts that were spent on deciding.
        handle: What the server needs to know again.
    """

    numbers: Sequence[int]
    length: int
    threads: int
    delay: float = 0.0
    handle: Any = None


class Server(Protocol):
    """What forms batches.

    Attributes:
        refused: Numbers of the requests that get no answer.
    """

    refused: list[int]

    def put(self, request: Request, now: float) -> None:
        """Let a request wait, or refuse it."""

    def start(self, now: float) -> Run | None:
        """Start a batch, if one can."""

    def end(self, run: Run, now: float, seconds: float) -> None:
        """Take note that a batch is done, and how long it took."""

    def next_look(self, now: float) -> float:
        """When a batch may start although nothing came and nothing ended; infinity if never."""


class Machine:
    """Seconds of a run, looked up; between and beyond the measured shapes they are interpolated."""

    def __init__(self, measured: Mapping[int, Mapping[Shape, float]], max_rows: int = 64) -> None:
        """Fill the tables.

        Args:
            measured: For each number of threads of a run, seconds by rows and length.
            max_rows: Most rows of a batch that will be asked for.
        """
        self._tables = {threads: _interpolated(points, max_rows) for threads, points in measured.items()}

    @property
    def widths(self) -> list[int]:
        """How many threads a run may have, the most first."""
        return sorted(self._tables, reverse=True)

    def seconds(self, rows: int, length: int, threads: int) -> float:
        """How long a run takes."""
        return self._tables[threads][rows][length]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the requests.

    Attributes:
        latency: Seconds from arrival to answer, by number; NaN for those that were refused.
        duration: Seconds from the first arrival to the last answer.
        tokens: Tokens that ran, padding left out.
        padded: Tokens that ran.
        runs: How many batches.
    """

    latency: Sequence[float]
    duration: float
    tokens: int
    padded: int
    runs: int

    def percentile_ms(self, share: float) -> float:
        """Latency that so many percent of the answered requests do not exceed, milliseconds."""
        answered = np.array(self.latency)[~np.isnan(self.latency)]
        return float(np.percentile(answered, share)) * 1e3 if answered.size else math.nan

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return float(np.sum(~np.isnan(self.latency))) / self.duration

    @property
    def refused(self) -> float:
        """Share of requests without answer."""
        return float(np.mean(np.isnan(self.latency)))

    @property
    def padding(self) -> float:
        """Share of padding in the tokens that ran."""
        return 1 - self.tokens / max(1, self.padded)

    def in_time(self, seconds: float) -> float:
        """Share of requests that were answered within so many seconds."""
        return float(np.mean(np.array(self.latency) <= seconds))  # not a number is not in time


def simulate(server: Server, requests: Sequence[Request], seconds: Callable[[int, int, int], float]) -> Outcome:
    """Play traffic to a server.

    Args:
        server: What forms batches.
        requests: Traffic, by arrival; numbered from 0 on.
        seconds: How long a run of so many rows, of so many tokens, on so many threads takes.

    Raises:
        RuntimeError: The server forgot a request, or answered one twice.
    """
    ends: list[tuple[float, int, Run, float]] = []
    latency = [math.nan] * len(requests)
    order, coming, now = count(), 0, 0.0
    tokens = padded = runs = 0
    while True:
        arrival = requests[coming].arrival if coming < len(requests) else math.inf
        upcoming = min(arrival, ends[0][0] if ends else math.inf, server.next_look(now))
        if upcoming == math.inf:
            break
        now = upcoming
        while ends and ends[0][0] <= now:
            _, _, run, taken = heapq.heappop(ends)
            for number in run.numbers:
                if not math.isnan(latency[number]):
                    raise RuntimeError(f"request {number} was answered twice")
                latency[number] = now - requests[number].arrival
            server.end(run, now, taken)
        while coming < len(requests) and requests[coming].arrival <= now:
            server.put(requests[coming], now)
            coming += 1
        while (started := server.start(now)) is not None:
            taken = seconds(len(started.numbers), started.length, started.threads)
            heapq.heappush(ends, (now + started.delay + taken, next(order), started, taken))
            runs += 1
            tokens += sum(requests[number].length for number in started.numbers)
            padded += len(started.numbers) * started.length
    for number in server.refused:  # also those that were dropped while they ran
        latency[number] = math.nan
    if sum(map(math.isnan, latency)) != len(set(server.refused)):
        raise RuntimeError("a request was neither answered nor refused")
    return Outcome(latency, now - requests[0].arrival, tokens, padded, runs)


class InTurn:
    """Batches in the order of arrival, as other servers form them.

    With a budget of tokens: text-embeddings-inference. With a number and a wait: Triton's dynamic batcher, LitServe.
    With one row: no batching. A batch is padded to its longest text.
    """

    def __init__(
        self,
        *,
        instances: int = 1,
        threads: int = 1,
        max_rows: int = 64,
        max_tokens: float = math.inf,
        max_wait: float = 0.0,
        max_queue: float = math.inf,
        patience: float = math.inf,
    ) -> None:
        """Prepare an empty line.

        Args:
            instances: How many runs go on at the same time.
            threads: How many threads each of them has.
            max_rows: Most texts of a batch; so many start at once.
            max_tokens: Most tokens, padding counted; a longer text runs alone.
            max_wait: How long the first of the line waits for company while nothing runs, seconds.
            max_queue: Requests that find so many waiting are refused.
            patience: Requests that have waited longer are refused when their turn comes, seconds.
        """
        self.refused: list[int] = []
        self._free, self._threads = instances, threads
        self._max_rows, self._max_tokens, self._max_wait = max_rows, max_tokens, max_wait
        self._max_queue, self._patience = max_queue, patience
        self._line: deque[Request] = deque()

    def put(self, request: Request, now: float) -> None:
        """See `Server`."""
        if len(self._line) >= self._max_queue:
            self.refused.append(request.number)
        else:
            self._line.append(request)

    def start(self, now: float) -> Run | None:
        """See `Server`."""
        line = self._line
        while line and now - line[0].arrival > self._patience:
            self.refused.append(line.popleft().number)
        if not line or not self._free or (len(line) < self._max_rows and now < line[0].arrival + self._max_wait):
            return None
        numbers, length = [line[0].number], line.popleft().length
        while line and len(numbers) < self._max_rows:
            longest = max(length, line[0].length)
            if longest * (len(numbers) + 1) > self._max_tokens:
                break
            numbers.append(line.popleft().number)
            length = longest
        self._free -= 1
        return Run(numbers, length, self._threads)

    def end(self, run: Run, now: float, seconds: float) -> None:
        """See `Server`."""
        self._free += 1

    def next_look(self, now: float) -> float:
        """See `Server`."""
        if not self._line or not self._free:
            return math.inf
        start = self._line[0].arrival + self._max_wait
        return start if start > now else math.inf


@dataclass(slots=True)
class Ours:
    """The engine's own line and policy. Its cost tables are measured as the engine does, and learn from each run.

    Attributes:
        machine: What runs really cost.
        slots: Threads, or devices.
        is_bounded: Whether the line is as long as the engine's default, or endless.
        decision_seconds: What a decision costs when so many texts wait; one is made at a time.
    """

    machine: Machine
    slots: Slots
    is_bounded: bool = False
    decision_seconds: Callable[[int], float] = lambda depth: 0.0
    refused: list[int] = field(default_factory=list)
    _queue: Queue = field(default_factory=Queue)
    _group: Group = field(init=False)
    _undecided_until: float = 0.0

    def __post_init__(self) -> None:
        widths = self.machine.widths
        costs = {width: calibrated(self.machine, width, CALIBRATION_SECONDS / len(widths)) for width in widths}
        self._group = Group("simulated", costs, derive_limits(list(costs.values())), 1, self.slots)
        longest = derive_max_queue(self._group.price(TYPICAL_LENGTH))
        self._group.max_queue = longest if self.is_bounded else 1 << 60
        self._queue.groups.append(self._group)

    def put(self, request: Request, now: float) -> None:
        """See `Server`."""
        text = Text(request.number, request.length, request.number)
        try:
            self._queue.put(Ticket(self._group, [text], now, request.due, asked=request.number), now)
        except CapacityError:
            self.refused.append(request.number)

    def start(self, now: float) -> Run | None:
        """See `Server`."""
        if now < self._undecided_until:
            return None
        delay = self.decision_seconds(self._group.num_waiting)
        job = self._queue.next_job(now)
        self._take_settled()
        if job is None:
            return None
        self._undecided_until = now + delay
        return Run(job.payloads, job.width, job.num_threads, delay, job)

    def end(self, run: Run, now: float, seconds: float) -> None:
        """See `Server`."""
        job: Job = run.handle
        self._queue.expire(now)
        self._take_settled()
        for ticket in self._queue.answered(job, job.payloads, seconds):
            self._queue.finish(ticket)
        self._queue.release(job)
        self._group.costs[job.num_threads].observe(len(job.entries), job.width, seconds)

    def next_look(self, now: float) -> float:
        """See `Server`."""
        if not self._group.num_waiting or not self.slots.free:
            return math.inf
        if self._undecided_until > now:
            return self._undecided_until
        start = self._queue.next_start(now)
        return math.inf if start is None else start

    def _take_settled(self) -> None:
        self.refused += [ticket.asked for ticket, _ in self._queue.settled]
        self._queue.settled.clear()


def calibrated(machine: Machine, threads: int, budget_seconds: float) -> CostTable:
    """Fill a cost table within a budget, by the engine's own code, on a clock that the runs move."""
    clock = [0.0]

    def run(rows: int, length: int) -> None:
        clock[0] += machine.seconds(rows, min(length, MAX_LENGTH), threads)

    measured = measure(
        run,
        side_by_side=1,  # what others do at the same time is in the costs already
        budget_seconds=budget_seconds,
        max_rows=64,
        max_length=MAX_LENGTH,
        clock=lambda: clock[0],
    )
    return CostTable(measured, max_rows=64, max_length=MAX_LENGTH)


def _interpolated(measured: Mapping[Shape, float], max_rows: int) -> list[list[float]]:
    """Seconds by rows and length: in logarithms between the measured ones, in proportion beyond them.

    Shapes that were too slow to be measured follow the law that is fitted to the others.
    """
    a, b, c = fit(measured)
    rows, lengths = (sorted({shape[axis] for shape in measured}) for axis in (0, 1))
    known = np.log(
        [[measured.get((n, s)) or a + b * n * s + c * n * s * s for s in lengths] for n in rows], dtype=np.float64
    )
    all_lengths = np.log(np.arange(1, MAX_LENGTH + 1))
    by_length = np.array([np.interp(all_lengths, np.log(lengths), line) for line in known])
    all_rows = np.arange(1, max_rows + 1)
    table = np.exp([np.interp(np.log(all_rows), np.log(rows), column) for column in by_length.T]).T
    table *= np.maximum(1.0, all_rows / rows[-1])[:, None]
    return [[], *([0.0, *line] for line in table.tolist())]
