"""int8 weights with one scale a column, activations with a constant scale each.

    x -> QuantizeLinear -> DequantizeLinear -> MatMul <- DequantizeLinear <- W int8

The form that ONNX Runtime fuses to QuantizeLinear and MatMulIntegerToFloat, and that other runtimes read too; a packed
Attention becomes QAttention. No pass over each activation to find its range, and a text's result does not depend on its
neighbours in a batch; what lies beyond the range that calibration saw is cut off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from ortolan_exporters.errors import QuantizeError
from ortolan_exporters.passes.rewrite import constant, insert_after_value, replace_node
from ortolan_exporters.quantize.calibrate import Range
from ortolan_exporters.quantize.int8 import Quantized, Weight, activation_of, quantize_layers


def quantize_static(model: ir.Model, ranges: Mapping[str, Range], *, keep_fp32: Collection[str] = ()) -> int:
    """Quantize the matrix products and the embedding tables of a graph, in place.

    Args:
        model: A float32 graph.
        ranges: Of each tensor that a product reads, by name.
        keep_fp32: Names of layers to leave as they are; so are those that share a weight with one of them.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizeError: Nothing to quantize, a weight with NaN or infinity, or a tensor without a range.
    """
    return quantize_layers(model, _Static(model.graph, ranges), keep_fp32)


class _Static:
    """Activations whose range is known beforehand."""

    def __init__(self, graph: ir.Graph, ranges: Mapping[str, Range]) -> None:
        self._graph = graph
        self._ranges = ranges
        self._quantized: dict[str, Quantized] = {}  # by name: a product that is replaced hands its name on
        self._restored: dict[str, ir.Value] = {}

    def quantize(self, x: ir.Value) -> Quantized:
        name = str(x.name)
        if name not in self._quantized:
            found = self._ranges.get(name)
            if found is None:
                raise QuantizeError("int8 requested", f"no range is known for '{name}'", "calibrate this graph")
            scale = constant(self._graph, f"{name}.scale", np.array(found.scale, np.float32))
            zero_point = constant(self._graph, f"{name}.zero_point", np.array(found.zero_point, np.uint8))
            integers = self._insert("QuantizeLinear", x, scale, zero_point, name=f"{name}.quantized")
            self._quantized[name] = Quantized(integers, scale, zero_point)
        return self._quantized[name]

    def product(self, node: ir.Node, weight: Weight) -> None:
        x = activation_of(node)
        # ONNX Runtime's MatMulAddFusion makes Gemm of a product of two axes and its bias, and nothing fuses that one
        is_flat = x.shape is None or len(x.shape) < 3
        operands = [self._restore_activation(x, is_flat), self._restore_weight(weight)]
        product = ir.node("MatMul", operands, name=node.name)
        new = [product]
        if is_flat:
            product.outputs[0].name = f"{node.outputs[0].name}.lifted"
            new.append(ir.node("Squeeze", [product.outputs[0], self._first_axis()]))
        replace_node(self._graph, node, new, new[-1].outputs[0])

    def _restore_activation(self, x: ir.Value, is_flat: bool) -> ir.Value:
        integers, scale, zero_point = self.quantize(x)
        name = f"{x.name}.rounded"
        if name not in self._restored:
            if is_flat:
                integers = self._insert("Unsqueeze", integers, self._first_axis(), name=f"{integers.name}.lifted")
            self._restored[name] = self._insert("DequantizeLinear", integers, scale, zero_point, name=name)
        return self._restored[name]

    def _restore_weight(self, weight: Weight) -> ir.Value:
        name = f"{weight.integers.name}.rounded"
        if name not in self._restored:
            self._restored[name] = self._insert("DequantizeLinear", *weight, name=name, axis=1)
        return self._restored[name]

    def _first_axis(self) -> ir.Value:
        return constant(self._graph, "quantize.first_axis", np.array([0], np.int64))

    def _insert(self, op_type: str, *inputs: ir.Value, name: str, **attributes: int) -> ir.Value:
        node = ir.node(op_type, inputs, attributes)
        node.outputs[0].name = name
        insert_after_value(self._graph, inputs[0], node)
        return node.outputs[0]
