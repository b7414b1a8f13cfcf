"""Query, key and value projections and the attention over them as one operator."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ortolan_exporters.passes.base import PassResult
from ortolan_exporters.passes.rewrite import array_of, constant, has_one_result, is_constant, replace_node, weight_of


@dataclass(frozen=True, slots=True)
class _Projection:
    """Add(MatMul(x, weight), bias)."""

    x: ir.Value
    weight: ir.Value
    bias: ir.Value


class PackAttention:
    """MultiHeadAttention(x Wq + bq, x Wk + bk, x Wv + bv, -, mask) becomes com.microsoft::Attention(x, W, b, mask).

    One product instead of three, whose result is written where attention reads it, without transposes. The int8
    quantizer turns it into QAttention. Layers that share their weights share the packed one.

    Args:
        apart: Layers that must stay nodes of their own; an attention that has one of them, or shares a weight with
            one, is left alone.
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
        if any(value is not None for value in (*node.inputs[3:4], *node.inputs[5:])) or not has_one_result(node):
            return None
        found = [_projection(value) for value in node.inputs[:3]]
        known = [one for one in found if one is not None and not self._is_apart(one.weight)]
        shapes = {array_of(one.weight).shape for one in known}
        same = len(known) == 3 and len({one.x for one in known}) == len(shapes) == 1
        return known if same and len(set(*shapes)) == 1 else None

    def _is_apart(self, weight: ir.Value) -> bool:
        return any(user.name in self._apart for user, _ in weight.uses())

    @staticmethod
    def _rewrite(graph: ir.Graph, node: ir.Node, projections: list[_Projection]) -> None:
        name = str(node.outputs[0].name)
        mask = node.inputs[4] if len(node.inputs) > 4 else None
        weight = _joined(graph, [one.weight for one in projections])
        bias = _joined(graph, [one.bias for one in projections])
        default = (array_of(bias).size // 3 // node.attributes.get_int("num_heads")) ** -0.5
        packed = ir.node(
            "Attention",
            [projections[0].x, weight, bias, *([] if mask is None else [mask])],
            {"scale": default} | {key: attribute.value for key, attribute in node.attributes.items()},
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
        if matmul is None or matmul.op_type != "MatMul" or not is_constant(bias):
            continue
        (x, weight), matrix = matmul.inputs, weight_of(matmul, 1)
        if x is not None and weight is not None and matrix is not None and array_of(bias).shape == matrix.shape[1:]:
            return _Projection(x, weight, bias)
    return None


def _joined(graph: ir.Graph, parts: Sequence[ir.Value]) -> ir.Value:
    """Put constants side by side, under a name made of theirs: attentions that share the parts share the whole."""
    name = ".".join(str(part.name) for part in parts)
    return constant(graph, f"{name}.packed", np.concatenate([array_of(part) for part in parts], axis=-1))
