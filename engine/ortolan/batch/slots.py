"""What runs share: threads, or devices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ortolan.batch.policy import Load

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
    _load: Load = field(default_factory=lambda: Load(0.0, {}))
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
        load, gain = self.load(now), 1 / LATELY_SECONDS
        shares = dict(load.shares)
        for width, taken in seconds.items():
            shares[width] = shares.get(width, 0.0) + gain * taken * width / self.total
        self._load, self._load_at = Load(load.texts_a_second + gain, shares), now

    def load(self, now: float) -> Load:
        """What has come lately."""
        fading = math.exp((self._load_at - now) / LATELY_SECONDS)
        shares = {width: share * fading for width, share in self._load.shares.items()}
        return Load(self._load.texts_a_second * fading, shares)

    def take(self, job: Job) -> None:
        """Give a job what it needs."""
        self.free -= job.num_threads
        self.running.append(job)

    def give_back(self, job: Job) -> None:
        """Have back what a job was given."""
        self.free += job.num_threads
        self.running.remove(job)
