"""What was measured so far: kept in the cache as it is made, so that another run can go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ortolan.choice import Way, write_whole
from ortolan.config import Precision
from ortolan.tune.measure import Finding

MIN_LOOKS = 3
"""Fewer looks prove nothing: a busy moment is enough to make one of them wrong."""


@dataclass(frozen=True, slots=True)
class Look:
    """One short look at a way, beside the untuned one.

    Attributes:
        milliseconds: Median call, by shape "B x S".
        speeds: How many times as quick as the untuned way was in the same moment, by shape.
        seconds: What the look took, loading included.
    """

    milliseconds: Mapping[str, float]
    speeds: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a way.

    Attributes:
        looks: All looks at it.
        golden_difference: Largest difference of its golden answers to the recorded ones, if they could be compared.
        fault: Why it can't be chosen; None if it can.
    """

    looks: tuple[Look, ...] = ()
    golden_difference: float | None = None
    fault: str | None = None

    def speeds(self, shapes: Sequence[str]) -> list[float]:
        """How many times as quick as the untuned way in each look: geometric mean over shapes."""
        return [float(np.exp(np.mean([np.log(look.speeds[shape]) for shape in shapes]))) for look in self.looks]

    def speed(self, shapes: Sequence[str]) -> float:
        """How many times as quick as the untuned way in the median look."""
        return float(np.median(self.speeds(shapes)))

    def is_quicker(self, shapes: Sequence[str]) -> bool:
        """Whether it is quicker than the untuned way beyond doubt: in three looks of four, of three at least."""
        speeds = self.speeds(shapes)
        return len(speeds) >= MIN_LOOKS and float(np.quantile(speeds, 0.25)) > 1.0

    def milliseconds(self, shape: str) -> float:
        """Median call over all looks."""
        return float(np.median([look.milliseconds[shape] for look in self.looks]))


@dataclass(slots=True)
class Measurements:
    """All that was measured of an artifact on this machine.

    Attributes:
        header: What they hold for: artifact, machine, provider, shapes, untuned way. Others are not mixed with them.
        seen: What is known of each way that was looked at.
        memory: Bytes by which a process grows that loads and runs a graph, by file.
        agreement: Share of the caller's texts with the answer of fp32, or mean cosine, by precision.
        num_texts: How many texts that was measured on.
        texts_key: Tells one set of texts from another.
    """

    header: Mapping[str, Any]
    seen: dict[Way, Seen] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    agreement: dict[Precision, float] = field(default_factory=dict)
    num_texts: int = 0
    texts_key: str = ""

    @property
    def sound(self) -> dict[Way, Seen]:
        """The ways that may be chosen. The first one is untuned: all others were timed beside it."""
        return {way: seen for way, seen in self.seen.items() if seen.fault is None}

    def add(self, way: Way, finding: Finding, seconds: float) -> None:
        """Note what a look of so many seconds brought to light, of a way and of the untuned one beside it."""
        known = self.seen.get(way, Seen())
        self.seen[way] = replace(known, golden_difference=finding.golden_difference, fault=finding.fault)
        if finding.fault is not None:
            return
        untuned = next(iter(self.sound))
        speeds = {shape: finding.beside[shape] / taken for shape, taken in finding.milliseconds.items()}
        self._append(way, Look(finding.milliseconds, speeds, seconds))
        if way != untuned:
            self._append(untuned, Look(finding.beside, dict.fromkeys(speeds, 1.0), 0.0))

    def expected_seconds(self, way: Way) -> float:
        """What another look at a way will take, going by those before; 0 if there were none at any."""
        own = [look.seconds for look in self.seen[way].looks] if way in self.seen else []
        return max(own or [look.seconds for seen in self.seen.values() for look in seen.looks], default=0.0)

    def _append(self, way: Way, look: Look) -> None:
        self.seen[way] = replace(self.seen[way], looks=(*self.seen[way].looks, look))

    def save(self, path: Path) -> None:
        """Write all of it.

        Raises:
            ConfigError: The file can't be written.
        """
        document = asdict(replace(self, seen={}))
        document["seen"] = [{"way": asdict(way), **asdict(seen)} for way, seen in self.seen.items()]
        write_whole(path, document)

    @classmethod
    def load(cls, path: Path, header: Mapping[str, Any]) -> Measurements:
        """Read what `save` wrote; nothing measured yet, if there is no such file or it holds for something else."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["header"] == header:
                return cls(
                    header=header,
                    seen={Way.from_json(entry["way"]): _seen(entry) for entry in document["seen"]},
                    memory=dict(document["memory"]),
                    agreement=dict(document["agreement"]),
                    num_texts=int(document["num_texts"]),
                    texts_key=str(document["texts_key"]),
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # measuring anew is all that can be done, and costs no more than the budget
        return cls(header)


def _seen(entry: Mapping[str, Any]) -> Seen:
    return Seen(tuple(map(_look, entry["looks"])), entry["golden_difference"], entry["fault"])


def _look(entry: Mapping[str, Any]) -> Look:
    milliseconds, speeds = (
        {str(shape): float(value) for shape, value in entry[name].items()} for name in ("milliseconds", "speeds")
    )
    return Look(milliseconds, speeds, float(entry["seconds"]))
