"""What runs share: threads, or devices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortolan.batch.tickets import Job

LATELY_SECONDS = 0.5
"""What came so long ago counts a third of what comes now."""

OVERDUE = 0.25
"""A run that takes longer than expected by this share: nobody plans with its end any more."""


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
    _load: dict[int, float] = field(default_factory=dict)
    _load_at: float = 0.0

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

    def come(self, seconds: Mapping[int, float], now: float) -> None:
        """Note that a text has come.

        Args:
            seconds: How long it takes alone, for each number of threads that it may have.
            now: The time.
        """
        faded = self._faded(now)
        for width, taken in seconds.items():
            faded[width] = faded.get(width, 0.0) + taken * width / (self.total * LATELY_SECONDS)
        self._load, self._load_at = faded, now

    def load(self, now: float) -> dict[int, float]:
        """For each number of threads, what share of all would be at work if what came lately ran alone on as many."""
        return self._faded(now)

    def _faded(self, now: float) -> dict[int, float]:
        share = math.exp((self._load_at - now) / LATELY_SECONDS)
        return {width: load * share for width, load in self._load.items()}

    def take(self, job: Job) -> None:
        """Give a job what it needs."""
        self.free -= job.num_threads
        self.running.append(job)

    def give_back(self, job: Job) -> None:
        """Have back what a job was given."""
        self.free += job.num_threads
        self.running.remove(job)
