"""What came of it: each way with what was measured, and the choice; as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ortolan.choice import Choice, Way
from ortolan.machine import Machine
from ortolan.manifest import Manifest
from ortolan.tune.measurements import Measurements, Seen
from ortolan.tune.pareto import Prefer, front
from ortolan.tune.worth import graph_file, points, recorded_quality

WORDS = ("", "precision", "attention", "left out")
"""Columns of the table that hold words."""


@dataclass(frozen=True, slots=True)
class TunedWay:
    """One way to run the artifact, and what was measured of it.

    Attributes:
        way: How it runs.
        looks: How often it was timed; 0 if time was up before, or if it has a fault.
        milliseconds: One call, by shape "B x S": that of the untuned way, divided by how many times as quick this
            one was in the same moments. Empty if it was not timed.
        speed: How many times as quick as untuned with single texts; None if it was not timed.
        tokens_per_second: With a batch; None if it was not timed.
        memory_bytes: By how much a process grows that loads and runs the graph on one thread; None if not measured.
        quality: What the export measured beside torch: share of equal labels, or mean cosine.
        agreement: The same beside fp32, here, on the caller's texts; None without such texts.
        golden_difference: Largest difference of its golden answers to the recorded ones; None if there is no number.
        fault: Why it must not be chosen here; None if it may.
        is_on_front: Whether no other way is at least as good in all of latency, throughput, memory and quality, and
            better in one.
    """

    way: Way
    looks: int
    milliseconds: Mapping[str, float]
    speed: float | None
    tokens_per_second: float | None
    memory_bytes: int | None
    quality: float
    agreement: float | None
    golden_difference: float | None
    fault: str | None
    is_on_front: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """The result of `tune`.

    Attributes:
        artifact: Name of the model.
        provider: Short name of the provider.
        machine: Where it was measured.
        prefer: What the choice is best at.
        shapes: What was timed, "B x S"; the last one is the batch.
        measure: How quality is measured: "labels" or "cosine".
        seconds: How long this run took.
        num_texts: How many of the caller's texts were compared.
        untuned: The way that all others are compared with: what runs without a choice, if that is sound here.
        choice: What `precision="auto"` will do from now on.
        choice_file: Where that is kept.
        ways: The quickest first, then those that were not tried, then those with faults.
    """

    artifact: str
    provider: str
    machine: Machine
    prefer: Prefer
    shapes: tuple[str, ...]
    measure: str
    seconds: float
    num_texts: int
    untuned: Way
    choice: Choice
    choice_file: str
    ways: tuple[TunedWay, ...]

    def to_json(self) -> dict[str, Any]:
        """Turn it into what JSON can hold."""
        return asdict(self)

    def to_text(self) -> str:
        """Draw the table, and explain it."""
        rows = [self._cells(one) for one in self.ways]
        return "\n".join([self.title, "", *_aligned(rows), "", *self._legend()]) + "\n"

    @property
    def title(self) -> str:
        """What was measured, and where."""
        machine = self.machine
        threads = f"{machine.num_threads} thread{'s' * (machine.num_threads > 1)}"
        return f"{self.artifact} on {self.provider}: {machine.processor}, {threads}, {machine.onnxruntime}"

    def quality_shown(self, value: float | None) -> str:
        """A quality as people write it."""
        return _shown(value, ".2%" if self.measure == "labels" else ".5f")

    def _cells(self, one: TunedWay) -> dict[str, str]:
        way = one.way
        return {
            "": self._mark(one),
            "precision": way.precision,
            "attention": way.attention,
            "left out": ", ".join(way.disabled_optimizers) or "nothing",
            "threads": str(way.num_threads),
            **{f"{shape} ms": _shown(one.milliseconds.get(shape), ".3g") for shape in self.shapes[:-1]},
            f"{self.shapes[-1]} tokens/s": _shown(one.tokens_per_second, ",.0f"),
            "memory MB": _shown(None if one.memory_bytes is None else one.memory_bytes / 1e6, ".0f"),
            "same labels" if self.measure == "labels" else self.measure: self.quality_shown(one.quality),
            **({"your texts": self.quality_shown(one.agreement)} if self.num_texts else {}),
            "speed": _shown(one.speed, ".2f"),
            "looks": str(one.looks),
        }

    def _mark(self, one: TunedWay) -> str:
        if one.fault is not None:
            return "!"
        return (">" if one.way == self.choice.way else "") + ("*" if one.is_on_front else "")

    def _legend(self) -> Iterator[str]:
        yield "> chosen   * on the Pareto front of latency, throughput, memory and quality   ! has a fault"
        yield f"speed: how many times as quick with single texts as {self.untuned}"
        if self.num_texts:
            yield f"your texts: answered as by fp32, of {self.num_texts}"
        yield from self._faults()
        untried = sum(one.looks == 0 and one.fault is None for one in self.ways)
        if untried:
            yield f"time was up before {untried} of {len(self.ways)} ways were tried: run it again to go on"
        forms = {(one.way.precision, one.way.attention) for one in self.ways}
        if len(forms) == len({precision for precision, _ in forms}):
            yield "only the attention form chosen at export is here: 'ortolan export --tune' keeps the others too"
        yield f"chosen for {self.prefer}: {self.choice.way}"

    def _faults(self) -> Iterator[str]:
        """A line for each fault of a graph, however many ways have it."""
        found: dict[tuple[str, str, str], list[Way]] = {}
        for one in self.ways:
            if one.fault is not None:
                found.setdefault((one.way.precision, one.way.attention, one.fault), []).append(one.way)
        for (*_, fault), ways in found.items():
            others = f" and {len(ways) - 1} more" if len(ways) > 1 else ""
            yield f"! {ways[0]}{others}: {fault}"


def tuned_ways(ways: Sequence[Way], notes: Measurements, manifest: Manifest, shapes: Sequence[str]) -> list[TunedWay]:
    """Put together what was measured of each way.

    Args:
        ways: All that could be tried.
        notes: What was measured, of the untuned way at least.
        manifest: Of the artifact.
        shapes: What was timed, the batch as the last one.

    Returns:
        The quickest first, then those that were not tried, then those with faults.
    """
    best = front(points(notes, manifest, shapes))
    untuned = {shape: _untuned(notes).milliseconds(shape) for shape in shapes}
    rows, columns = map(int, shapes[-1].split(" x "))
    made = []
    for way in ways:
        seen = notes.seen.get(way, Seen())
        milliseconds = {shape: untuned[shape] / seen.speed([shape]) for shape in shapes} if seen.looks else {}
        made.append(
            TunedWay(
                way=way,
                looks=len(seen.looks),
                milliseconds=milliseconds,
                speed=seen.speed(shapes[:-1]) if seen.looks else None,
                tokens_per_second=1e3 * rows * columns / milliseconds[shapes[-1]] if seen.looks else None,
                memory_bytes=notes.memory.get(graph_file(manifest, way)),
                quality=recorded_quality(manifest, way),
                agreement=notes.agreement.get(way.precision),
                golden_difference=seen.golden_difference,
                fault=seen.fault,
                is_on_front=way in best,
            )
        )
    return sorted(made, key=lambda one: (one.fault is not None, -(one.speed or 0.0)))


def _untuned(notes: Measurements) -> Seen:
    return next(iter(notes.sound.values()))


def _shown(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _aligned(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Lines with two spaces between columns, words to the left and numbers to the right."""
    names = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in names}
    for row in (dict(zip(names, names, strict=True)), *rows):
        cells = [row[n].ljust(widths[n]) if n in WORDS else row[n].rjust(widths[n]) for n in names]
        yield "  ".join(cells).rstrip()
