"""MultiHeadAttention taken apart into MatMul, Softmax and MatMul."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ortolan_exporters.passes.base import PassResult
from ortolan_exporters.passes.rewrite import constant, has_one_result, replace_node

MASKED = np.float32(-10000.0)
"""Added to the scores of padding, ONNX Runtime's own mask value: exp() of it is zero in float32, and no row of
scores can become NaN."""


class UnfuseAttention:
    """MultiHeadAttention(q, k, v, -, mask) with nothing but a scale becomes the operators it stands for.

    Faster on the CPU provider, where ONNX Runtime then fuses scale and transposes into the matrix products; measured
    at each export. One bias is made of each padding mask and shared by all layers.
    """

    name = "unfuse_attention"

    def __call__(self, model: ir.Model) -> PassResult:
        """Rewrite every MultiHeadAttention that fits."""
        nodes = [node for node in model.graph if node.op_type == "MultiHeadAttention" and self._fits(node)]
        biases: dict[ir.Value, ir.Value] = {}
        for node in nodes:
            self._rewrite(model.graph, node, biases)
        return PassResult(model, len(nodes))

    @staticmethod
    def _fits(node: ir.Node) -> bool:
        sizes = {0 if value is None else _hidden(value) for value in (*node.inputs, None)[:3]}
        mask = node.inputs[4] if len(node.inputs) > 4 else None
        is_padding_mask = mask is None or (mask.shape is not None and len(mask.shape) == 2)
        others = [value for value in (*node.inputs[3:4], *node.inputs[5:]) if value is not None]
        is_plain = not others and set(node.attributes) <= {"num_heads", "scale"} and has_one_result(node)
        return is_plain and len(sizes) == 1 and 0 not in sizes and is_padding_mask

    @staticmethod
    def _rewrite(graph: ir.Graph, node: ir.Node, biases: dict[ir.Value, ir.Value]) -> None:
        query = node.inputs[0]
        assert query is not None  # _fits has looked
        hidden, heads = _hidden(query), node.attributes.get_int("num_heads")
        size = hidden // heads
        build = _Builder(node)
        split = constant(graph, f"attention.split_{heads}x{size}", np.array([0, 0, heads, size], np.int64))
        merge = constant(graph, f"attention.merge_{hidden}", np.array([0, 0, hidden], np.int64))
        scale = constant(
            graph, f"attention.scale_{size}", np.array(node.attributes.get_float("scale", size**-0.5), np.float32)
        )

        def heads_of(index: int, order: list[int]) -> ir.Value:
            return build("Transpose", build("Reshape", node.inputs[index], split), perm=order)

        scores = build("Mul", build("MatMul", heads_of(0, [0, 2, 1, 3]), heads_of(1, [0, 2, 3, 1])), scale)
        mask = node.inputs[4] if len(node.inputs) > 4 else None
        if mask is not None:
            if mask not in biases:
                biases[mask] = _mask_bias(graph, build, mask)
            scores = build("Add", scores, biases[mask])
        context = build("MatMul", build("Softmax", scores, axis=-1), heads_of(2, [0, 2, 1, 3]))
        merged = build("Reshape", build("Transpose", context, perm=[0, 2, 1, 3]), merge)
        replace_node(graph, node, build.nodes, merged)


class _Builder:
    """Makes nodes one after the other, naming values after the node they replace."""

    def __init__(self, replaced: ir.Node) -> None:
        self.nodes: list[ir.Node] = []
        self._prefix = replaced.outputs[0].name

    def __call__(
        self, op_type: str, *inputs: ir.Value | None, **attributes: ir.DataType | Sequence[int] | int
    ) -> ir.Value:
        node = ir.node(op_type, inputs, attributes)
        node.outputs[0].name = f"{self._prefix}.{len(self.nodes)}.{op_type.lower()}"
        self.nodes.append(node)
        return node.outputs[0]


def _hidden(value: ir.Value) -> int:
    """H of [B, S, H], or 0 where a value has another form or H is not a fixed number."""
    last = value.shape[2] if value.shape is not None and len(value.shape) == 3 else None
    return last if isinstance(last, int) else 0


def _mask_bias(graph: ir.Graph, build: _Builder, mask: ir.Value) -> ir.Value:
    """Make [B, 1, 1, S] of [B, S]: 0 for a real token, `MASKED` for padding."""
    one = constant(graph, "attention.one", np.array(1.0, np.float32))
    masked = constant(graph, "attention.masked", np.array(MASKED))
    axes = constant(graph, "attention.mask_axes", np.array([1, 2], np.int64))
    absent = build("Sub", one, build("Cast", mask, to=ir.DataType.FLOAT))
    return build("Unsqueeze", build("Mul", absent, masked), axes)
