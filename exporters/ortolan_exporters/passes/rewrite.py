"""Small moves that several passes are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def replace_node(graph: ir.Graph, old: ir.Node, new: Sequence[ir.Node], output: ir.Value) -> None:
    """Put `new` where `old` stands and let `output` take the place of its first output, name, type and shape too."""
    before = old.outputs[0]
    output.name, output.type, output.shape = before.name, before.type, before.shape
    before.name = None
    graph.insert_before(old, list(new))
    before.replace_all_uses_with(output, replace_graph_outputs=True)
    graph.remove(old, safe=True)


def constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Give the graph an initializer, or find the one of that name."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def weight_of(node: ir.Node, index: int) -> NDArray[np.float32] | None:
    """Return the constant float32 matrix at an input of a node, or None if there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    array = value.const_value.numpy()
    return array if array.dtype == np.float32 and array.ndim == 2 else None
