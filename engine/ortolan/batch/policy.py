"""Which waiting texts run now, and on how many threads: a pure decision, without clock or thread.

The most urgent text always goes. Who goes with it, and how wide the run is, follows from the cost tables: the waiting
line is split into batches so that all wait least, and the batch with the most urgent text is run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ortolan.batch.costs import CostTable

WINDOW = 64
"""So many of the most urgent texts are looked at: planning takes time too, and the others wait in any case."""

PATIENCE_SECONDS = 1.0
"""A text without deadline is treated as if it had one so far away."""

PRIORITY_SECONDS = 1.0
"""A step of priority is worth so much waiting: whoever has waited longer than that goes first all the same."""

WORTH_WAITING = 0.9
"""A lone text waits for a wider run only if it is done in this share of the time at most: what is expected may err."""

MOST_LOAD = 0.95
"""A higher load is taken for this one: beyond it the formula for waiting knows only that there is no end of it."""

VARIANCE = 0.75
"""Mean of the squared variations of arrivals, which come at random (1), and of service (0.5)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A text that waits.

    Attributes:
        length: Its tokens.
        arrival: When it came, seconds on the clock of all.
        due: When its answer is of no use any more; infinity for a text without deadline.
        priority: Higher goes first.
        is_alone: Whether it must not share a batch.
    """

    length: int
    arrival: float
    due: float = math.inf
    priority: int = 0
    is_alone: bool = False

    @property
    def urgency(self) -> float:
        """Least goes first. It doesn't change while a text waits, so that everybody's turn comes."""
        return min(self.due, self.arrival + PATIENCE_SECONDS) - self.priority * PRIORITY_SECONDS


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may not exceed.

    Attributes:
        max_rows: Most texts of a batch.
        max_tokens: Most tokens, padding counted; a text that is longer runs alone.
        max_wait_seconds: How long a text may wait for company while a thread is free.
    """

    max_rows: int
    max_tokens: int
    max_wait_seconds: float = 0.0

    def rows_at(self, length: int) -> int:
        """Most texts of a batch whose longest one has `length` tokens; one at least."""
        return max(1, min(self.max_rows, self.max_tokens // length))


@dataclass(frozen=True, slots=True)
class Load:
    """What has come lately.

    Attributes:
        texts_a_second: How many texts.
        shares: For each number of threads that a run may have, what share of all threads would be at work if each of
            these texts ran alone on as many.
    """

    texts_a_second: float
    shares: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Run:
    """What shall run now.

    Attributes:
        rows: Positions in the waiting line.
        num_threads: On how many threads.
        seconds: How long that is expected to take.
    """

    rows: tuple[int, ...]
    num_threads: int
    seconds: float


def can_make_it(waiting: Waiting, now: float, costs: Iterable[CostTable], seconds_ahead: float = 0.0) -> bool:
    """Whether a text can be answered before it is due, if all goes well from now on.

    Args:
        waiting: The text.
        now: The time.
        costs: Tables of the model.
        seconds_ahead: How long it has to wait at least until its run starts.
    """
    return now + seconds_ahead + min(table.seconds(1, waiting.length) for table in costs) <= waiting.due


def choose_run(
    line: Sequence[Waiting],
    costs: Mapping[int, CostTable],
    limits: Limits,
    now: float,
    free_threads: int,
    busy_seconds: float = math.inf,
    load: Load | None = None,
) -> Run | None:
    """Choose what runs now.

    Args:
        line: Texts for one model that wait, the most urgent first.
        costs: For each number of threads that a run may have, what runs on them cost while all threads are at work.
        limits: What a batch may not exceed.
        now: The time.
        free_threads: How many threads nobody uses.
        busy_seconds: When the others will be free too; infinity if nobody knows, or there are none.
        load: What has come lately; nothing by default.

    Returns:
        What shall run now: at least the first of the line that would not be late on the free threads while it can be
        in time on more. None if there is none such, no run is narrow enough for the free threads, nobody waits, all may
        wait for company yet, or a wide run will be done sooner though it has to wait for the threads of others.
    """
    widths = [num_threads for num_threads in costs if num_threads <= free_threads]
    if not line or not widths or _may_wait(line, limits, now):
        return None
    rows = [row for row in range(min(len(line), WINDOW)) if not _needs_more(line[row], costs, widths, now)]
    if not rows:
        return None
    first, head = rows[0], line[rows[0]]
    widths = [num_threads for num_threads in widths if can_make_it(head, now, [costs[num_threads]])] or widths
    if head.is_alone or len(line) == 1:
        answered = expected_seconds(costs, head.length, load.shares if load else {})
        width = min(widths, key=lambda num_threads: answered[num_threads])
        seconds = costs[width].seconds(1, head.length)
        wider = costs[min(answered, key=lambda num_threads: answered[num_threads])].seconds(1, head.length)
        return None if busy_seconds + wider < WORTH_WAITING * seconds else Run((first,), width, seconds)
    rows = [row for row in rows if not line[row].is_alone]
    rows.sort(key=lambda row: line[row].length)
    lengths = [line[row].length for row in rows]
    plans = {width: _plan(lengths, costs[width], limits, free_threads // width, width, load) for width in widths}
    width = min(widths, key=lambda num_threads: (plans[num_threads].seconds, -num_threads))
    start, end = plans[width].batch_of(rows.index(first))
    chosen = _first_come(line, rows, start, end)
    return _in_time(line, chosen, costs[width], width, now)


def expected_seconds(costs: Mapping[int, CostTable], length: int, load: Mapping[int, float]) -> dict[int, float]:
    """How long lone texts take on average, waiting included, if all run on so many threads as this one.

    A wide run is done sooner, and is in the way of all who come meanwhile: at some load more of them, side by side, are
    quicker.

    Args:
        costs: As for `choose_run`.
        length: Tokens of the text.
        load: As in `Load.shares`.

    Returns:
        Seconds for each number of threads.

    Source:
        Sakasegawa (1977), "An approximation formula L_q = a * rho^b / (1 - rho)", for K servers; half the variance of
        exponential service, for lengths vary and costs are fixed.
    """
    widest, seconds = max(costs), {}
    for num_threads, table in costs.items():
        servers = max(1, widest // num_threads)
        busy = min(load.get(num_threads, 0.0), MOST_LOAD)
        waits = busy ** (math.sqrt(2 * (servers + 1)) - 1) / (servers * (1 - busy)) * VARIANCE
        seconds[num_threads] = table.seconds(1, length) * (1 + waits)
    return seconds


def _needs_more(waiting: Waiting, costs: Mapping[int, CostTable], widths: Sequence[int], now: float) -> bool:
    """Whether a text would be late on the free threads, and can be in time on more: run now, it would be in vain."""
    if waiting.due == math.inf or len(widths) == len(costs):
        return False
    free = [costs[num_threads] for num_threads in widths]
    return not can_make_it(waiting, now, free) and can_make_it(waiting, now, costs.values())


def _may_wait(line: Sequence[Waiting], limits: Limits, now: float) -> bool:
    head = line[0]
    if head.is_alone or now >= min(waiting.arrival for waiting in line) + limits.max_wait_seconds:
        return False
    return len(line) < limits.rows_at(max(waiting.length for waiting in line))


@dataclass(frozen=True, slots=True)
class _Plan:
    """A split of texts, sorted by length, into batches: where each ends, and the seconds until all are done."""

    ends: tuple[int, ...]
    seconds: float

    def batch_of(self, position: int) -> tuple[int, int]:
        """Start and end of the batch that a text is in."""
        start = 0
        for end in self.ends:
            if position < end:
                return start, end
            start = end
        raise AssertionError("every text is in a batch")


def _plan(
    lengths: Sequence[int], costs: CostTable, limits: Limits, side_by_side: int, width: int, load: Load | None
) -> _Plan:
    """Split texts, sorted by length, so that they and those who will come wait least, with so many runs side by side.

    A second of a run costs a second of each of its own B texts, and through the threads that it takes, of half of the
    others and of all who come until the line is empty again. So a batch weighs `seconds * (B + others / side_by_side)`:
    with little to do it must save a quarter and more, for the first of two texts would be done in half the time without
    the other one; under load any saving pays.
    """
    # no run may hold what other threads could be working at
    share = max(1, math.ceil(len(lengths) / side_by_side))
    newcomers = _newcomers(lengths, costs, side_by_side, width, load)
    least, starts = [0.0], [0]  # of the texts up to each position: weight, and where the last batch of them starts
    weights = [0.0] + [rows + (newcomers + (len(lengths) - rows) / 2) / side_by_side for rows in range(1, share + 1)]
    for end in range(1, len(lengths) + 1):
        length = lengths[end - 1]
        by_rows = costs.by_rows(length)
        alone = by_rows[1] * weights[1]
        best, found = least[end - 1] + alone, end - 1
        for rows in range(2, min(limits.rows_at(length), share, end) + 1):
            weight = least[end - rows] + by_rows[rows] * weights[rows]
            if weight < best:
                best, found = weight, end - rows
            elif weight > best + alone:
                break  # ever shorter texts padded to this length: what is lost by so much is not won back
        least.append(best)
        starts.append(found)
    ends = [len(lengths)]
    while starts[ends[-1]] > 0:
        ends.append(starts[ends[-1]])
    ends.reverse()
    runs = [costs.seconds(end - start, lengths[end - 1]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return _Plan(tuple(ends), max(sum(runs) / side_by_side, *runs))


def _newcomers(lengths: Sequence[int], costs: CostTable, side_by_side: int, width: int, load: Load | None) -> float:
    """How many texts will come until the line is empty again, and so wait for whatever holds it up."""
    if load is None:
        return 0.0
    clears = sum(costs.seconds(1, length) for length in lengths) / side_by_side
    return load.texts_a_second * clears / (1 - min(load.shares.get(width, 0.0), MOST_LOAD))


def _first_come(line: Sequence[Waiting], rows: Sequence[int], start: int, end: int) -> list[int]:
    """Give a batch, of texts sorted by length, those that are the most urgent ones of their lengths."""
    wanted: dict[int, int] = {}
    for row in rows[start:end]:
        wanted[line[row].length] = wanted.get(line[row].length, 0) + 1
    chosen = []
    for row in sorted(rows):  # the line is in the order of urgency
        if wanted.get(line[row].length, 0) > 0:
            wanted[line[row].length] -= 1
            chosen.append(row)
    return chosen


def _in_time(line: Sequence[Waiting], chosen: list[int], costs: CostTable, width: int, now: float) -> Run:
    """Leave out the least urgent of a batch as long as it makes another one late that could be in time."""
    while True:
        seconds = costs.seconds(len(chosen), max(line[row].length for row in chosen))
        is_late = any(
            line[row].due < now + seconds and line[row].due >= now + costs.seconds(1, line[row].length)
            for row in chosen
        )
        if not is_late or len(chosen) == 1:
            return Run(tuple(chosen), width, seconds)
        chosen = chosen[:-1]
