"""Which attention form and which of ONNX Runtime's rewrites serve a graph best on a provider, by measurement."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortolan.config import SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.processors import usable_threads
from ortolan.session.providers import Provider
from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.passes.registry import AttentionForm
from ortolan_exporters.reference import Feed

DISABLED_OPTIMIZERS: tuple[tuple[str, ...], ...] = (
    (),
    # ONNX Runtime's CPU SkipLayerNormalization has been slower than the Add and LayerNormalization it replaces
    ("SkipLayerNormFusion",),
)
SHAPES = ((1, 16), (1, 128), (8, 64))
ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to run a graph, and how long it takes.

    Attributes:
        attention: Form of the attention.
        disabled_optimizers: Rewrites of ONNX Runtime that are left out.
        milliseconds: Median of `ROUNDS` runs for each shape, "B x S".
    """

    attention: AttentionForm
    disabled_optimizers: tuple[str, ...]
    milliseconds: Mapping[str, float]

    @property
    def score(self) -> float:
        """Geometric mean of the medians: each shape counts alike."""
        return statistics.geometric_mean(self.milliseconds.values())

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return {
            "attention": self.attention,
            "disabled_optimizers": list(self.disabled_optimizers),
            "milliseconds": {shape: round(value, 4) for shape, value in self.milliseconds.items()},
        }


def measure(
    files: Mapping[AttentionForm, Path], provider: Provider, architecture: Architecture, vocabulary: int, longest: int
) -> list[Measured]:
    """Time every form with every set of disabled optimizers, interleaved so that a busy moment hits all alike.

    All of them are loaded at once: the weights stand in memory six times.

    Args:
        files: The graph in each form.
        provider: Where to run it.
        architecture: Says what the graph reads.
        vocabulary: Ids are drawn below this.
        longest: Most tokens the model reads.

    Returns:
        The ways, fastest first.
    """
    config = SessionConfig(provider=provider.name)
    ways = [(form, disabled) for form in files for disabled in DISABLED_OPTIMIZERS]
    sessions = [OrtSession(files[form], provider, config, disabled) for form, disabled in ways]
    shapes = [(rows, min(length, longest)) for rows, length in SHAPES]
    feeds = [example_batch(architecture.inputs, *shape, vocabulary=vocabulary, padding=False) for shape in shapes]
    by_shape = [_interleaved(sessions, feed) for feed in feeds]
    names = [f"{rows} x {length}" for rows, length in shapes]
    found = [
        Measured(form, disabled, dict(zip(names, medians, strict=True)))
        for (form, disabled), medians in zip(ways, zip(*by_shape, strict=True), strict=True)
    ]
    return sorted(found, key=lambda one: one.score)


def to_json(found: Sequence[Measured]) -> dict[str, Any]:
    """Turn a choice into what a manifest holds: the fastest way, and all that were measured."""
    best = found[0]
    return {
        "attention": best.attention,
        "disabled_optimizers": list(best.disabled_optimizers),
        "threads": usable_threads(),
        "measured": [one.to_json() for one in found],
    }


def _interleaved(sessions: Sequence[OrtSession], feed: Feed) -> list[float]:
    """Median milliseconds of each session on one batch."""
    times: list[list[float]] = [[] for _ in sessions]
    for turn in range(ROUNDS + 1):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(feed)
            if turn:  # the first run allocates
                taken.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(taken) for taken in times]
