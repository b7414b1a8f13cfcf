"""Counters of what became of requests, and how long each stage took; a server exports them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

EDGES_MS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
"""Upper ends of the buckets of a histogram; one more bucket holds what is longer."""

STAGES = ("tokenize", "queue", "run", "postprocess")
"""What a request goes through, in this order."""


@dataclass(slots=True)
class Histogram:
    """How often something took how long.

    Attributes:
        counts: Observations in each bucket of `EDGES_MS`, and above.
        sum_ms: All of them together.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(EDGES_MS) + 1))
    sum_ms: float = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(EDGES_MS, milliseconds)] += 1
        self.sum_ms += milliseconds


@dataclass(slots=True)
class Counters:
    """What became of the requests for one model, since it was loaded.

    Attributes:
        submitted: Requests that were let into the line. Each of them ends in one of the four counters below.
        answered: Those that got their result.
        failed: Those that got another error than those in `refused`.
        cancelled: Those whose owner went away before.
        refused: Requests that got a `CapacityError`, by the name of its class; most of them were not even let into the
            line, and are not in `submitted`.
        dropped: Of those in `refused`, the ones that had been let into the line.
        retried: Texts that ran again, alone, because something was wrong with their batch.
        duplicates: Texts that were answered by the run of an equal one in their batch.
        batches: Runs that were answered.
        rows: Texts of these runs.
        tokens: Tokens of these runs, padding left out.
        padding: Tokens of padding.
        replaced_workers: Threads that died, or hung, and were replaced.
        stages: How long requests were in each of `STAGES`, milliseconds.
    """

    submitted: int = 0
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    retried: int = 0
    duplicates: int = 0
    batches: int = 0
    rows: int = 0
    tokens: int = 0
    padding: int = 0
    replaced_workers: int = 0
    stages: dict[str, Histogram] = field(default_factory=lambda: {stage: Histogram() for stage in STAGES})

    def add_answer(self, stages_ms: Sequence[float]) -> None:
        """Count a request that got its result, with the milliseconds of each of `STAGES`."""
        self.answered += 1
        for histogram, taken in zip(self.stages.values(), stages_ms, strict=True):
            histogram.add(taken)

    def add_batch(self, rows: int, tokens: int, padding: int) -> None:
        """Count a run."""
        self.batches += 1
        self.rows += rows
        self.tokens += tokens
        self.padding += padding
