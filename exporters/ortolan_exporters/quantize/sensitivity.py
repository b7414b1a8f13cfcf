"""Which layers suffer most from int8: each one is quantized alone, and what it does to the answers is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx_ir as ir

from ortolan.progress import track
from ortolan_exporters.quantize.layers import quantizable_layers


def rank_layers(models: Iterable[ir.Model], damage: Callable[[frozenset[str]], float]) -> list[str]:
    """Order layers by the damage that their reduction does.

    Args:
        models: The float32 graphs.
        damage: Reduces the graphs, with the layers named kept in float32, and says how far their answers are from
            torch's.

    Returns:
        Names of the layers, the most sensitive first.
    """
    layers = list(dict.fromkeys(layer for model in models for layer in quantizable_layers(model)))
    found = {layer: damage(frozenset(layers) - {layer}) for layer in track(layers, "measuring layers")}
    return sorted(layers, key=lambda layer: -found[layer])


def trials(ranked: list[str]) -> Iterator[list[str]]:
    """Sets of layers to keep in float32, smallest first: 1, 2, 4, ... of the most sensitive.

    Ends at half of the layers: with more than that in float32 the graph is hardly int8 any more, and fp32 serves
    better.
    """
    count, most = 1, len(ranked) // 2
    while count < most:
        yield ranked[:count]
        count *= 2
    if most:
        yield ranked[:most]
