"""A torch module becomes an ONNX graph. The only caller of torch's exporter."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch

from ortolan.progress import say
from ortolan_exporters import cached, portable
from ortolan_exporters.cached import Part
from ortolan_exporters.errors import TraceError, brief
from ortolan_exporters.example_inputs import axes_of, example_batch
from ortolan_exporters.fused import fused_attention
from ortolan_exporters.heads.base import ask
from ortolan_exporters.patches import short_layers
from ortolan_exporters.resolve import Checkpoint

OPSET = 20  # the first with Gelu, which costs half of its Erf chain on ONNX Runtime's CPU provider


def trace(checkpoint: Checkpoint) -> dict[str, ir.Model]:
    """Trace a checkpoint, with fused attention if it can be; one that writes, over a cache.

    A module that can't be traced so is traced with its own attention, and after that by the exporter of transformers,
    which knows how to get around more of what torch's exporter refuses.

    Returns:
        Graphs by role. "model" alone leads from the inputs of the checkpoint, int64 [B, S] or [B, T], to its outputs;
        those over a cache are what `ortolan_exporters.cached` says.

    Raises:
        TraceError: Every way failed; the message says how each did.
    """
    failures: list[str] = []
    for way, attempt in _ways(checkpoint).items():
        try:
            with torch.inference_mode(False), torch.no_grad(), _quiet():
                models = attempt()
        except Exception as error:  # noqa: BLE001  # torch raises whatever the module or its own machinery did
            failures.append(f"{way}: {type(error).__name__}: {brief(error)}")
            continue
        if failures:
            say(f"traced with {way} ({failures[0][:200]})")
        for model in models.values():
            _name_layers(model)
        return models
    remedy = "check that the versions are those of constraints.txt"
    raise TraceError(
        f"{checkpoint.layout} graph of {type(checkpoint.module).__name__} requested",
        f"torch's exporter failed ({'; '.join(failures)})",
        f"{remedy}, or export it with layout 'fused'" if checkpoint.layout == "portable" else remedy,
    )


def _ways(checkpoint: Checkpoint) -> dict[str, Callable[[], dict[str, ir.Model]]]:
    """Ways to trace, the best one first."""
    is_portable = checkpoint.layout == "portable"

    def fused() -> dict[str, ir.Model]:
        attend = portable.plain_attention if is_portable else None
        with fused_attention(checkpoint.transformer, attend), checkpoint.architecture.patch(checkpoint.transformer):
            return _whole(checkpoint)

    ways: dict[str, Callable[[], dict[str, ir.Model]]] = {}
    if checkpoint.is_cached:
        parts_of = portable.parts_of if is_portable else cached.parts_of
        ways["a cache"] = lambda: {
            role: _trace_part(role, part, is_portable) for role, part in parts_of(checkpoint).items()
        }
        if is_portable:
            return ways  # what is promised are the inputs and outputs of a cache
    if checkpoint.architecture.is_fusable and "attentions" not in checkpoint.extra_outputs:
        ways["fused attention"] = fused
    ways["its own attention"] = lambda: _whole(checkpoint)
    ways["the exporter of transformers"] = lambda: {"model": _trace_with_transformers(checkpoint)}
    return ways


def _whole(checkpoint: Checkpoint) -> dict[str, ir.Model]:
    inputs = {name: axes_of(name) for name in checkpoint.inputs}
    model = _trace(_Outputs(checkpoint), inputs, list(checkpoint.outputs), _example(checkpoint))
    _declare_outputs(model, checkpoint.outputs)
    return {"model": model}


def _trace_part(role: str, part: Part, is_portable: bool) -> ir.Model:
    with part.context(), short_layers(part.module, is_portable=is_portable):
        model = _trace(part.module, part.inputs, list(part.outputs), part.example)
    _declare_outputs(model, part.outputs)
    for node in model.graph if role.startswith(("encoder", "decoder_")) else ():
        for value in node.outputs:
            if not value.is_graph_output():
                value.name = f"{role}.{value.name}"  # ranges of activations go by these names, for all graphs
    return model


def _trace(
    module: torch.nn.Module,
    inputs: Mapping[str, Sequence[int | str]],
    outputs: list[str],
    example: Mapping[str, torch.Tensor],
) -> ir.Model:
    """Trace a module whose forward pass takes any number of tensors; strings among their axes vary."""
    dims = {axis: torch.export.Dim(axis) for axes in inputs.values() for axis in axes if isinstance(axis, str)}
    shapes = [
        {place: dims[axis] for place, axis in enumerate(axes) if isinstance(axis, str)} for axes in inputs.values()
    ]
    program = torch.onnx.export(
        module.eval(),
        tuple(example[name] for name in inputs),
        dynamo=True,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_shapes={"arguments": tuple(shapes)},
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
    _declare_outputs(model, checkpoint.outputs)
    for value in model.graph.inputs:  # it numbers the axes that vary; one that it fixed must be seen
        sizes = zip(value.shape or (), axes_of(str(value.name)), strict=True)
        value.shape = ir.Shape([size if isinstance(size, int) else axis for size, axis in sizes])
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


def _declare_outputs(model: ir.Model, outputs: Mapping[str, Sequence[int | str]]) -> None:
    """Write the axes that vary by their names, where the tracer left a formula for them or nothing."""
    for value in model.graph.outputs:
        value.shape = ir.Shape(outputs[str(value.name)])


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
