"""Tiny traced models whose weights are tied or shared, and what ONNX Runtime makes of a graph."""

from __future__ import annotations

import collections
import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
import transformers

from ortolan_exporters.fused import fused_attention
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.registry import CLEAN_UP
from ortolan_exporters.passes.unfuse_attention import UnfuseAttention
from ortolan_exporters.trace import _quiet

VOCABULARY, HIDDEN = 300, 32
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}

FEED = {
    "input_ids": np.random.default_rng(1).integers(0, VOCABULARY, (3, 12)),
    "attention_mask": (np.arange(12) < np.array([[12], [9], [4]])).astype(np.int64),
}
CALIBRATION = [
    {"input_ids": np.random.default_rng(n).integers(0, VOCABULARY, (1, n)), "attention_mask": np.ones((1, n), np.int64)}
    for n in range(4, 24)
]


def bert() -> ir.Model:
    """BERT with a masked-LM head that is tied to its word embeddings: two layers of 32, cleaned up."""
    return _cleaned("bert").clone()


def albert() -> ir.Model:
    """ALBERT with a tied head, three layers that share all of their weights; cleaned up."""
    return _cleaned("albert").clone()


def raw_albert() -> ir.Model:
    """The same as torch's exporter leaves it."""
    return _traced("albert").clone()


def unfused(model: ir.Model) -> ir.Model:
    run_passes(model, (UnfuseAttention(), PruneUnused()))
    return model


@functools.cache
def module(kind: str) -> transformers.PreTrainedModel:
    """The torch module: its biases and norms are random too, so that no two constants are equal by chance."""
    torch.manual_seed(0)
    if kind == "bert":
        made = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, num_hidden_layers=2))
    else:
        config = transformers.AlbertConfig(**SIZES, embedding_size=16, num_hidden_layers=3)
        made = transformers.AlbertForMaskedLM(config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return made.eval()


def torch_logits(kind: str) -> np.ndarray:
    with torch.inference_mode():
        return module(kind)(**{name: torch.from_numpy(array) for name, array in FEED.items()}).logits.numpy()


@functools.cache
def _cleaned(kind: str) -> ir.Model:
    model = _traced(kind).clone()
    run_passes(model, CLEAN_UP)
    return model


@functools.cache
def _traced(kind: str) -> ir.Model:
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with torch.no_grad(), _quiet(), fused_attention(module(kind)):
        program = torch.onnx.export(
            _Logits(module(kind)),
            tuple(torch.from_numpy(array) for array in FEED.values()),
            dynamo=True,
            input_names=list(FEED),
            output_names=["logits"],
            dynamic_shapes={"arguments": (axes, axes)},
            opset_version=20,
            verbose=False,
        )
    return program.model


class _Logits(torch.nn.Module):
    def __init__(self, inner: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        return self.inner(**dict(zip(FEED, arguments, strict=True))).logits


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all constants of a graph: what its file holds, but for some names."""
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())


def optimized(model: ir.Model) -> collections.Counter[str]:
    """Count the operators that are left when ONNX Runtime's CPU provider has rewritten a graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        source = ir.serde.serialize_model(model).SerializeToString()
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return collections.Counter(node.op_type for node in onnx.load(path).graph.node)
