"""A request on its way: its texts wait, run together with others, and come back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ortolan.batch.policy import Waiting

if TYPE_CHECKING:
    from ortolan.batch.group import Group


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
        entries: Where its texts wait.
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
    entries: list[Entry] = field(default_factory=list)

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
    def quickest(self) -> float:
        """Seconds of its longest text alone, on as many threads as it is quickest on."""
        return min(table.seconds(1, self.longest) for table in self.group.costs.values())

    def waiting(self, place: int, *, is_alone: bool | None = None) -> Waiting:
        """One of its texts as the policy sees it."""
        alone = self.is_alone if is_alone is None else is_alone
        return Waiting(self.texts[place].length, self.arrival, self.due, self.priority, alone)

    @property
    def longest(self) -> int:
        """Tokens of its longest text; 0 without any."""
        return max((text.length for text in self.texts), default=0)


@dataclass(slots=True, eq=False)
class Entry:
    """A text in the line, on behalf of all that wait for its answer.

    Attributes:
        text: The text.
        waiting: What the policy knows of it, by the most urgent of those who want it.
        order: Its place in the line: urgency, and a number for those that are equally urgent.
        riders: Requests that want it, with its place in each.
        price: Seconds of all threads that it takes at least.
    """

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
        entries: Its texts, each once, with those who want them.
        num_threads: How many threads, or devices, the run has.
        expected_seconds: How long it will take, going by the cost table.
        started: When it started.
        is_released: Whether its threads were given back.
        is_over: Whether its answers are there, or not wanted any more.
    """

    group: Group
    entries: list[Entry]
    num_threads: int
    expected_seconds: float
    started: float
    is_released: bool = False
    is_over: bool = False

    @property
    def payloads(self) -> list[Any]:
        """What is run."""
        return [entry.text.payload for entry in self.entries]

    @property
    def width(self) -> int:
        """Tokens of the longest text."""
        return max(entry.text.length for entry in self.entries)

    @property
    def num_tokens(self) -> int:
        """Tokens of all texts, padding left out."""
        return sum(entry.text.length for entry in self.entries)

    @property
    def num_padding(self) -> int:
        """Tokens of padding."""
        return self.width * len(self.entries) - self.num_tokens
