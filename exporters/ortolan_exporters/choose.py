"""Which attention form and which of ONNX Runtime's rewrites serve a graph best on a provider, by measurement."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ortolan.progress import say
from ortolan.session.base import Session
from ortolan.session.processors import usable_threads
from ortolan.timing import interleave
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.reference import Feed
from ortolan_exporters.resolve import Checkpoint

DISABLED_OPTIMIZERS: tuple[tuple[str, ...], ...] = (
    (),
    # ONNX Runtime's CPU SkipLayerNormalization has been slower than the Add and LayerNormalization it replaces
    ("SkipLayerNormFusion",),
)
SHAPES = ((1, 16), (1, 128), (8, 32))
WRITING_SHAPES = ((1, 1), (1, 64), (8, 1))
"""Where texts are written a token at a time."""

MAX_LOADED_BYTES = 4_000_000_000
"""Weights of all the graphs that are timed together; ONNX Runtime may keep a second copy of each, packed."""

ROUNDS = 5
CALLS = 3

Way = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to run a graph, and how long it takes.

    Attributes:
        attention: Form of the attention, and with what accuracy level int4 computes.
        disabled_optimizers: Rewrites of ONNX Runtime that are left out.
        milliseconds: Median call for each shape, "B x S".
        speed: How many times as quick as the first way that was measured: geometric mean over the shapes of the
            median ratio within a round, so that each shape counts alike.
    """

    attention: str
    disabled_optimizers: tuple[str, ...]
    milliseconds: Mapping[str, float]
    speed: float

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return {
            "attention": self.attention,
            "disabled_optimizers": list(self.disabled_optimizers),
            "milliseconds": {shape: round(value, 4) for shape, value in self.milliseconds.items()},
            "speed": round(self.speed, 4),
        }


def measure(
    files: Mapping[str, Mapping[str, Path]], load: Callable[..., Session], checkpoint: Checkpoint
) -> list[Measured]:
    """Time every form with every set of disabled optimizers, each at its turn.

    All of them are loaded at once, the weights of each; of a large model only as many as `MAX_LOADED_BYTES` holds.

    Args:
        files: The graphs of each form.
        load: Loads the graphs of a form, without some of the rewrites.
        checkpoint: Says what the graph reads.

    Returns:
        The ways, fastest first.
    """
    ways = _within_memory([(form, disabled) for form in files for disabled in DISABLED_OPTIMIZERS], files)
    sessions = {way: load(files[way[0]], way[1]) for way in ways}
    wanted = WRITING_SHAPES if checkpoint.is_cached else SHAPES
    shapes = [(rows, min(length, checkpoint.max_length)) for rows, length in wanted]
    feeds = [
        example_batch(checkpoint.inputs, *shape, vocabulary=checkpoint.vocabulary, padding=False) for shape in shapes
    ]
    times = [interleave(_calls(sessions, feed), ROUNDS, f"attention forms at {_shape(feed)}", CALLS) for feed in feeds]
    found = []
    for form, disabled in ways:
        milliseconds = {_shape(feed): one[form, disabled].median for feed, one in zip(feeds, times, strict=True)}
        ratios = [one[form, disabled].times_as_quick_as(one[ways[0]]) for one in times]
        found.append(Measured(form, disabled, milliseconds, statistics.geometric_mean(ratios)))
    return sorted(found, key=lambda one: -one.speed)


def to_json(best: Measured, found: Sequence[Measured]) -> dict[str, Any]:
    """Turn a choice into what a manifest holds: the best way, and all that were measured."""
    return {
        "attention": best.attention,
        "disabled_optimizers": list(best.disabled_optimizers),
        "threads": usable_threads(),
        "measured": [one.to_json() for one in found],
    }


def _within_memory(ways: Sequence[Way], files: Mapping[str, Mapping[str, Path]]) -> list[Way]:
    """Leave out what does not fit, the last ones first; one way is always left."""
    loaded = np.cumsum(
        [
            sum(part.stat().st_size for path in files[form].values() for part in path.parent.glob(f"{path.name}*"))
            for form, _ in ways
        ]
    )
    fitting = max(1, int((loaded <= MAX_LOADED_BYTES).sum()))
    if fitting < len(ways):
        say(f"{fitting} of {len(ways)} ways to run it are timed: more would not fit in memory")
    return list(ways[:fitting])


def _calls(sessions: Mapping[Way, Session], feed: Feed) -> dict[Way, Callable[[], object]]:
    return {way: partial(session.run, feed) for way, session in sessions.items()}


def _shape(feed: Feed) -> str:
    rows, length = feed["input_ids"].shape
    return f"{rows} x {length}"
