"""Gemm with a constant matrix becomes MatMul and Add, the form that is quantized."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ortolan_exporters.passes.base import PassResult
from ortolan_exporters.passes.rewrite import constant, replace_node, weight_of


class GemmToMatMul:
    """Gemm(x, W, b) with alpha = beta = 1 and x as it stands becomes Add(MatMul(x, W or its transpose), b).

    A weight that has to be transposed is transposed once, for all the Gemms that share it. One that other nodes read
    as it stands is left alone: two copies of it would be kept.
    """

    name = "gemm_to_matmul"

    def __call__(self, model: ir.Model) -> PassResult:
        """Rewrite every Gemm that fits."""
        nodes = [node for node in model.graph if node.op_type == "Gemm" and node.domain == "" and self._fits(node)]
        for node in nodes:
            self._rewrite(model.graph, node)
        return PassResult(model, len(nodes))

    @staticmethod
    def _fits(node: ir.Node) -> bool:
        weight = node.inputs[1]
        if weight is None or weight_of(node, 1) is None or not _is_plain(node):
            return False
        return not _is_turned(node) or all(
            user.op_type == "Gemm" and index == 1 and _is_plain(user) and _is_turned(user)
            for user, index in weight.uses()
        )

    @staticmethod
    def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
        stored, matrix = node.inputs[1], weight_of(node, 1)
        assert stored is not None  # _fits has looked
        assert matrix is not None
        weight = stored
        if _is_turned(node):
            weight = constant(graph, f"{stored.name}.transposed", np.ascontiguousarray(matrix.T))
        product = ir.node("MatMul", [node.inputs[0], weight], name=node.name)
        new, output = [product], product.outputs[0]
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            output.name = f"{node.outputs[0].name}.product"
            new.append(ir.node("Add", [output, node.inputs[2]]))
            output = new[-1].outputs[0]
        replace_node(graph, node, new, output)
        if not stored.uses():
            del graph.initializers[str(stored.name)]


def _is_plain(node: ir.Node) -> bool:
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    return alpha == beta == 1.0 and not node.attributes.get_int("transA", 0)


def _is_turned(node: ir.Node) -> bool:
    return bool(node.attributes.get_int("transB", 0))
