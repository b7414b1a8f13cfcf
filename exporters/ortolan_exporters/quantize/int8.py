"""What both int8 precisions have in common: how weights are stored, and what becomes of tables and attention."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple, Protocol

import numpy as np
import onnx_ir as ir

from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.rewrite import array_of, constant, insert_after_value, replace_node, transpose
from ortolan_exporters.quantize.layers import Layer, chosen_layers
from ortolan_exporters.quantize.weights import quantize_weight


class Quantized(NamedTuple):
    """An activation in uint8: the integers, and the scale and the zero point of all of them."""

    integers: ir.Value
    scale: ir.Value
    zero_point: ir.Value


class Weight(NamedTuple):
    """A weight in int8 [K, N], and the scale of each column, float32 [N]."""

    integers: ir.Value
    scale: ir.Value


class Activations(Protocol):
    """How activations become integers, and what a product of them with a weight is made of."""

    def quantize(self, x: ir.Value) -> Quantized:
        """Make the nodes that quantize `x`, or find them: query, key and value read the same tensor."""

    def product(self, node: ir.Node, weight: Weight) -> None:
        """Replace a MatMul."""


def quantize_layers(model: ir.Model, activations: Activations, keep_fp32: Collection[str]) -> int:
    """Quantize what `find_layers` finds, in place.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizeError: No product, or a weight with NaN or infinity.
    """
    graph, count = model.graph, 0
    for layer in chosen_layers(model, "int8", keep_fp32):
        table, scale = look_up_int8(graph, layer) if layer.lookups else _store(graph, layer)
        if not layer.products and not layer.attentions:
            continue
        weight = _as_columns(graph, layer, table, scale)
        for node in layer.products:
            activations.product(node, weight)
        for node in layer.attentions:
            _attend(graph, node, activations.quantize(activation_of(node)), weight)
        count += len(layer.products) + len(layer.attentions)
    PruneUnused()(model)
    return count


def activation_of(node: ir.Node) -> ir.Value:
    """Return what a product or an attention multiplies with its weight."""
    x = node.inputs[0]
    assert x is not None  # the operators require it
    return x


def look_up_int8(graph: ir.Graph, layer: Layer) -> tuple[ir.Value, ir.Value]:
    """Gather(table) becomes Gather(int8 table) * Gather(scale of each row): a quarter of the memory.

    Returns:
        The table, int8 [V, H], and the scales, float32 [V, 1].
    """
    table, scale = _store(graph, layer)
    for node in layer.lookups:
        ids = node.inputs[1]
        rows, scales = ir.node("Gather", [table, ids], name=node.name), ir.node("Gather", [scale, ids])
        cast = ir.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT})
        result = ir.node("Mul", [cast.outputs[0], scales.outputs[0]])
        for step, part in ((rows, "rows"), (scales, "rows_scale"), (cast, "rows_float")):
            step.outputs[0].name = f"{node.outputs[0].name}.{part}"
        replace_node(graph, node, [rows, scales, cast, result], result.outputs[0])
    return table, scale


def _store(graph: ir.Graph, layer: Layer) -> tuple[ir.Value, ir.Value]:
    """Make the int8 weight as it stands, and its scales: [N] or, where tables are looked up, [V, 1]."""
    integers, scales = quantize_weight(array_of(layer.weight), axis=1 if layer.by_row else 0)
    name = layer.weight.name
    scale = constant(graph, f"{name}.scale", np.expand_dims(scales, 1) if layer.lookups else scales)
    return constant(graph, f"{name}.int8", integers), scale


def _as_columns(graph: ir.Graph, layer: Layer, table: ir.Value, scale: ir.Value) -> Weight:
    """Read a table as the matrix of a product: ONNX Runtime does it once, when it loads the file."""
    if not layer.by_row:
        return Weight(table, scale)
    integers = transpose(graph, table, f"{table.name}.columns")
    if layer.lookups:
        axis = constant(graph, "quantize.last_axis", np.array([1], np.int64))
        squeeze = ir.node("Squeeze", [scale, axis])
        squeeze.outputs[0].name = f"{scale.name}.columns"
        insert_after_value(graph, scale, squeeze)
        scale = squeeze.outputs[0]
    return Weight(integers, scale)


def _attend(graph: ir.Graph, node: ir.Node, x: Quantized, weight: Weight) -> None:
    """Attention(x, W, b, mask) becomes QAttention(q(x), int8 W, b, scale of x, scale of W, mask, zero points)."""
    columns = array_of(weight.scale).size
    result = ir.node(
        "QAttention",
        [
            x.integers,
            weight.integers,
            node.inputs[2],
            x.scale,
            weight.scale,
            node.inputs[3] if len(node.inputs) > 3 else None,
            x.zero_point,
            constant(graph, f"{weight.integers.name}.zero_point", np.zeros(columns, np.int8)),
        ],
        {key: attribute.value for key, attribute in node.attributes.items() if key != "scale"},
        domain="com.microsoft",
        name=node.name,
    )
    replace_node(graph, node, [result], result.outputs[0])
