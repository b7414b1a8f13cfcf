"""Making one precision: candidate graphs, the choice among them, and the gate."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from ortolan.config import Precision, SessionConfig
from ortolan.manifest import Graph, PrecisionRecord
from ortolan.postprocess.activations import FloatArray
from ortolan.session.ort import OrtSession
from ortolan.session.processors import cpu_features
from ortolan.session.providers import provider_named
from ortolan_exporters import choose
from ortolan_exporters.errors import ToleranceError
from ortolan_exporters.evidence import Evidence
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.registry import AttentionForm, attention_forms
from ortolan_exporters.progress import say
from ortolan_exporters.quality import faults
from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.sensitivity import rank_layers, trials
from ortolan_exporters.validate import check_interface, compare

FILES: dict[Precision, str] = {"fp32": "onnx/model.onnx", "int8": "onnx/model_quantized.onnx"}
"""Where each precision stands: the names that transformers.js and optimum look for."""

INT8_GOLDEN_TOLERANCE = 0.05
"""What a golden logit of int8 may differ on another machine: a float that falls on the other side of a rounding step
moves a whole tensor's activations by one step of 255."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What is known of a graph, and why it must not be published, if so."""

    record: PrecisionRecord
    faults: list[str]


class Workshop:
    """Makes precisions of one traced graph, in one folder."""

    def __init__(self, graph: ir.Model, evidence: Evidence, work: Path) -> None:
        self._graph = graph
        self._evidence = evidence
        self._work = work
        self._candidates = work / "candidates"
        self._candidates.mkdir()
        (work / "onnx").mkdir()
        self._provider = provider_named("cpu")

    def close(self) -> None:
        """Remove what was tried and not chosen."""
        shutil.rmtree(self._candidates)

    def make(self, precision: Precision) -> PrecisionRecord:
        """Make a precision and put it through the gate.

        Raises:
            ToleranceError: It does not pass, and for int8 neither does any mix with fp32 layers.
        """
        say(f"{precision}: measuring attention forms")
        candidate = self._candidate(precision, ())
        if not candidate.faults:
            return self._finish(precision, candidate)
        say(f"{precision}: {'; '.join(candidate.faults)}")
        if precision == "int8":
            for keep in trials(self._ranked()):
                candidate = self._candidate(precision, keep)
                verdict = "; ".join(candidate.faults) or "passes"
                say(f"{precision} with {len(keep)} layers in fp32 ({', '.join(keep[:3])}...): {verdict}")
                if not candidate.faults:
                    return self._finish(precision, candidate)
        raise ToleranceError(
            f"{precision} of '{self._evidence.checkpoint.source['name']}' requested",
            "; ".join(candidate.faults),
            "export --precision fp32 alone, or raise --max-drop where a drop is over it"
            if precision == "int8"
            else "please report this",
        )

    def _candidate(self, precision: Precision, keep: Collection[str]) -> _Candidate:
        """Make the graph in every form, keep the quickest, and compare it with torch."""
        evidence, checkpoint = self._evidence, self._evidence.checkpoint
        files: dict[AttentionForm, Path] = {}
        for form, passes in attention_forms(keep).items():
            graph = self._graph.clone()
            run_passes(graph, passes)
            if precision == "int8":
                quantize_dynamic(graph, keep_fp32=keep)
            files[form] = self._candidates / f"{precision}-{form}.onnx"
            ir.save(graph, files[form])
        vocabulary = checkpoint.module.config.vocab_size
        ways = choose.measure(files, self._provider, checkpoint.architecture, vocabulary, checkpoint.max_length)
        path = self._work / FILES[precision]
        shutil.copyfile(files[ways[0].attention], path)
        session = OrtSession(path, self._provider, SessionConfig(provider="cpu"), ways[0].disabled_optimizers)
        check_interface(session.signature, checkpoint.architecture, checkpoint.module.config.num_labels)
        parity = compare(session, evidence.batches, evidence.batch_logits)
        quality, metric = evidence.agreement(session), evidence.metric(session)
        tolerance = checkpoint.architecture.tolerance
        if precision == "fp32":
            over = parity.max_difference > tolerance
            reasons = [f"logits differ by {parity.max_difference:.2g}, {tolerance:.2g} allowed"] if over else []
        else:
            reasons = faults(quality, metric, evidence.max_drop)
        measured = {**quality.to_json(), "max_drop": evidence.max_drop}
        record = PrecisionRecord(
            graphs={"model": Graph(FILES[precision], session.signature)},
            providers={self._provider.name: choose.to_json(ways)},
            parity=parity.to_json(),
            quality=measured if metric is None else {**measured, "metric": metric.to_json()},
            kept_fp32=tuple(keep),
            cpu_features=tuple(sorted(cpu_features())),
            golden=evidence.golden_outputs(session, tolerance if precision == "fp32" else INT8_GOLDEN_TOLERANCE),
        )
        return _Candidate(record, reasons)

    def _finish(self, precision: Precision, candidate: _Candidate) -> PrecisionRecord:
        record = candidate.record
        quality, metric = record.quality, record.quality.get("metric")
        line = (
            f"{precision} passes: {record.providers['cpu']['attention']} attention, "
            f"logits within {record.parity['max_difference']:.2g} of torch, "
            f"same label {quality['label_agreement']:.2%} of {quality['texts']} texts"
        )
        say(line + (f", accuracy {metric['torch']:.4f} to {metric['this']:.4f}" if metric else ""))
        return record

    def _ranked(self) -> list[str]:
        """Order the layers by what int8 does to each alone."""

        def answer(keep: frozenset[str]) -> FloatArray:
            graph = self._graph.clone()
            quantize_dynamic(graph, keep_fp32=keep)
            path = self._candidates / "layer.onnx"
            ir.save(graph, path)
            return self._evidence.answer(OrtSession(path, self._provider, SessionConfig(provider="cpu"), ()))

        return rank_layers(self._graph, answer, self._evidence.calibration_logits)
