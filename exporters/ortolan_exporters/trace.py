"""A torch module becomes an ONNX graph. The only caller of torch's exporter."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
import torch

from ortolan_exporters.errors import TraceError, brief
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.fused import fused_attention
from ortolan_exporters.resolve import Checkpoint

OPSET = 20  # the first with Gelu, which costs half of its Erf chain on ONNX Runtime's CPU provider


def trace(checkpoint: Checkpoint) -> ir.Model:
    """Trace a checkpoint with fused attention.

    Returns:
        A graph from the inputs of the architecture, int64 ["batch", "sequence"], to `logits`, float32 ["batch", V].

    Raises:
        TraceError: torch's exporter failed.
    """
    inputs = checkpoint.architecture.inputs
    vocabulary = checkpoint.module.config.vocab_size
    batch = example_batch(inputs, 2, min(16, checkpoint.max_length), vocabulary=vocabulary)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    try:
        with torch.inference_mode(False), torch.no_grad(), _quiet(), fused_attention(checkpoint.module):
            program = torch.onnx.export(
                _Logits(checkpoint.module, inputs).eval(),
                tuple(torch.from_numpy(batch[name]) for name in inputs),
                dynamo=True,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes={"arguments": tuple(axes for _ in inputs)},
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # torch raises whatever the module or its own machinery did
        raise TraceError(
            f"graph of {type(checkpoint.module).__name__} requested",
            f"torch's exporter failed ({type(error).__name__}: {brief(error)})",
            "check that the versions are those of constraints.txt",
        ) from error
    if program is None:
        raise TraceError("a graph requested", "torch's exporter returned none", "check the versions")
    _name_layers(program.model)
    return program.model


def _name_layers(model: ir.Model) -> None:
    """Call each matrix product and table lookup by the path of its torch layer, and drop what else the tracer noted.

    The notes hold stack traces, with the paths of the machine that traced; they must not be published.
    """
    for node in model.graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        if scopes is not None and node.op_type in ("MatMul", "Gemm", "Gather"):
            path: list[str] = ast.literal_eval(scopes)  # modules from the outermost in, then the operation
            node.name = path[-2].removeprefix("module.") if len(path) > 1 else node.name
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


class _Logits(torch.nn.Module):
    """Positional arguments in, logits out: what a graph has instead of a ModelOutput."""

    def __init__(self, module: Any, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.inputs = inputs

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        outputs = self.module(**dict(zip(self.inputs, arguments, strict=True)))
        logits: torch.Tensor = outputs.logits
        return logits


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's own progress and its deprecation notices to itself away from users; errors still arrive."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
