"""int8 weights with one scale a column, activations quantized while the graph runs.

    x -> DynamicQuantizeLinear -> MatMulInteger(W int8) -> Cast -> Mul(x_scale * W_scale)

The form that ONNX Runtime fuses to one operator; a packed Attention becomes QAttention. Activations get one scale for a
whole tensor, so a text's result moves a little with its neighbours in a batch.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ortolan_exporters.errors import QuantizeError
from ortolan_exporters.passes.rewrite import constant, replace_node, weight_of

MAX_INT8 = 127
"""Largest magnitude used: -128 is left out, so that the scale is symmetric."""


class Quantized(NamedTuple):
    """A tensor as DynamicQuantizeLinear leaves it: uint8 integers, and the scale and zero point of all of them."""

    integers: ir.Value
    scale: ir.Value
    zero_point: ir.Value


def quantizable_layers(model: ir.Model) -> list[str]:
    """Names of what `quantize_dynamic` turns to int8: embedding tables and matrix products, in the order they run."""
    return [str(node.name) for node in model.graph if _is_product(node) or _is_embedding(node) or _is_attention(node)]


def quantize_dynamic(model: ir.Model, *, keep_fp32: Collection[str] = ()) -> int:
    """Quantize the matrix products and the embedding tables of a graph, in place.

    Args:
        model: A float32 graph.
        keep_fp32: Names of layers to leave as they are.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizeError: Nothing to quantize, or a weight with NaN or infinity.
    """
    products = [node for node in model.graph if _is_product(node) or _is_attention(node)]
    if not products:
        raise QuantizeError("int8 requested", "the graph has no matrix product with a constant matrix", "use fp32")
    chosen = [node for node in products if node.name not in keep_fp32]
    quantized: dict[ir.Value, Quantized] = {}
    for node in chosen:
        (_quantize_attention if _is_attention(node) else _quantize_product)(model.graph, node, quantized)
    for node in [node for node in model.graph if _is_embedding(node) and node.name not in keep_fp32]:
        _quantize_embedding(model.graph, node)
    _drop_unused_weights(model.graph)
    return len(chosen)


def quantize_weight(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix to int8, symmetrically.

    Args:
        weight: float32 [K, N]. Not modified.
        axis: Axis along which one scale holds: 0 for a scale a column, 1 for a scale a row.

    Returns:
        int8 [K, N], and the scales, float32 [N] or [K]: `weight` is about their product. A column (row) of zeros,
        or of numbers too small to have a scale, becomes zeros with scale 1.

    Raises:
        QuantizeError: `weight` holds NaN or infinity.
    """
    largest = np.abs(weight).max(axis=axis)
    if not np.isfinite(largest).all():
        raise QuantizeError("int8 requested", "a weight holds NaN or infinity", "check the checkpoint")
    smallest = np.finfo(np.float32).tiny * MAX_INT8  # below this the scale itself would be rounded to nothing
    scale = np.where(largest >= smallest, largest / MAX_INT8, 1.0).astype(np.float32)
    rounded = np.rint(weight / np.expand_dims(scale, axis))
    return np.clip(rounded, -MAX_INT8, MAX_INT8).astype(np.int8), scale


def _is_product(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and node.domain == "" and weight_of(node, 1) is not None


def _is_attention(node: ir.Node) -> bool:
    """A packed Attention that QAttention can stand in for: it scales scores by 1 / sqrt(D) and by nothing else."""
    matrix = weight_of(node, 1) if node.op_type == "Attention" and node.domain == "com.microsoft" else None
    if matrix is None:
        return False
    default = (matrix.shape[1] // 3 // node.attributes.get_int("num_heads")) ** -0.5
    return bool(np.isclose(node.attributes.get_float("scale", default), default)) and not any(node.inputs[4:])


def _is_embedding(node: ir.Node) -> bool:
    """A lookup in a float32 table that nothing else reads. Small tables are not worth two more operators."""
    table = weight_of(node, 0) if node.op_type == "Gather" and node.domain == "" else None
    value = node.inputs[0]
    is_rows = node.attributes.get_int("axis", 0) == 0
    return table is not None and is_rows and value is not None and len(value.uses()) == 1 and table.shape[0] > 4096


def _quantize_input(node: ir.Node, quantized: dict[ir.Value, Quantized]) -> tuple[list[ir.Node], Quantized]:
    """Quantize a node's activation where nobody has: query, key and value read the same tensor."""
    x = node.inputs[0]
    assert x is not None  # _is_product and _is_attention have looked
    if x in quantized:
        return [], quantized[x]
    new = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
    for value, part in zip(new.outputs, ("quantized", "scale", "zero_point"), strict=True):
        value.name = f"{x.name}.{part}"
    quantized[x] = Quantized(*new.outputs)
    return [new], quantized[x]


def _quantize_matrix(node: ir.Node) -> tuple[str, NDArray[np.int8], NDArray[np.float32]]:
    """Name of a node's weight, its integers [K, N], and the scale of each column [N]."""
    weight, matrix = node.inputs[1], weight_of(node, 1)
    assert weight is not None  # as above
    assert matrix is not None
    return str(weight.name), *quantize_weight(matrix, axis=0)


def _quantize_product(graph: ir.Graph, node: ir.Node, quantized: dict[ir.Value, Quantized]) -> None:
    new, q = _quantize_input(node, quantized)
    name, integers, scales = _quantize_matrix(node)
    weights = constant(graph, f"{name}.int8", integers)
    product = ir.node("MatMulInteger", [q.integers, weights, q.zero_point], name=node.name)
    cast = ir.node("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT})
    both = ir.node("Mul", [q.scale, constant(graph, f"{name}.scale", scales)])
    result = ir.node("Mul", [cast.outputs[0], both.outputs[0]])
    for step, part in ((product, "integer"), (cast, "float"), (both, "scale")):
        step.outputs[0].name = f"{node.outputs[0].name}.{part}"
    replace_node(graph, node, [*new, product, cast, both, result], result.outputs[0])


def _quantize_attention(graph: ir.Graph, node: ir.Node, quantized: dict[ir.Value, Quantized]) -> None:
    """Attention(x, W, b, mask) becomes QAttention(q(x), int8 W, b, scale of x, scale of W, mask, zero points)."""
    new, q = _quantize_input(node, quantized)
    name, integers, scales = _quantize_matrix(node)
    result = ir.node(
        "QAttention",
        [
            q.integers,
            constant(graph, f"{name}.int8", integers),
            node.inputs[2],
            q.scale,
            constant(graph, f"{name}.scale", scales),
            node.inputs[3] if len(node.inputs) > 3 else None,
            q.zero_point,
            constant(graph, f"{name}.zero_point", np.zeros(len(scales), np.int8)),
        ],
        {"num_heads": node.attributes.get_int("num_heads")},
        domain="com.microsoft",
        name=node.name,
    )
    replace_node(graph, node, [*new, result], result.outputs[0])


def _quantize_embedding(graph: ir.Graph, node: ir.Node) -> None:
    """Gather(table) becomes Gather(int8 table) * Gather(scale of each row): a quarter of the memory."""
    table, ids, matrix = node.inputs[0], node.inputs[1], weight_of(node, 0)
    assert table is not None  # _is_embedding has looked
    assert ids is not None
    assert matrix is not None
    integers, scales = quantize_weight(matrix, axis=1)
    rows = ir.node("Gather", [constant(graph, f"{table.name}.int8", integers), ids])
    scale = ir.node("Gather", [constant(graph, f"{table.name}.scale", scales[:, None]), ids])
    cast = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT})
    result = ir.node("Mul", [cast.outputs[0], scale.outputs[0]])
    for step, part in ((rows, "int8"), (scale, "scale"), (cast, "float")):
        step.outputs[0].name = f"{node.outputs[0].name}.{part}"
    replace_node(graph, node, [rows, scale, cast, result], result.outputs[0])


def _drop_unused_weights(graph: ir.Graph) -> None:
    for name in [name for name, value in graph.initializers.items() if not value.uses()]:
        del graph.initializers[name]
