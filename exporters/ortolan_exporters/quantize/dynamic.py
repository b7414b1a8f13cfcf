"""int8 weights with one scale a column, activations quantized while the graph runs.

    x -> DynamicQuantizeLinear -> MatMulInteger(W int8) -> Cast -> Mul(x_scale * W_scale)

The form that ONNX Runtime fuses to one operator; a packed Attention becomes QAttention. Activations get one scale for a
whole tensor, so a text's result moves a little with its neighbours in a batch.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from ortolan_exporters.passes.rewrite import insert_after_value, replace_node
from ortolan_exporters.quantize.int8 import Quantized, Weight, activation_of, quantize_layers


def quantize_dynamic(model: ir.Model, *, keep_fp32: Collection[str] = ()) -> int:
    """Quantize the matrix products and the embedding tables of a graph, in place.

    Args:
        model: A float32 graph.
        keep_fp32: Names of layers to leave as they are; so are those that share a weight with one of them.

    Returns:
        How many matrix products were quantized.

    Raises:
        QuantizeError: Nothing to quantize, or a weight with NaN or infinity.
    """
    return quantize_layers(model, _Dynamic(model.graph), keep_fp32)


class _Dynamic:
    """Activations whose range is found while the graph runs."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._quantized: dict[str, Quantized] = {}  # by name: a product that is replaced hands its name on

    def quantize(self, x: ir.Value) -> Quantized:
        name = str(x.name)
        if name not in self._quantized:
            node = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
            for value, part in zip(node.outputs, ("quantized", "scale", "zero_point"), strict=True):
                value.name = f"{name}.{part}"
            insert_after_value(self._graph, x, node)
            self._quantized[name] = Quantized(*node.outputs)
        return self._quantized[name]

    def product(self, node: ir.Node, weight: Weight) -> None:
        x = self.quantize(activation_of(node))
        product = ir.node("MatMulInteger", [x.integers, weight.integers, x.zero_point], name=node.name)
        cast = ir.node("Cast", [product.outputs[0]], {"to": ir.DataType.FLOAT})
        both = ir.node("Mul", [x.scale, weight.scale])
        result = ir.node("Mul", [cast.outputs[0], both.outputs[0]])
        for step, part in ((product, "integer"), (cast, "float"), (both, "product_scale")):
            step.outputs[0].name = f"{node.outputs[0].name}.{part}"
        replace_node(self._graph, node, [product, cast, both, result], result.outputs[0])
