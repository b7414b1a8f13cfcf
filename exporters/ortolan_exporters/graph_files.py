"""Graphs to files: one file, or two where the weights are too many for one."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

MAX_FILE_BYTES = 1_500_000_000
"""Weights beyond this go to a file of their own, beside the graph: protobuf ends at two gigabytes."""

MIN_EXTERNAL_BYTES = 1024
"""Smaller constants stay in the graph: shapes must be there for ONNX Runtime to load it."""


def save_graph(model: ir.Model, path: Path) -> Path:
    """Write a graph, its weights to `<name>_data` beside it if they are many.

    Args:
        model: The graph. Its weights may lie in other files, and stay there.
        path: Where to.

    Returns:
        `path`.
    """
    tensors = [value.const_value for value in model.graph.initializers.values()]
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size > MAX_FILE_BYTES:
        ir.save(model, path, external_data=f"{path.name}_data", size_threshold_bytes=MIN_EXTERNAL_BYTES)
    else:
        # in the file, wherever they were before
        ir.save(ir.external_data.load_to_model(model), path)
    return path
