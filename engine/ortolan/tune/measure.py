"""Looking at one way: load it, replay its golden texts, time it beside the untuned one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from ortolan.artifact import Artifact
from ortolan.choice import Way, attention_forms
from ortolan.config import Precision, SessionConfig
from ortolan.errors import ArtifactError, InferenceError
from ortolan.manifest import Graph
from ortolan.model import DECODER_IDS
from ortolan.progress import track
from ortolan.request import TextInput
from ortolan.session.base import Array, Session
from ortolan.session.ort import OrtSession
from ortolan.session.providers import Provider
from ortolan.tasks.classify import default_activation
from ortolan.teacher_forcing import decoder_start_id, shift_right
from ortolan.timing import take_turns
from ortolan.tokenize import Encoding, Tokenizer
from ortolan.tune.agreement import agreement
from ortolan.tune.memory import MemoryTask, growth_in_child
from ortolan.tune.ways import make_feed, shapes
from ortolan.verify import golden_sample

CALLS = 3
"""Timed calls at each shape in a look. Many short looks, at different moments, say more than a long one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a way brought to light.

    Attributes:
        golden_difference: Largest difference of its golden answers to the recorded ones; None if there is no number.
        fault: Why it can't be chosen; it was not timed then.
        milliseconds: Median call, by shape "B x S".
        beside: The same of the untuned way, in the same moment.
    """

    golden_difference: float | None = None
    fault: str | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)


class Bench(Protocol):
    """What measures one way after another."""

    @property
    def shapes(self) -> list[str]:
        """What is timed, "B x S": texts alone, and a batch as the last one."""

    def look(self, way: Way, untuned: Way) -> Finding:
        """Replay the golden texts of a way, and time it beside the untuned one; that one alone, if it is the same."""

    def memory(self, way: Way, timeout_seconds: float) -> int | None:
        """Bytes by which a process grows that loads and runs a way; None if that can't be told."""

    def agreement(
        self, ways: Mapping[Precision, Way], texts: Sequence[TextInput], seconds: float
    ) -> tuple[dict[Precision, float], int]:
        """Compare answers to fp32's, on as many texts as the time allows; and say how many that were."""


class OrtBench:
    """The `Bench` on ONNX Runtime. Keeps the untuned session loaded, and at most one more while it is timed."""

    def __init__(self, artifact: Artifact, tokenizer: Tokenizer, provider: Provider, config: SessionConfig) -> None:
        """Prepare to measure.

        Args:
            artifact: What is measured.
            tokenizer: Its tokenizer.
            provider: Where it runs.
            config: Device and cache; its provider and threads are not read.
        """
        self._artifact = artifact
        self._tokenizer = tokenizer
        self._provider = provider
        self._config = config
        self._shapes = shapes(tokenizer.max_length)
        self._golden = tokenizer.encode([golden.input for golden in artifact.manifest.golden_inputs])
        self._ids = [number for encoding in self._golden for number in encoding.ids]
        self._checked: set[str] = set()
        self._untuned: tuple[Way, Session] | None = None
        self._turn = 0

    @property
    def shapes(self) -> list[str]:
        """What is timed, "B x S"."""
        return [f"{rows} x {length}" for rows, length in self._shapes]

    def look(self, way: Way, untuned: Way) -> Finding:
        """Measure a way; see `Bench.look`.

        Raises:
            ArtifactError, InferenceError: The untuned way, which ran before, runs no more.
        """
        beside = None if way == untuned else self._untuned_session(untuned)
        try:
            session = self._open(way)
            difference = self._golden_difference(way, session)
            tolerance = self._artifact.manifest.precisions[way.precision].golden.tolerance
            if not difference <= tolerance:  # not ">": NaN must not pass
                fault = f"golden answers differ by {difference:.2g} here, allowed {tolerance:.2g}"
                return Finding(difference if np.isfinite(difference) else None, fault)
            own, other = self._time(session, beside)
        except (ArtifactError, InferenceError) as error:
            return Finding(fault=error.found)
        if beside is None:
            self._untuned = (way, session)
        return Finding(difference, None, own, other)

    def memory(self, way: Way, timeout_seconds: float) -> int | None:
        """Measure in a child process; see `Bench.memory`."""
        file = str(self._artifact.folder.resolve() / self._graph(way).file)
        task = MemoryTask(file, self._provider.name, way.disabled_optimizers, self._ids, self._shapes)
        return growth_in_child(task, timeout_seconds)

    def agreement(
        self, ways: Mapping[Precision, Way], texts: Sequence[TextInput], seconds: float
    ) -> tuple[dict[Precision, float], int]:
        """Compare text by text; see `Bench.agreement`. Each text runs alone: int8 results depend on a batch."""
        until = time.monotonic() + seconds
        sessions = {precision: self._open(way) for precision, way in ways.items()}
        measure = str(self._artifact.manifest.precisions["fp32"].quality["measure"])
        is_multi_label = default_activation(self._artifact.config) == "sigmoid" and measure == "labels"
        shares: dict[Precision, list[float]] = {precision: [] for precision in ways}
        done = 0
        for encoding in track(self._tokenizer.encode(texts, self._tokenizer.truncation(True, None)), "your texts"):
            outputs = {precision: self._answer(session, encoding) for precision, session in sessions.items()}
            for precision, found in outputs.items():
                share = agreement(outputs["fp32"], found, measure, is_multi_label=is_multi_label)
                shares[precision].append(share)
            done += 1
            if time.monotonic() > until:
                break
        return {precision: float(np.mean(values)) for precision, values in shares.items()}, done

    def _graph(self, way: Way) -> Graph:
        return attention_forms(self._artifact.manifest.precisions[way.precision])[way.attention]

    def _open(self, way: Way) -> Session:
        graph = self._graph(way)
        if graph.file not in self._checked:
            self._artifact.check(self._artifact.files_of(graph))
            self._checked.add(graph.file)
        config = SessionConfig(
            provider=self._provider.name,
            num_threads=way.num_threads,
            device_id=self._config.device_id,
            cache_dir=self._config.cache_dir,
        )
        return OrtSession(self._artifact.folder / graph.file, self._provider, config, way.disabled_optimizers)

    def _untuned_session(self, way: Way) -> Session:
        if self._untuned is None or self._untuned[0] != way:
            self._untuned = (way, self._open(way))
        return self._untuned[1]

    def _answer(self, session: Session, encoding: Encoding) -> dict[str, Array]:
        padded = self._tokenizer.pad([encoding])
        names = [spec.name for spec in session.signature.inputs]
        if DECODER_IDS in names:
            start = decoder_start_id(self._artifact.config, self._artifact.generation_config)
            padded[DECODER_IDS] = shift_right(padded["input_ids"], start)
        return session.run({name: padded[name] for name in names if name in padded})

    def _golden_difference(self, way: Way, session: Session) -> float:
        """Largest difference to the recorded answers; NaN if there are other numbers of values."""
        recorded = self._artifact.manifest.precisions[way.precision].golden.values
        rows = [
            golden_sample(self._answer(session, encoding), len(values))
            for encoding, values in zip(self._golden, recorded, strict=True)
        ]
        if [len(row) for row in rows] != [len(row) for row in recorded]:
            return float("nan")
        return float(np.abs(np.concatenate(rows) - np.concatenate(recorded)).max())

    def _time(self, session: Session, beside: Session | None) -> tuple[dict[str, float], dict[str, float]]:
        """Milliseconds of a session and of the one beside it, by shape; they take turns in being the first."""
        self._turn += 1
        own, other = {}, {}
        for name, shape in zip(self.shapes, self._shapes, strict=True):
            contenders = {"own": session} if beside is None else {"beside": beside, "own": session}
            if self._turn % 2:
                contenders = dict(reversed(contenders.items()))
            calls = {
                who: partial(one.run, make_feed(one.signature, self._ids, *shape)) for who, one in contenders.items()
            }
            medians = {who: float(np.median(taken)) for who, taken in take_turns(calls, CALLS).items()}
            own[name], other[name] = medians["own"], medians.get("beside", medians["own"])
        return own, other
