"""Tracing: what a graph tells of its module, what it must not tell, and what is tried when torch refuses."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch

from ortolan_exporters import TraceError
from ortolan_exporters import trace as trace_module
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace
from tests import tiny
from tests.exporters.parity import check_forms

pytestmark = pytest.mark.parity


@pytest.fixture
def checkpoint() -> Checkpoint:
    """A DistilBERT of one layer."""
    return resolve(tiny.distilbert(n_layers=1), tiny.tokenizer(), ExportConfig())


def names(graph: ir.Model, *kinds: str) -> list[str]:
    return [str(node.name) for node in graph.graph if node.op_type in kinds]


def test_layers_have_the_names_of_their_torch_modules(bert: Checkpoint, bert_graph: ir.Model) -> None:
    modules = dict(bert.module.named_modules())
    layers = names(bert_graph, "Gemm", "MatMul")
    assert [name for name in layers if name in modules] == layers
    assert layers[:4] == [
        "bert.encoder.layer.0.attention.self.query",
        "bert.encoder.layer.0.attention.self.key",
        "bert.encoder.layer.0.attention.self.value",
        "bert.encoder.layer.0.attention.output.dense",
    ]
    assert layers[-1] == "classifier"
    assert "bert.embeddings.word_embeddings" in names(bert_graph, "Gather")


def test_inputs_and_outputs_have_the_names_and_axes_that_were_declared(bert: Checkpoint, bert_graph: ir.Model) -> None:
    inputs = {value.name: [str(axis) for axis in value.shape or ()] for value in bert_graph.graph.inputs}
    assert inputs == {name: ["batch", "sequence"] for name in bert.inputs}
    outputs = [
        (value.name, value.dtype, [str(axis) for axis in value.shape or ()]) for value in bert_graph.graph.outputs
    ]
    assert outputs == [("logits", ir.DataType.FLOAT, ["batch", "2"])]


def test_graph_tells_nothing_of_the_machine_that_traced_it(bert_graph: ir.Model) -> None:
    written = ir.serde.serialize_model(bert_graph).SerializeToString()
    assert str(Path(__file__).parents[2]).encode() not in written
    assert b"site-packages" not in written
    assert b"stack_trace" not in written


def with_failing_module(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint whose module refuses to answer."""
    broken = resolve(checkpoint.module, checkpoint.tokenizer, ExportConfig()).module

    def refuse(*_: object) -> None:
        raise ZeroDivisionError("no answer from this one")

    broken.register_forward_pre_hook(refuse)
    return replace(checkpoint, module=broken)


def state_of(checkpoint: Checkpoint) -> list[object]:
    levels = [logging.getLogger(name).level for name in ("torch.onnx", "transformers")]
    return [*levels, checkpoint.config._attn_implementation, torch.is_grad_enabled()]


def test_module_that_cannot_be_traced_tells_how_each_way_failed_and_changes_nothing(checkpoint: Checkpoint) -> None:
    broken = with_failing_module(checkpoint)
    before = state_of(broken)
    with pytest.raises(TraceError, match="graph of DistilBertForSequenceClassification requested") as raised:
        trace(broken)
    for way in ("fused attention: ", "its own attention: ", "the exporter of transformers: "):
        assert way in raised.value.found
    assert raised.value.remedy == "check that the versions are those of constraints.txt"
    assert state_of(broken) == before


def test_module_that_cannot_be_fused_is_traced_with_its_own_attention(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> Any:
        raise ValueError("no operator for this one\nand more lines of it")

    monkeypatch.setattr(trace_module, "fused_attention", refuse)
    graph = trace(checkpoint)["model"]
    told = capsys.readouterr().err
    assert "traced with its own attention (fused attention: ValueError: no operator for this one)" in told
    assert list(check_forms(checkpoint, graph, tmp_path)) == ["own"]
    assert "distilbert.transformer.layer.0.ffn.lin1" in names(graph, "Gemm", "MatMul")


@pytest.mark.slow
def test_exporter_of_transformers_is_the_last_resort(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> Any:
        raise ValueError("not traced by this one")

    monkeypatch.setattr(trace_module, "_trace", refuse)
    graph = trace(checkpoint)["model"]
    assert "traced with the exporter of transformers" in capsys.readouterr().err
    check_forms(checkpoint, graph, tmp_path)
