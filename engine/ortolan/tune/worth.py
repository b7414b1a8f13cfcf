"""What each way is worth by what was measured, and which of them is the one to take."""

from __future__ import annotations

from collections.abc import Sequence

from ortolan.choice import Way, attention_forms
from ortolan.manifest import QUALITY_NUMBERS, Manifest
from ortolan.tune.measurements import Measurements
from ortolan.tune.pareto import Point, Prefer, order


def points(notes: Measurements, manifest: Manifest, shapes: Sequence[str]) -> dict[Way, Point]:
    """Place the ways that were timed among each other.

    Args:
        notes: What was measured.
        manifest: Of the artifact.
        shapes: What was timed, the batch as the last one.
    """
    sound = notes.sound
    # shares of different texts can't be compared, so it is one measure for all
    has_agreement = all(way.precision in notes.agreement for way in sound)
    return {
        way: Point.of(
            latency=seen.speed(shapes[:-1]),
            throughput=seen.speed(shapes[-1:]),
            memory_bytes=notes.memory.get(graph_file(manifest, way)),
            quality=notes.agreement[way.precision] if has_agreement else recorded_quality(manifest, way),
        )
        for way, seen in sound.items()
    }


def promising(
    ways: Sequence[Way], notes: Measurements, manifest: Manifest, shapes: Sequence[str], prefer: Prefer
) -> list[Way]:
    """Sort the ways that may still be chosen: first those that were timed, the best first, then the others."""
    return order(points(notes, manifest, shapes), prefer) + [way for way in ways if way not in notes.seen]


def best_way(notes: Measurements, manifest: Manifest, shapes: Sequence[str], prefer: Prefer) -> Way:
    """Choose a way: the most promising of the untuned one and those that are better than it beyond doubt.

    Args:
        notes: What was measured, of the untuned way at least.
        manifest: Of the artifact.
        shapes: What was timed, the batch as the last one.
        prefer: What it shall be best at.
    """
    placed = points(notes, manifest, shapes)
    untuned = next(iter(placed))

    def is_better(way: Way) -> bool:
        if prefer == "memory" and placed[way].memory != placed[untuned].memory:
            return placed[way].memory > placed[untuned].memory
        return notes.seen[way].is_quicker(shapes[-1:] if prefer == "throughput" else shapes[:-1])

    return order({way: point for way, point in placed.items() if way == untuned or is_better(way)}, prefer)[0]


def graph_file(manifest: Manifest, way: Way) -> str:
    """File of the graph that a way runs."""
    return attention_forms(manifest.precisions[way.precision])[way.attention].file


def recorded_quality(manifest: Manifest, way: Way) -> float:
    """What the export measured of a precision beside torch: share of equal labels, or mean cosine."""
    quality = manifest.precisions[way.precision].quality
    return float(quality[QUALITY_NUMBERS[quality["measure"]][0]])
