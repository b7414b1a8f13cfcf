"""Which layers suffer most from int8: each one is quantized alone, and what it does to the answers is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from ortolan.postprocess.activations import FloatArray
from ortolan.progress import track
from ortolan_exporters.quantize.layers import quantizable_layers


def rank_layers(
    model: ir.Model, answer: Callable[[frozenset[str]], Sequence[FloatArray]], expected: Sequence[FloatArray]
) -> list[str]:
    """Order layers by the damage that their quantization does.

    Args:
        model: The float32 graph.
        answer: Quantizes the graph, with the layers named kept in float32, and returns its answers to the
            calibration texts, float32 [D, C] for each.
        expected: torch's answers to the same texts.

    Returns:
        Names of the layers, the most sensitive first: by mean squared difference of the answers.
    """
    layers = quantizable_layers(model)
    damage = {}
    for layer in track(layers, "measuring layers"):
        damage[layer] = mean_squared_difference(answer(frozenset(layers) - {layer}), expected)
    return sorted(layers, key=lambda layer: -damage[layer])


def mean_squared_difference(answers: Sequence[FloatArray], expected: Sequence[FloatArray]) -> float:
    """Average over all numbers of all answers, float32 [D, C] for each text."""
    squares = [float(np.square(one - other).sum()) for one, other in zip(answers, expected, strict=True)]
    return sum(squares) / sum(one.size for one in expected)


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
