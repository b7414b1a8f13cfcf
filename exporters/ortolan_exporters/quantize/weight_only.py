"""Weights of 4 or 8 bits with a scale and a zero point for each block; activations in float32, or int8 in blocks.

With 4 bits they take an eighth of the memory of fp32, which is what a large model waits for when it writes one token at
a time. With 8 bits next to nothing is lost, also where single activations are thousands of times as large as others:
one scale a tensor leaves no steps for these.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.rewrite import array_of, constant, replace_node
from ortolan_exporters.quantize.int8 import look_up_int8
from ortolan_exporters.quantize.layers import Layer, chosen_layers
from ortolan_exporters.quantize.weights import quantize_blocks


def quantize_weights(
    model: ir.Model, *, bits: int = 4, keep_fp32: Collection[str] = (), block_size: int = 32, accuracy_level: int
) -> int:
    """Quantize the matrix products of a graph to 4 or 8 bits, in place.

    MatMul becomes com.microsoft::MatMulNBits. An embedding table is kept in int8, a scale a row; one that a head is
    tied to is kept in the bits that the head reads, and looked up by com.microsoft::GatherBlockQuantized. A packed
    Attention stays as it is: no operator reads it in blocks.

    Args:
        model: A float32 graph, its attention fused or unfused.
        bits: 4 or 8.
        keep_fp32: Names of layers to leave as they are; so are those that share a weight with one of them.
        block_size: Weights that share a scale: a power of two from 16 on.
        accuracy_level: What ONNX Runtime may compute in: 1 for float32, 4 for int8, with activations rounded to it in
            blocks.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizeError: Nothing to quantize, or a weight with NaN or infinity.
    """
    graph, count = model.graph, 0
    for layer in chosen_layers(model, f"int{bits}", keep_fp32, attention=False):
        if not layer.products:
            look_up_int8(graph, layer)
            continue
        packed = _Packed(graph, layer, block_size, bits)
        for node in layer.lookups:
            packed.look_up(node)
        for node in layer.products:
            packed.multiply(node, accuracy_level)
        count += len(layer.products)
    PruneUnused()(model)
    return count


class _Packed:
    """A weight in blocks, and the operators that read it."""

    def __init__(self, graph: ir.Graph, layer: Layer, size: int, bits: int) -> None:
        weight, name = array_of(layer.weight), layer.weight.name
        rows = weight if layer.by_row else np.ascontiguousarray(weight.T)
        blocks = quantize_blocks(rows, size, bits)
        self._graph = graph
        self._size, self._bits = size, bits
        self._shape = rows.shape
        self._blocks = constant(graph, f"{name}.int{bits}", blocks.packed)
        self._scales = constant(graph, f"{name}.scale", blocks.scales)
        self._zero_points = constant(graph, f"{name}.zero_point", blocks.zero_points)

    def multiply(self, node: ir.Node, accuracy_level: int) -> None:
        """MatMul(x, W) becomes MatMulNBits(x, blocks, scales, zero points)."""
        rows, columns = self._shape
        product = ir.node(
            "MatMulNBits",
            [node.inputs[0], self._blocks, self._scales, self._zero_points],
            {
                "K": columns,
                "N": rows,
                "bits": self._bits,
                "block_size": self._size,
                "accuracy_level": accuracy_level,
            },
            domain="com.microsoft",
            name=node.name,
        )
        replace_node(self._graph, node, [product], product.outputs[0])

    def look_up(self, node: ir.Node) -> None:
        """Gather(table) becomes GatherBlockQuantized of the same bytes, less what fills up the last block."""
        rows, columns = self._shape
        width = array_of(self._blocks).size // rows
        shape = constant(self._graph, f"{self._blocks.name}.rows", np.array([rows, width], np.int64))
        table = ir.node("Reshape", [self._blocks, shape])
        found = ir.node(
            "GatherBlockQuantized",
            [table.outputs[0], node.inputs[1], self._scales, self._zero_points],
            {"gather_axis": 0, "quantize_axis": 1, "block_size": self._size, "bits": self._bits},
            domain="com.microsoft",
            name=node.name,
        )
        table.outputs[0].name = f"{node.outputs[0].name}.table"
        new = [table, found]
        if width * 8 // self._bits != columns:
            found.outputs[0].name = f"{node.outputs[0].name}.filled"
            start, end, axis = (
                constant(self._graph, f"quantize.slice_{number}", np.array([number], np.int64))
                for number in (0, columns, -1)
            )
            new.append(ir.node("Slice", [found.outputs[0], start, end, axis]))
        replace_node(self._graph, node, new, new[-1].outputs[0])
