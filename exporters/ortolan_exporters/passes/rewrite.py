"""Small moves that several passes are made of."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

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


def insert_after_value(graph: ir.Graph, value: ir.Value, node: ir.Node) -> None:
    """Put a node where `value` is there to be read and nobody has read it: behind its producer, or in front of all."""
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)


def constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """Give the graph an initializer, or find the one of that name that holds the same.

    Where something else has the name, a number is added to it.
    """
    known = _values_by_name(graph)
    for candidate in _numbered(name):
        value = known.get(candidate)
        if value is None:
            name = candidate
            break
        if is_constant(value) and array_of(value).dtype == array.dtype and np.array_equal(array_of(value), array):
            return value
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    return value


def free_name(graph: ir.Graph, name: str) -> str:
    """Return a name that no value of the graph has: this one, or this one with a number."""
    known = _values_by_name(graph)
    return next(candidate for candidate in _numbered(name) if candidate not in known)


def _values_by_name(graph: ir.Graph) -> dict[str | None, ir.Value]:
    computed = (value for node in graph for value in node.outputs)
    return {value.name: value for value in (*graph.inputs, *graph.initializers.values(), *computed)}


def _numbered(name: str) -> Iterator[str]:
    return itertools.chain([name], (f"{name}.{number}" for number in itertools.count(1)))


def has_one_result(node: ir.Node) -> bool:
    """Whether nobody reads what a node computes beside its first output: means, a cache."""
    return not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def is_constant(value: ir.Value | None) -> TypeGuard[ir.Value]:
    """Whether a value stands in the file, rather than being computed or handed in."""
    return value is not None and value.const_value is not None and not value.is_graph_input()


def array_of(value: ir.Value) -> NDArray[Any]:
    """Return the array of a constant, of whatever type it is. Not to be changed."""
    assert value.const_value is not None  # is_constant has looked
    return value.const_value.numpy()


def weight_of(node: ir.Node, index: int) -> NDArray[np.float32] | None:
    """Return the constant float32 matrix at an input of a node, or None if there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    array = array_of(value) if is_constant(value) else None
    return array if array is not None and array.dtype == np.float32 and array.ndim == 2 else None


def is_transpose(node: ir.Node) -> bool:
    """Whether a node swaps the two axes of a matrix, and does nothing else."""
    return node.op_type == "Transpose" and node.domain == "" and list(node.attributes.get_ints("perm", [])) == [1, 0]


def transpose(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    """Read a constant matrix the other way round, by a node that ONNX Runtime computes once, when it loads the file."""
    node = ir.node("Transpose", [value], {"perm": [1, 0]})
    output = node.outputs[0]
    output.name, output.type = name, value.type
    output.shape = None if value.shape is None else ir.Shape([value.shape[1], value.shape[0]])
    insert_after_value(graph, value, node)
    return output
