"""What can be quantized: constant matrices, each with the nodes that read it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ortolan_exporters.errors import QuantizeError
from ortolan_exporters.passes.rewrite import array_of, is_transpose, weight_of

MIN_ROWS = 4096
"""A table that is only looked up and has no more rows than this stays: it is not worth two more operators."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A float32 matrix and what reads it. All of it is quantized, or nothing, so that the weight is stored once.

    Attributes:
        weight: The initializer: [K, N] as products read it, or, `by_row`, the table [V, H] of an embedding.
        by_row: Whether each row makes one number of a product's result, as in a table that the head is tied to, which
            reads it by way of Transpose.
        products: MatMul nodes.
        attentions: Packed Attention nodes.
        lookups: Gather nodes.
    """

    weight: ir.Value
    by_row: bool
    products: tuple[ir.Node, ...]
    attentions: tuple[ir.Node, ...]
    lookups: tuple[ir.Node, ...]

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Whatever reads the weight."""
        return (*self.products, *self.attentions, *self.lookups)


def quantizable_layers(model: ir.Model) -> list[str]:
    """Names of what can be quantized: embedding tables and matrix products, in the order they run.

    Nodes that share a weight count as one, under the name of the first of them.
    """
    position = {node: number for number, node in enumerate(model.graph)}
    first = [min(layer.nodes, key=position.__getitem__) for layer in find_layers(model)]
    return list(dict.fromkeys(str(node.name) for node in sorted(first, key=position.__getitem__)))


def find_layers(model: ir.Model) -> list[Layer]:
    """Find the matrices that can be quantized, in the order in which they are first read."""
    readers: dict[ir.Value, list[tuple[ir.Node, bool]]] = {}
    for node in model.graph:
        weight, by_row = _matrix(node)
        if weight is not None:
            readers.setdefault(weight, []).append((node, by_row))
    found = [_layer(weight, nodes) for weight, nodes in readers.items()]
    return [layer for layer in found if layer is not None]


def chosen_layers(
    model: ir.Model, precision: str, keep_fp32: Collection[str], *, attention: bool = True
) -> list[Layer]:
    """Find the layers to quantize.

    Args:
        model: A float32 graph.
        precision: What is to be made of it, for the message.
        keep_fp32: Names of layers to leave out; nodes that share a weight with one of them are left out too.
        attention: Whether a packed Attention can be quantized.

    Raises:
        QuantizeError: The graph has no product to quantize, whether it is to be kept or not.
    """
    layers = [layer for layer in find_layers(model) if attention or not layer.attentions]
    if not any(layer.products or layer.attentions for layer in layers):
        raise QuantizeError(
            f"{precision} requested", "the graph has no matrix product with a constant matrix", "use fp32"
        )
    return [layer for layer in layers if not any(node.name in keep_fp32 for node in layer.nodes)]


def _matrix(node: ir.Node) -> tuple[ir.Value | None, bool]:
    """Find the matrix that a node reads, and whether it reads it by row; None where the node is no layer."""
    if _is_attention(node) or (_is(node, "MatMul") and weight_of(node, 1) is not None):
        return node.inputs[1], False
    if _is(node, "Gather") and weight_of(node, 0) is not None and node.attributes.get_int("axis", 0) == 0:
        return node.inputs[0], True
    turned = node.inputs[1].producer() if _is(node, "MatMul") and node.inputs[1] is not None else None
    if turned is not None and is_transpose(turned) and weight_of(turned, 0) is not None:
        return turned.inputs[0], True
    return None, False


def _is(node: ir.Node, op_type: str) -> bool:
    return node.op_type == op_type and node.domain == ""


def _is_attention(node: ir.Node) -> bool:
    """A packed Attention that QAttention can stand in for: it scales scores by 1 / sqrt(D) and by nothing else."""
    matrix = weight_of(node, 1) if node.op_type == "Attention" and node.domain == "com.microsoft" else None
    if matrix is None:
        return False
    default = (matrix.shape[1] // 3 // node.attributes.get_int("num_heads")) ** -0.5
    return bool(np.isclose(node.attributes.get_float("scale", default), default)) and not any(node.inputs[4:])


def _layer(weight: ir.Value, readers: list[tuple[ir.Node, bool]]) -> Layer | None:
    """Make a layer of the nodes that read a weight; None if it is not worth it."""
    by_row = all(rows for _, rows in readers)  # where some go by column, those by row stay in float32
    nodes = [node for node, rows in readers if rows == by_row]
    lookups = tuple(node for node in nodes if node.op_type == "Gather")
    products = tuple(node for node in nodes if node.op_type == "MatMul")
    attentions = tuple(node for node in nodes if node.op_type == "Attention")
    if not _all_readers(weight) <= set(nodes):
        lookups = ()  # the float table stays for the others, so that a second one would save nothing
    is_worth_it = products or attentions or (lookups and len(array_of(weight)) > MIN_ROWS)
    return Layer(weight, by_row, products, attentions, lookups) if is_worth_it else None


def _all_readers(weight: ir.Value) -> set[ir.Node]:
    """Nodes that read a weight, by way of Transpose too."""
    readers = {node for node, _ in weight.uses()}
    turned = {node for node in readers if is_transpose(node)}
    return (readers - turned) | {user for node in turned for user, _ in node.outputs[0].uses()}
