"""A torch module becomes an ONNX graph. The only caller of torch's exporter."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import onnx_ir as ir
import torch

from ortolan.progress import say
from ortolan_exporters.errors import TraceError, brief
from ortolan_exporters.example_inputs import FREE_AXES, axes_of, example_batch
from ortolan_exporters.fused import fused_attention
from ortolan_exporters.heads.base import ask
from ortolan_exporters.resolve import Checkpoint

OPSET = 20  # the first with Gelu, which costs half of its Erf chain on ONNX Runtime's CPU provider


def trace(checkpoint: Checkpoint) -> ir.Model:
    """Trace a checkpoint, with fused attention if it can be.

    A module that can't be traced so is traced with its own attention, and after that by the exporter of transformers,
    which knows how to get around more of what torch's exporter refuses.

    Returns:
        A graph from the inputs of the checkpoint, int64 [B, S] or [B, T], to its outputs.

    Raises:
        TraceError: Every way failed; the message says how each did.
    """
    failures: list[str] = []
    for way, attempt in _ways(checkpoint).items():
        try:
            with torch.inference_mode(False), torch.no_grad(), _quiet():
                model = attempt()
        except Exception as error:  # noqa: BLE001  # torch raises whatever the module or its own machinery did
            failures.append(f"{way}: {type(error).__name__}: {brief(error)}")
            continue
        if failures:
            say(f"traced with {way} ({failures[0][:200]})")
        _name_layers(model)
        _declare_outputs(model, checkpoint)
        return model
    raise TraceError(
        f"graph of {type(checkpoint.module).__name__} requested",
        f"torch's exporter failed ({'; '.join(failures)})",
        "check that the versions are those of constraints.txt",
    )


def _ways(checkpoint: Checkpoint) -> dict[str, Callable[[], ir.Model]]:
    def fused() -> ir.Model:
        with fused_attention(checkpoint.transformer), checkpoint.architecture.patch(checkpoint.transformer):
            return _trace(checkpoint)

    ways: dict[str, Callable[[], ir.Model]] = {
        "fused attention": fused,
        "its own attention": lambda: _trace(checkpoint),
        "the exporter of transformers": lambda: _trace_with_transformers(checkpoint),
    }
    if not checkpoint.architecture.is_fusable or "attentions" in checkpoint.extra_outputs:
        del ways["fused attention"]
    return ways


def _trace(checkpoint: Checkpoint) -> ir.Model:
    inputs = checkpoint.inputs
    dims = {name: torch.export.Dim(name) for name in FREE_AXES}
    axes = [{place: dims[axis] for place, axis in enumerate(axes_of(name))} for name in inputs]
    program = torch.onnx.export(
        _Outputs(checkpoint).eval(),
        tuple(_example(checkpoint).values()),
        dynamo=True,
        input_names=list(inputs),
        output_names=list(checkpoint.outputs),
        dynamic_shapes={"arguments": tuple(axes)},
        opset_version=OPSET,
        verbose=False,
    )
    if program is None:
        raise TraceError("a graph requested", "torch's exporter returned none", "check the versions")
    return program.model


def _trace_with_transformers(checkpoint: Checkpoint) -> ir.Model:
    """Let the exporter of transformers trace, and keep the outputs that are wanted."""
    from transformers.exporters import exporter_onnx

    exporter: Any = exporter_onnx
    config = exporter.OnnxConfig(dynamic=True, opset_version=OPSET)
    model: ir.Model = (
        exporter.OnnxExporter().export(checkpoint.transformer, _example(checkpoint), config=config).program
    )
    found = {value.name: value for value in model.graph.outputs}
    model.graph.outputs.clear()
    model.graph.outputs.extend(found[name] for name in checkpoint.outputs)
    return model


def _example(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    length = min(16, checkpoint.max_length)
    batch = example_batch(checkpoint.inputs, 2, length, vocabulary=checkpoint.vocabulary, padding=False)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def _name_layers(model: ir.Model) -> None:
    """Call each matrix product and table lookup by the path of its torch layer, and drop what else the tracer noted.

    A layer that runs several times gives its later nodes a number. The notes hold stack traces, with the paths of the
    machine that traced; they must not be published.
    """
    seen: Counter[str] = Counter()
    for node in model.graph:
        scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
        if scopes is not None and node.op_type in ("MatMul", "Gemm", "Gather"):
            path: list[str] = ast.literal_eval(scopes)  # modules from the outermost in, then the operation
            name = path[-2].removeprefix("module.") if len(path) > 1 else str(node.name)
            seen[name] += 1
            node.name = name if seen[name] == 1 else f"{name}.{seen[name]}"
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def _declare_outputs(model: ir.Model, checkpoint: Checkpoint) -> None:
    """Write the axes that vary by their names, where the tracer left a formula for them or nothing."""
    for value in model.graph.outputs:
        value.shape = ir.Shape(checkpoint.outputs[str(value.name)])


class _Outputs(torch.nn.Module):
    """Positional arguments in, a tuple of tensors out: what a graph has instead of a ModelOutput."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.module = checkpoint.module
        self.checkpoint = checkpoint

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        checkpoint = self.checkpoint
        inputs = dict(zip(checkpoint.inputs, arguments, strict=True))
        answer = checkpoint.architecture.traced.get(checkpoint.task, checkpoint.head.answer)
        outputs = ask(answer, checkpoint.head, self.module, inputs, checkpoint.extra_outputs)
        return tuple(outputs.values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's own progress and its deprecation notices to itself away from users; errors still arrive."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "transformers", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
