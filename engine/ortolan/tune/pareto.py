"""Which ways are worth having: none that another one beats in every respect. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Literal, NamedTuple, TypeVar, get_args

Prefer = Literal["latency", "throughput", "memory"]
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)

STEP = 1.03
"""Times and sizes that differ by less than about 3 % count as equal: on most machines that much is noise."""

Name = TypeVar("Name", bound=Hashable)


class Point(NamedTuple):
    """What a way is worth; more is better in each of the four, and equal means equal for all we know.

    Attributes:
        latency: Steps of speed with single texts.
        throughput: Steps of speed with batches.
        memory: Steps of memory that is not needed.
        quality: Share of answers that stay the same, or mean cosine.
    """

    latency: int
    throughput: int
    memory: int
    quality: float

    @classmethod
    def of(cls, *, latency: float, throughput: float, memory_bytes: int | None, quality: float) -> Point:
        """Round measurements to steps.

        Args:
            latency: Speed with single texts, in any unit; more is quicker.
            throughput: Speed with batches.
            memory_bytes: Memory it takes; None, if that was not measured, counts as a great deal.
            quality: As above.
        """
        return cls(_steps(latency), _steps(throughput), -_steps(memory_bytes or 1 << 50), quality)

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as good in every respect, and better in one."""
        return self != other and all(own >= theirs for own, theirs in zip(self, other, strict=True))


def front(points: Mapping[Name, Point]) -> set[Name]:
    """Name the points that no other one dominates."""
    return {name for name, point in points.items() if not any(other.dominates(point) for other in points.values())}


def order(points: Mapping[Name, Point], prefer: Prefer) -> list[Name]:
    """Sort points, the most promising first: the front, then the front of the rest, and so on.

    Within each of these by what is preferred, then quality, then the rest. The first one is dominated by none.
    """
    rest = dict(points)
    ordered: list[Name] = []
    while rest:
        names = front(rest)
        ordered += sorted((name for name in rest if name in names), key=lambda name: _rank(rest[name], prefer))
        rest = {name: point for name, point in rest.items() if name not in names}
    return ordered


def _rank(point: Point, prefer: Prefer) -> tuple[float, ...]:
    preferred: int = getattr(point, prefer)
    return (-preferred, -point.quality, -point.latency, -point.throughput, -point.memory)


def _steps(value: float) -> int:
    return round(math.log(value) / math.log(STEP))
