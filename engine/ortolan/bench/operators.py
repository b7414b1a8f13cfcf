"""Operators by what they are for, and how much work they do: from the shapes that a profile tells. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ortolan.bench.records import CeilingName, Work
from ortolan.session.profile import NodeRun

Group = Literal[
    "products in fp32",
    "products in int8",
    "products with int4 weights",
    "attention",
    "quantizing",
    "normalization",
    "activations",
    "embeddings",
    "other operators",
]

_MEMBERS: dict[Group, tuple[str, ...]] = {
    "products in fp32": ("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "TransposeMatMul"),
    "products in int8": (
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
        "QLinearMatMul",
        "QGemm",
    ),
    "products with int4 weights": ("MatMulNBits",),
    "attention": ("MultiHeadAttention", "Attention", "GroupQueryAttention", "QAttention", "Softmax", "QLinearSoftmax"),
    "quantizing": ("DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear"),
    "normalization": (
        "LayerNormalization",
        "SkipLayerNormalization",
        "SimplifiedLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "RMSNormalization",
    ),
    "activations": ("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Erf", "Tanh", "Relu", "Sigmoid"),
    "embeddings": ("Gather", "EmbedLayerNormalization", "GatherBlockQuantized"),
}
_GROUPS = {operator: group for group, operators in _MEMBERS.items() for operator in operators}

_WEIGHT_BYTES: dict[Group, float] = {
    "products in fp32": 4.0,
    "products in int8": 1.0,
    "products with int4 weights": 0.5,
}

_PRODUCTS: dict[Group, CeilingName] = {
    "products in fp32": "fp32 product",
    "products in int8": "int8 product",
    "products with int4 weights": "fp32 product",  # they are unpacked, and multiplied in float32
}
"""The limit that holds for a group of products."""


@dataclass(frozen=True, slots=True)
class GroupTime:
    """The nodes of one group in a pass.

    Attributes:
        group: Which one.
        milliseconds: What they took.
        work: Of its products; of other groups nothing.
        operators: Which operators these were.
    """

    group: Group
    milliseconds: float
    work: Work
    operators: tuple[str, ...]


def group_of(node: NodeRun) -> Group:
    """Say what a node is for.

    A product of two values, neither of them weights, belongs to attention: there is no other in these models.
    """
    group = _GROUPS.get(node.operator, "other operators")
    return "attention" if group in _PRODUCTS and not _has_weights(node) else group


def limit_of(group: Group) -> CeilingName | None:
    """Name the limit of the machine that holds for a group; None where it is no product."""
    return _PRODUCTS.get(group)


def work_of(node: NodeRun) -> Work:
    """Say what a product with weights has to do at least: multiply, and read the weights; nothing of any other node."""
    group = group_of(node)
    if group not in _PRODUCTS or not node.inputs or not node.outputs or not node.inputs[0] or not node.outputs[0]:
        return Work(flops=0.0, bytes=0.0)
    inner, columns = node.inputs[0][-1], node.outputs[0][-1]
    return Work(flops=2.0 * math.prod(node.outputs[0]) * inner, bytes=_WEIGHT_BYTES[group] * inner * columns)


def total(works: Iterable[Work]) -> Work:
    """Add work up."""
    found = list(works)
    return Work(flops=sum(work.flops for work in found), bytes=sum(work.bytes for work in found))


def by_group(nodes: Iterable[NodeRun], passes: int) -> tuple[GroupTime, ...]:
    """Add up the nodes of equal passes by group, the one that takes longest first.

    Args:
        nodes: Of all passes.
        passes: How many there were; times and work are those of one.
    """
    found: dict[Group, list[NodeRun]] = {}
    for node in nodes:
        found.setdefault(group_of(node), []).append(node)
    groups = []
    for group, members in found.items():
        work = total(map(work_of, members))
        groups.append(
            GroupTime(
                group,
                sum(node.milliseconds for node in members) / passes,
                Work(flops=work.flops / passes, bytes=work.bytes / passes),
                tuple(dict.fromkeys(node.operator for node in members)),
            )
        )
    return tuple(sorted(groups, key=lambda one: -one.milliseconds))


def _has_weights(node: NodeRun) -> bool:
    """Whether a product has weights: they were packed beforehand and have no shape, or are a matrix."""
    return len(node.inputs) < 2 or len(node.inputs[1]) <= 2
