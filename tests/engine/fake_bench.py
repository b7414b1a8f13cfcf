"""A bench that measures nothing: each way takes the time it was given, and a hand moves the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ortolan import Artifact
from ortolan.choice import Way
from ortolan.config import Precision
from ortolan.manifest import Manifest
from ortolan.request import TextInput
from ortolan.tune.measure import Finding
from ortolan.tune.measurements import Measurements
from ortolan.tune.pareto import Prefer
from ortolan.tune.search import Search
from tests.engine.damage import GOLDEN

SHAPES = ["1 x 16", "1 x 128", "8 x 32"]
MANIFEST: Manifest = Artifact.open(GOLDEN).manifest

INT8 = Way("int8", "packed", (), 2)
INT8_ALONE = Way("int8", "packed", (), 1)
FP32 = Way("fp32", "packed", (), 2)
FP32_ALONE = Way("fp32", "packed", (), 1)
WAYS = (INT8, FP32, INT8_ALONE, FP32_ALONE)


@dataclass
class FakeBench:
    """Answers with what it was given.

    Attributes:
        milliseconds: Of one call, by way; at every shape alike.
        faults: By way.
        look_seconds: What a look takes.
        memory_seconds: What weighing takes.
        now: The clock.
        looked: Ways in the order of the looks at them.
        weighed: Ways whose memory was measured.
    """

    milliseconds: Mapping[Way, float]
    faults: Mapping[Way, str] = field(default_factory=dict)
    look_seconds: float = 1.0
    memory_seconds: float = 0.0
    now: float = 0.0
    shapes: list[str] = field(default_factory=lambda: list(SHAPES))
    looked: list[Way] = field(default_factory=list)
    weighed: list[Way] = field(default_factory=list)
    compared: list[tuple[list[Precision], int]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def look(self, way: Way, untuned: Way) -> Finding:
        self.now += self.look_seconds
        self.looked.append(way)
        if way in self.faults:
            return Finding(0.5, self.faults[way])
        own, beside = (dict.fromkeys(self.shapes, self.milliseconds[one]) for one in (way, untuned))
        return Finding(0.001, None, own, beside)

    def memory(self, way: Way, timeout_seconds: float) -> int | None:
        self.now += self.memory_seconds
        self.weighed.append(way)
        return 100_000_000 if way.precision == "fp32" else 40_000_000

    def agreement(
        self, ways: Mapping[Precision, Way], texts: Sequence[TextInput], seconds: float
    ) -> tuple[dict[Precision, float], int]:
        self.compared.append((sorted(ways), len(texts)))
        return {precision: 1.0 if precision == "fp32" else 0.75 for precision in ways}, len(texts)


def search(
    bench: FakeBench,
    ways: Sequence[Way] = WAYS,
    budget_seconds: float = 1000.0,
    notes: Measurements | None = None,
    prefer: Prefer = "latency",
) -> Search:
    """A search on the golden artifact's manifest that saves nothing."""
    return Search(
        manifest=MANIFEST,
        ways=ways,
        bench=bench,
        notes=Measurements({}) if notes is None else notes,
        prefer=prefer,
        budget_seconds=budget_seconds,
        until=bench.now + budget_seconds,
        clock=bench.clock,
        save=lambda: None,
    )
