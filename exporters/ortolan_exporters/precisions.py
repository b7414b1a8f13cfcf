"""Making one precision: candidate graphs, the gate, and the choice among those that pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import onnx_ir as ir

from ortolan.config import Precision, SessionConfig
from ortolan.growing import in_place
from ortolan.manifest import Graph, PrecisionRecord
from ortolan.progress import say
from ortolan.session.base import Session
from ortolan.session.ort import OrtSession
from ortolan.session.processors import cpu_features
from ortolan.session.providers import provider_named
from ortolan.teacher_forcing import TeacherForced, whole_texts
from ortolan_exporters import choose
from ortolan_exporters.errors import ToleranceError
from ortolan_exporters.evidence import Evidence
from ortolan_exporters.graph_files import save_graph
from ortolan_exporters.passes.registry import attention_forms
from ortolan_exporters.quality import faults
from ortolan_exporters.quantize.calibrate import Histogram, Method, collect, ranges
from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.half import to_half
from ortolan_exporters.quantize.sensitivity import Group, rank_layers, trials
from ortolan_exporters.quantize.static import quantize_static
from ortolan_exporters.quantize.weight_only import quantize_weights
from ortolan_exporters.reference import feed_of
from ortolan_exporters.validate import check_interface, compare

SUFFIXES: dict[Precision, str] = {
    "fp32": "",
    "int8": "_quantized",
    "int8-static": "_int8_static",
    "int4": "_q4",
    "fp16": "_fp16",
}
STEMS = {
    "model": "model",
    "encoder": "encoder_model",
    "decoder": "decoder_model",
    "decoder_with_past": "decoder_with_past_model",
}
"""How the file of each graph is called: as transformers.js and optimum look for it, as far as they do."""

MAX_STATIC_TEXTS = 128
"""Texts that the ranges of static int8 are counted on."""

ACCURACY_LEVELS = (4, 1)
"""What int4 may compute in: int8, or float32. Which is quicker depends on the CPU."""

BLOCKS = ", blocks"
"""What is added to the name of the form where int8 has a scale for each block of weights and activations."""

GOLDEN_TOLERANCE = 0.05
"""What a golden output of a reduced precision may differ on another machine, as a share of the largest output: a float
that falls on the other side of a rounding step moves a whole tensor's activations by one step of 255."""

Files = Mapping[str, Path]
"""The file of each graph, by role."""

CHUNK, NUM_IN_CHUNKS = 3, 8
"""Tokens that a decoder over a cache reads at a time, and batches for which it does: what it is there for."""

Reduce = Callable[..., object]
"""Turns a float32 graph to a precision, in place; takes the graph and `keep_fp32`."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What is known of a graph, and why it must not be published, if so."""

    parity: dict[str, Any]
    quality: dict[str, Any]
    faults: list[str]
    summary: str


class Workshop:
    """Makes precisions of one traced model, in one folder."""

    def __init__(
        self, graphs: Mapping[str, ir.Model], evidence: Evidence, work: Path, *, keeps_forms: bool = False
    ) -> None:
        self._graphs = graphs
        self._evidence = evidence
        self._work = work
        self._keeps_forms = keeps_forms
        self._candidates = work / "candidates"
        self._candidates.mkdir()
        (work / "onnx").mkdir()
        self._provider = provider_named("cpu")

    def close(self) -> None:
        """Remove what was tried and not chosen."""
        shutil.rmtree(self._candidates)

    def make(self, precision: Precision) -> PrecisionRecord:
        """Make a precision and put it through the gate, by one method after the other.

        If none passes, the layers that suffer most from the last one stay in float32 until it does.

        Raises:
            ToleranceError: It does not pass, and neither does any mix with fp32 layers.
        """
        keep: tuple[str, ...] = ()
        for ways in self._methods(precision):
            candidate = self._judge(self._reference(precision, ways, keep), precision)
            if not candidate.faults:
                return self._publish(precision, ways, keep, candidate)
            say(f"{precision}{next(iter(ways))}: {'; '.join(candidate.faults)}")
        if precision != "fp32":
            for names in trials(self._ranked(ways)):
                keep = tuple(names)
                candidate = self._judge(self._reference(precision, ways, keep), precision)
                verdict = "; ".join(candidate.faults) or "passes"
                say(f"{precision} with {len(keep)} layers in fp32 ({', '.join(keep[:3])}...): {verdict}")
                if not candidate.faults:
                    break
        if candidate.faults:
            raise ToleranceError(
                f"{precision} of '{self._evidence.checkpoint.source['name']}' requested",
                "; ".join(candidate.faults),
                "please report this"
                if precision == "fp32"
                else "leave it out, raise --max-drop, or let labelled texts decide (--eval)",
            )
        return self._publish(precision, ways, keep, candidate)

    def _methods(self, precision: Precision) -> list[Mapping[str, Reduce]]:
        """Methods to reduce graphs to a precision, the one to try first at the beginning.

        Each has one way or several, of which the first is judged and the quickest is taken, by what is added to the
        name of the form.
        """
        if precision == "int8":
            dynamic: Mapping[str, Reduce] = {"": quantize_dynamic}
            checkpoint = self._evidence.checkpoint
            if not checkpoint.head.writes or checkpoint.layout == "portable":
                return [dynamic]
            # one scale for an activation, or one for each block of it: for whole texts at half the speed, but texts
            # that are written wait for the weights, which are as large
            return [dynamic, {BLOCKS: partial(quantize_weights, bits=8, accuracy_level=4)}]
        if precision == "int8-static":
            method, found = self._best_ranges()
            say(f"int8-static: {method} ranges")
            return [{"": partial(quantize_static, ranges=found)}]
        if precision == "int4":
            return [{f", level {level}": partial(quantize_weights, accuracy_level=level) for level in ACCURACY_LEVELS}]
        return [{"": to_half if precision == "fp16" else lambda *_, **__: None}]

    def _reference(self, precision: Precision, ways: Mapping[str, Reduce], keep: Collection[str]) -> Files:
        """Make the graphs that quality is judged by first, in the form that every precision has."""
        graphs = next(iter(attention_forms(self._graphs, keep).values()))
        return self._reduced(graphs, next(iter(ways.values())), keep, str(precision))

    def _reduced(self, graphs: Mapping[str, ir.Model], reduce: Reduce, keep: Collection[str], name: str) -> Files:
        """Reduce copies of graphs, and write them."""
        files: dict[str, Path] = {}
        for role, graph in graphs.items():
            copy = graph.clone()
            reduce(copy, keep_fp32=keep)
            files[role] = save_graph(copy, self._candidates / f"{name}-{role}.onnx")
        return files

    def _judge(self, files: Files, precision: Precision, disabled_optimizers: Sequence[str] = ()) -> _Candidate:
        """Compare graphs with torch."""
        evidence = self._evidence
        session = self._load(files, disabled_optimizers)
        check_interface(session.signature, evidence.checkpoint)
        parity = compare(session, evidence.batches, evidence.batch_outputs)
        if isinstance(session, TeacherForced):
            parity = parity.worse(
                compare(
                    self._load(files, disabled_optimizers, chunk=CHUNK),
                    evidence.batches[:NUM_IN_CHUNKS],
                    evidence.batch_outputs[:NUM_IN_CHUNKS],
                )
            )
        quality, metric = evidence.agreement(session), evidence.metric(session)
        reasons = faults(quality, metric, evidence.max_drop, evidence.checkpoint.head.least_agreement)
        if precision == "fp32":
            allowed = evidence.checkpoint.architecture.tolerance * parity.scale
            over = parity.max_difference > allowed
            reasons = [f"outputs differ by {parity.max_difference:.2g}, {allowed:.2g} allowed"] if over else []
        measured = {**quality.to_json(), "max_drop": evidence.max_drop}
        summary = f"outputs within {parity.max_difference:.2g} of torch, {quality}"
        if metric is not None:
            measured["metric"] = metric.to_json()
            summary += f", {metric.name} {metric.torch:.4f} to {metric.this:.4f}"
        return _Candidate(parity.to_json(), measured, reasons, summary)

    def _publish(
        self, precision: Precision, ways: Mapping[str, Reduce], keep: tuple[str, ...], judged: _Candidate
    ) -> PrecisionRecord:
        """Take the quickest of the forms that pass."""
        forms = self._forms(precision, ways, keep)
        first = next(iter(forms))
        if precision not in self._provider.precisions:  # its time here would say nothing
            return self._record(precision, forms, first, keep, judged)
        timed = choose.measure(forms, self._load, self._evidence.checkpoint)
        for way in timed:
            if (way.attention, way.disabled_optimizers) != (first, ()):  # that one has been judged already
                candidate = self._judge(forms[way.attention], precision, way.disabled_optimizers)
                if candidate.faults:
                    say(f"{precision}: {way.attention} is quickest and does not pass: {'; '.join(candidate.faults)}")
                    continue
                judged = candidate
            break
        record = self._record(precision, forms, way.attention, keep, judged)
        return replace(record, providers={self._provider.name: choose.to_json(way, timed)})

    def _forms(self, precision: Precision, ways: Mapping[str, Reduce], keep: Collection[str]) -> dict[str, Files]:
        """Make every form of a precision, and its files."""
        files: dict[str, Files] = {}
        for form, graphs in attention_forms(self._graphs, keep).items():
            if (form == "packed" and (precision == "int4" or BLOCKS in ways)) or (precision == "fp16" and files):
                continue  # no operator packs blocks; float16 is for GPUs, which run the fused form and are not here
            for suffix, reduce in ways.items():
                files[f"{form}{suffix}"] = self._reduced(graphs, reduce, keep, f"{precision}-{len(files)}")
        return files

    def _record(
        self, precision: Precision, forms: Mapping[str, Files], form: str, keep: tuple[str, ...], judged: _Candidate
    ) -> PrecisionRecord:
        say(f"{precision} passes: {form} attention, {judged.summary}")
        places = {role: f"onnx/{STEMS[role]}{SUFFIXES[precision]}.onnx" for role in self._graphs}
        files = {role: save_graph(ir.load(forms[form][role]), self._work / place) for role, place in places.items()}
        graphs = {role: Graph(place, self._open(files[role], ()).signature) for role, place in places.items()}
        session = self._load(files, ())
        kept: dict[str, Graph] = {}
        # forms of several graphs are not kept: nobody tunes how texts are written yet
        for name, other in forms.items() if self._keeps_forms and len(forms) > 1 and len(graphs) == 1 else ():
            stem = Path(places["model"]).stem
            kept[name] = Graph(f"onnx/forms/{stem}_{name.replace(', level ', '_level')}.onnx", session.signature)
            if name == form:
                kept[name] = graphs["model"]
                continue
            (self._work / "onnx" / "forms").mkdir(exist_ok=True)
            save_graph(ir.load(other["model"]), self._work / kept[name].file)
        share = self._evidence.checkpoint.architecture.tolerance if precision == "fp32" else GOLDEN_TOLERANCE
        return PrecisionRecord(
            graphs=graphs,
            providers={},
            parity=judged.parity,
            quality=judged.quality,
            kept_fp32=keep,
            cpu_features=tuple(sorted(cpu_features())),
            golden=self._evidence.golden_outputs(session, share * judged.parity["scale"]),
            forms=kept,
        )

    def _load(self, files: Files, disabled_optimizers: Sequence[str], chunk: int | None = None) -> Session:
        """Load graphs as what reads whole texts."""
        sessions = {role: self._open(path, disabled_optimizers) for role, path in files.items()}
        return whole_texts(in_place(sessions), self._evidence.checkpoint.config.to_dict(), chunk=chunk)

    def _open(self, path: Path, disabled_optimizers: Sequence[str]) -> OrtSession:
        return OrtSession(path, self._provider, SessionConfig(provider="cpu"), disabled_optimizers)

    def _ranked(self, ways: Mapping[str, Reduce]) -> list[Group]:
        """Order the layers by what a precision does to each alone."""
        reduce = next(iter(ways.values()))

        def damage(keep: frozenset[str]) -> float:
            return self._evidence.damage(self._load(self._reduced(self._graphs, reduce, keep, "layer"), ()))

        return rank_layers(self._graphs.values(), damage)

    def _best_ranges(self) -> tuple[str, Mapping[str, Any]]:
        """Count activations once, and take the method whose ranges do the least damage."""
        damage = {}
        for method in get_args(Method):
            reduce = partial(quantize_static, ranges=ranges(self._histograms, method))
            session = self._load(self._reduced(self._graphs, reduce, (), "ranges"), ())
            damage[method] = self._evidence.damage(session)
        best = min(damage, key=damage.__getitem__)
        return best, ranges(self._histograms, best)

    @cached_property
    def _histograms(self) -> Mapping[str, Histogram]:
        evidence = self._evidence
        step = max(1, len(evidence.encodings) // MAX_STATIC_TEXTS)
        texts = evidence.encodings[::step][:MAX_STATIC_TEXTS]
        feeds = [feed_of(evidence.checkpoint, evidence.tokenizer, [one]) for one in texts]
        return collect(self._graphs, feeds, evidence.checkpoint.config.to_dict())
