"""Which layers suffer most from a precision: each one is reduced alone, and what it does to the answers is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import onnx_ir as ir

from ortolan.progress import track
from ortolan_exporters.quantize.layers import quantizable_layers

MAX_MEASURED = 64
"""Measurements at most. Each reduces the graphs and answers texts, which would take hours for 225 layers of a large
model: where there are more than this, neighbours are reduced together, and stay in float32 together."""

Group = tuple[str, ...]
"""Layers that follow each other: one, unless there are very many."""


def rank_layers(models: Iterable[ir.Model], damage: Callable[[frozenset[str]], float]) -> list[Group]:
    """Order layers by the damage that their reduction does.

    Args:
        models: The float32 graphs.
        damage: Reduces the graphs, with the layers named kept in float32, and says how far their answers are from
            torch's.

    Returns:
        Names of the layers, the most sensitive first.
    """
    layers = list(dict.fromkeys(layer for model in models for layer in quantizable_layers(model)))
    size = -(-len(layers) // MAX_MEASURED)
    groups = [tuple(layers[start : start + size]) for start in range(0, len(layers), max(1, size))]
    found = {group: damage(frozenset(layers) - {*group}) for group in track(groups, "measuring layers")}
    return sorted(groups, key=lambda group: -found[group])


def trials(ranked: Sequence[Group]) -> Iterator[list[str]]:
    """Sets of layers to keep in float32, smallest first: 1, 2, 4, ... of the most sensitive.

    Ends at half of the layers: with more than that in float32 the graph is hardly reduced any more, and fp32 serves
    better.
    """
    count, most = 1, len(ranked) // 2
    while count < most:
        yield _names(ranked[:count])
        count *= 2
    if most:
        yield _names(ranked[:most])


def _names(groups: Sequence[Group]) -> list[str]:
    return [name for group in groups for name in group]
