"""Question: how late is each answer, when requests come at times of their own, whatever the service is at?

Latency counts from the moment at which a request was due, so that a slow sender can't hide a delay. Load is made in the
process of the service. Runs in every environment: needs nothing beyond Python.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Protocol

LEAD_SECONDS = 0.02
"""From the call to the start of the clock."""

WARM_UP_TEXTS = 8


@dataclass(frozen=True)
class Stand:
    """What a service is made of.

    Attributes:
        kind: Such as "engine" or "bf16"; each program has its own list.
        folder: Of what the tool made of the checkpoint.
        checkpoint: Folder of the checkpoint, with its tokenizer.
        threads: Of one run.
        texts: A few, for choices by measurement.
    """

    kind: str
    folder: str
    checkpoint: str
    threads: int
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Play:
    """Requests to come.

    Attributes:
        arrivals: When, seconds from the start, ascending.
        texts: What.
        late_ms: A later answer is late.
        most_late: The play ends early when more answers are late than this: the rest is infinitely late.
        options: Of the service.
    """

    arrivals: list[float]
    texts: list[str]
    late_ms: float
    most_late: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Played:
    """What became of them.

    Attributes:
        latencies: Milliseconds from when each was due; NaN where it was refused, infinity where the play ended before.
        refused: How often, by reason.
        batches: Runs, where the service counts them.
        rows: Texts of these runs.
        tokens: Tokens of these runs, padding left out.
        padding: Tokens of padding.
    """

    latencies: list[float]
    refused: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    rows: int = 0
    tokens: int = 0
    padding: int = 0


class Service(Protocol):
    """What a program holds.

    Attributes:
        about: What there is to say of it, such as which of two files it chose.
    """

    about: str

    def ask(self, text: str) -> dict[str, Any]:
        """Answer one text, with `label` and `score`."""

    def play(self, play: Play) -> Played:
        """Let requests come."""


@dataclass
class LoadWorker:
    """What a program knows to do; each method is a request (ortolan_exporters.contenders.serving)."""

    packages: tuple[str, ...]
    opener: Callable[[Stand], Service]
    _service: Service | None = None

    def open(self, stand: Stand) -> str:
        """Load the service, and return what there is to say of it."""
        self._service = self.opener(stand)
        return self._service.about

    def answers(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Answer texts, one after the other."""
        assert self._service is not None, "open comes first"
        return [self._service.ask(text) for text in texts]

    def seconds_each(self, texts: Sequence[str]) -> float:
        """Mean seconds of a text, one after the other."""
        self.answers(texts[:WARM_UP_TEXTS])
        start = time.perf_counter()
        self.answers(texts)
        return (time.perf_counter() - start) / len(texts)

    def play(self, play: Play) -> Played:
        """Warm up, and let requests come."""
        assert self._service is not None, "open comes first"
        self.answers(play.texts[:WARM_UP_TEXTS])
        return self._service.play(play)

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that matter."""
        return {name: metadata.version(name) for name in self.packages}


def play_in_turn(ask: Callable[[str], object], play: Play) -> Played:
    """Let requests come to a service that answers one after the other, first come, first served.

    The line costs it nothing: a request that is due while another one is answered is asked right after that.
    """
    latencies = [math.inf] * len(play.texts)
    late = 0
    start = time.perf_counter() + LEAD_SECONDS
    for place, (arrival, text) in enumerate(zip(play.arrivals, play.texts)):  # noqa: B905  # an environment's own Python
        if (left := start + arrival - time.perf_counter()) > 0:
            time.sleep(left)
        ask(text)
        latencies[place] = (time.perf_counter() - start - arrival) * 1e3
        late += latencies[place] > play.late_ms
        if late > play.most_late:
            break
    return Played(latencies)


async def play_at_once(
    submit: Callable[[str], Awaitable[object]], play: Play, refusals: tuple[type[Exception], ...] = ()
) -> Played:
    """Let requests come to a service that takes many at a time, as from the handlers of a web server."""
    played = Played([math.inf] * len(play.texts))
    late = 0
    start = time.perf_counter() + LEAD_SECONDS

    async def ask(place: int, due: float, text: str) -> None:
        nonlocal late
        try:
            await submit(text)
        except refusals as error:
            name = type(error).__name__
            played.latencies[place] = math.nan
            played.refused[name] = played.refused.get(name, 0) + 1
            return
        played.latencies[place] = latency = (time.perf_counter() - due) * 1e3
        late += latency > play.late_ms

    tasks: list[asyncio.Task[None]] = []
    for place, (arrival, text) in enumerate(zip(play.arrivals, play.texts)):  # noqa: B905  # as above
        await asyncio.sleep(max(0.0, start + arrival - time.perf_counter()))
        if late > play.most_late:
            break
        tasks.append(asyncio.create_task(ask(place, start + arrival, text)))
    while late <= play.most_late and not all(task.done() for task in tasks):
        await asyncio.wait(tasks, timeout=0.1)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    return played
