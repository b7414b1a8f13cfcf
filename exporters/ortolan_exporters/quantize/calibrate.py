"""Ranges of activations, measured on texts: what constant scales are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ortolan.config import SessionConfig
from ortolan.growing import in_place
from ortolan.postprocess.activations import FloatArray
from ortolan.progress import track
from ortolan.session.base import Array, Signature, Stop
from ortolan.session.ort import OrtSession
from ortolan.session.providers import provider_named
from ortolan.teacher_forcing import whole_texts
from ortolan_exporters.errors import QuantizeError
from ortolan_exporters.graph_files import save_graph
from ortolan_exporters.quantize.layers import find_layers
from ortolan_exporters.reference import Feed

NUM_BINS = 2048
MAX_UINT8 = 255
PERCENTILE = 99.99

NUM_LEVELS = 128
"""Magnitudes that int8 tells apart: the entropy method asks how much is lost in them."""

ALMOST_NEVER = 1e-4
"""How often a magnitude is taken to occur that no level is near: what ONNX Runtime's calibrator takes."""

THRESHOLD_STEP = 8
"""Bins between the thresholds that the entropy method tries."""

Method = Literal["minmax", "percentile", "entropy"]


@dataclass(frozen=True, slots=True)
class Range:
    """What of an activation uint8 is to represent. 0 is part of it, and has an integer of its own."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -np.inf < self.low <= 0 <= self.high < np.inf:
            raise QuantizeError(
                "a range of an activation requested", f"got {self.low} to {self.high}", "give finite ends around 0"
            )

    @property
    def scale(self) -> float:
        """Width of one of the 255 steps, a float32; 1 where the range is too narrow to have any."""
        spread = self.high - self.low
        return float(np.float32(spread / MAX_UINT8)) if spread >= np.finfo(np.float32).tiny * MAX_UINT8 else 1.0

    @property
    def zero_point(self) -> int:
        """The integer from 0 to 255 that stands for 0."""
        return min(round(-self.low / self.scale), MAX_UINT8)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How large an activation gets.

    Attributes:
        low: Least value.
        high: Greatest value.
        counts: How often each magnitude occurs, in equal bins from 0 to the largest one; int64 [bins].
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return max(-self.low, self.high)

    def up_to(self, bins: int) -> Range:
        """Make a range of the magnitudes in the first bins."""
        limit = self.largest * bins / len(self.counts)
        return Range(max(min(self.low, 0.0), -limit), min(max(self.high, 0.0), limit))


def collect(models: Mapping[str, ir.Model], feeds: Sequence[Feed], config: Mapping[str, Any]) -> dict[str, Histogram]:
    """Run graphs twice over texts, and count what their quantizable layers read.

    Passes that make another form of attention keep the names of these tensors, so that the ranges of one form serve
    all of them.

    Args:
        models: float32 graphs by role. Not modified.
        feeds: A text each, by itself: padding would be counted too.
        config: config.json of the model.

    Returns:
        A histogram for each tensor that a matrix product or a packed attention reads, by name.

    Raises:
        QuantizeError: No such tensor, no texts, or NaN or infinity in one of the tensors.
    """
    names = {role: _read_by_layers(model) for role, model in models.items()}
    if not any(names.values()) or not feeds:
        found = "the graph has no matrix product with a constant matrix" if feeds else "no texts"
        raise QuantizeError("ranges of activations requested", found, "calibrate a float32 graph, on texts")
    with tempfile.TemporaryDirectory() as folder:
        watched = {
            role: _Watched(save_graph(_observed(model, names[role]), Path(folder) / f"{role}.onnx"), names[role])
            for role, model in models.items()
        }
        session = whole_texts(in_place(watched), config)

        def observe(what: str) -> Iterator[tuple[str, FloatArray]]:
            for feed in track(feeds, what):
                session.run(feed)
                for one in watched.values():
                    yield from one.seen.items()

        return count(observe)


class _Watched:
    """A session that remembers what its layers read in the last run.

    Attributes:
        seen: By name of the tensor.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._session = OrtSession(path, provider_named("cpu"), SessionConfig(provider="cpu"), ())
        self._names = names
        self.seen: dict[str, FloatArray] = {}

    @property
    def signature(self) -> Signature:
        return self._session.signature

    @property
    def provider(self) -> str:
        return self._session.provider

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        outputs = self._session.run(feed, stop)
        self.seen = {name: outputs[name] for name in self._names}
        return outputs


def count(observe: Callable[[str], Iterator[tuple[str, FloatArray]]]) -> dict[str, Histogram]:
    """Count magnitudes in two passes, holding one array at a time.

    Args:
        observe: Starts over and gives arrays of any shape, each with the name of its tensor; is told what it is for.

    Raises:
        QuantizeError: An array holds NaN or infinity.
    """
    spans: dict[str, tuple[float, float]] = {}
    for name, array in observe("measuring ranges"):
        low, high = float(array.min()), float(array.max())
        if not np.isfinite((low, high)).all():
            raise QuantizeError("ranges of activations requested", f"'{name}' holds NaN or infinity", "use fp32")
        before = spans.get(name, (low, high))
        spans[name] = min(low, before[0]), max(high, before[1])
    found = {name: Histogram(*span, np.zeros(NUM_BINS, np.int64)) for name, span in spans.items()}
    for name, array in observe("counting magnitudes"):
        one = found[name]
        per_unit = NUM_BINS / one.largest if one.largest else 0.0
        bins = np.multiply(np.abs(array.reshape(-1)), per_unit, dtype=np.float64)
        one.counts[:] += np.bincount(np.minimum(bins.astype(np.intp), NUM_BINS - 1), minlength=NUM_BINS)
    return found


def ranges(histograms: Mapping[str, Histogram], method: Method) -> dict[str, Range]:
    """Choose the range of each tensor.

    Args:
        histograms: What was counted.
        method: "minmax" takes all of it; "percentile" leaves out the largest magnitudes, one in 10,000; "entropy"
            cuts where the distribution loses least.
    """
    choose = {"minmax": _all, "percentile": _percentile, "entropy": _least_divergence}[method]
    return {name: one.up_to(choose(one.counts)) for name, one in histograms.items()}


def _all(counts: NDArray[np.int64]) -> int:
    return len(counts)


def _percentile(counts: NDArray[np.int64]) -> int:
    below = np.cumsum(counts)
    return int(np.searchsorted(below, below[-1] * (PERCENTILE / 100))) + 1


def _least_divergence(counts: NDArray[np.int64]) -> int:
    """Number of bins to keep, so that what they hold, rounded to 128 levels, diverges least from what all hold.

    Source:
        Migacz (2017), "8-bit Inference with TensorRT", GPU Technology Conference, slides 25 and 38.
    """
    tried = range(len(counts), NUM_LEVELS - 1, -THRESHOLD_STEP)
    return min(tried, key=lambda kept: _divergence(counts, kept))


def _divergence(counts: NDArray[np.int64], kept: int) -> float:
    """Kullback-Leibler divergence of all from the first bins, rounded to levels; the rest counts to the last one."""
    inside = counts[:kept].astype(np.float64)
    reference = inside.copy()
    reference[-1] += counts[kept:].sum()
    occurs = reference > 0
    level = np.arange(kept) * NUM_LEVELS // kept
    sums, sharing = np.bincount(level, inside), np.bincount(level, occurs)
    rounded = np.maximum((sums[level] / np.maximum(sharing[level], 1))[occurs], ALMOST_NEVER)
    reference = reference[occurs]
    ratio = reference / rounded * (rounded.sum() / reference.sum())
    return float(np.sum(reference * np.log(ratio)) / reference.sum())


def _read_by_layers(model: ir.Model) -> list[str]:
    nodes = [node for layer in find_layers(model) for node in (*layer.products, *layer.attentions)]
    return sorted({str(node.inputs[0].name) for node in nodes if node.inputs[0] is not None})


def _observed(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Copy a graph, with values of it as outputs too."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    values |= {value.name: value for value in copy.graph.inputs}
    for name in names:
        value = values[name]
        value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
        if not value.is_graph_output():
            copy.graph.outputs.append(value)
    return copy
