"""Query, key and value projections and the attention over them as one operator."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ortolan_exporters.passes.base import PassResult
from ortolan_exporters.passes.rewrite import constant, replace_node, weight_of


@dataclass(frozen=True, slots=True)
class _Projection:
    """Add(MatMul(x, weight), bias)."""

    layer: str
    x: ir.Value
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


class PackAttention:
    """MultiHeadAttention(x Wq + bq, x Wk + bk, x Wv + bv, -, mask) becomes com.microsoft::Attention(x, W, b, mask).

    One product instead of three, whose result is written where attention reads it, without transposes. The int8
    quantizer turns it into QAttention.

    Args:
        apart: Layers that must stay nodes of their own; an attention that has one of them is left alone.
    """

    name = "pack_attention"

    def __init__(self, apart: Collection[str] = ()) -> None:
        self._apart = frozenset(apart)

    def __call__(self, model: ir.Model) -> PassResult:
        """Rewrite every attention that fits; the dead nodes are left to `prune_unused`."""
        modified = 0
        for node in [node for node in model.graph if node.op_type == "MultiHeadAttention"]:
            projections = self._projections(node)
            if projections is not None:
                self._rewrite(model.graph, node, projections)
                modified += 1
        return PassResult(model, modified)

    def _projections(self, node: ir.Node) -> list[_Projection] | None:
        if any(value is not None for value in (*node.inputs[3:4], *node.inputs[5:])):
            return None
        found = [_projection(value) for value in node.inputs[:3]]
        known = [one for one in found if one is not None and one.layer not in self._apart]
        same = len(known) == 3 and len({(one.x, one.weight.shape) for one in known}) == 1
        return known if same and known[0].weight.shape[0] == known[0].weight.shape[1] else None

    @staticmethod
    def _rewrite(graph: ir.Graph, node: ir.Node, projections: list[_Projection]) -> None:
        name = str(node.outputs[0].name)
        heads, mask = node.attributes.get_int("num_heads"), node.inputs[4] if len(node.inputs) > 4 else None
        weight = constant(graph, f"{name}.weight", np.concatenate([one.weight for one in projections], axis=1))
        bias = constant(graph, f"{name}.bias", np.concatenate([one.bias for one in projections]))
        default = (projections[0].weight.shape[1] // heads) ** -0.5
        packed = ir.node(
            "Attention",
            [projections[0].x, weight, bias, *([] if mask is None else [mask])],
            {"num_heads": heads, "scale": node.attributes.get_float("scale", default)},
            domain="com.microsoft",
            name=name,
        )
        replace_node(graph, node, [packed], packed.outputs[0])


def _projection(value: ir.Value | None) -> _Projection | None:
    """Read Add(MatMul(x, weight), bias), the operands of Add in either order."""
    add = None if value is None else value.producer()
    if value is None or add is None or add.op_type != "Add" or len(value.uses()) != 1:
        return None
    for product, bias in (add.inputs, add.inputs[::-1]):
        matmul = None if product is None else product.producer()
        if matmul is None or matmul.op_type != "MatMul" or bias is None or bias.const_value is None:
            continue
        x, weight, offset = matmul.inputs[0], weight_of(matmul, 1), bias.const_value.numpy()
        if x is not None and weight is not None and offset.shape == weight.shape[1:]:
            return _Projection(str(matmul.name), x, weight, offset)
    return None
