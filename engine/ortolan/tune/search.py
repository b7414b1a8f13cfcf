"""Spending a budget of time on the ways that may be worth it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ortolan.choice import Way
from ortolan.manifest import Manifest
from ortolan.progress import Bar
from ortolan.request import TextInput
from ortolan.tune.measure import Bench
from ortolan.tune.measurements import Measurements
from ortolan.tune.pareto import Prefer
from ortolan.tune.schedule import next_way
from ortolan.tune.worth import graph_file, promising

TEXTS_SHARE = 0.2
"""Part of the budget for answering the caller's own texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search for the best way to run an artifact.

    Attributes:
        manifest: Of the artifact.
        ways: What can be tried; what runs untuned comes first.
        bench: Measures.
        notes: What was measured, before and here.
        prefer: What the best way is best at.
        budget_seconds: How long to measure.
        until: When the budget is spent, by `clock`.
        clock: Seconds from any moment on.
        save: Called after each measurement.
    """

    manifest: Manifest
    ways: Sequence[Way]
    bench: Bench
    notes: Measurements
    prefer: Prefer
    budget_seconds: float
    until: float
    clock: Callable[[], float]
    save: Callable[[], None]

    def run(self, texts: Sequence[TextInput] = ()) -> None:
        """Measure until the budget is spent, or there is nothing left to learn.

        In this order, for the time may run out anywhere: a look at each way and the memory of its graph, the
        caller's texts, more looks at the ways that may be the best.
        """
        bar = Bar(round(self.budget_seconds), "tuning", " s")
        try:
            self._look(bar, once=True)
            self._compare(texts)
            self._look(bar, once=False)
        finally:
            bar.close()

    @property
    def _left(self) -> float:
        return self.until - self.clock()

    def _look(self, bar: Bar, *, once: bool) -> None:
        notes = self.notes
        while True:
            candidates = promising(self.ways, notes, self.manifest, self.bench.shapes, self.prefer)
            looks = {way: len(notes.seen[way].looks) if way in notes.seen else 0 for way in candidates}
            way = next_way(candidates, looks)
            if way is None or (once and looks[way]) or self._left <= notes.expected_seconds(way):
                return
            began = self.clock()
            finding = self.bench.look(way, next(iter(notes.sound), way))
            notes.add(way, finding, self.clock() - began)
            if finding.fault is None:
                self._weigh(way)
            self.save()
            bar.show(round(self.budget_seconds - self._left))

    def _weigh(self, way: Way) -> None:
        file = graph_file(self.manifest, way)
        if file not in self.notes.memory and self._left > 0:
            grown = self.bench.memory(way, self._left)
            self.notes.memory |= {} if grown is None else {file: grown}

    def _compare(self, texts: Sequence[TextInput]) -> None:
        notes, key = self.notes, _key(texts)
        ways = {way.precision: way for way in reversed(notes.sound)}  # the first of each precision
        if notes.texts_key == key and notes.agreement.keys() >= ways.keys():
            return
        notes.texts_key, notes.num_texts, notes.agreement = key, 0, {}
        if texts and "fp32" in ways and self._left > 0:
            seconds = min(TEXTS_SHARE * self.budget_seconds, self._left)
            notes.agreement, notes.num_texts = self.bench.agreement(ways, texts, seconds)
        self.save()


def _key(texts: Sequence[TextInput]) -> str:
    pairs = [[item.text, item.text_pair] for item in texts]
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()[:16] if pairs else ""
