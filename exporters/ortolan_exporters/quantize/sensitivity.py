"""Which layers suffer most from int8: each one is quantized alone, and what it does to the answers is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from ortolan.postprocess.activations import FloatArray
from ortolan_exporters.progress import track
from ortolan_exporters.quantize.dynamic import quantizable_layers


def rank_layers(model: ir.Model, answer: Callable[[frozenset[str]], FloatArray], expected: FloatArray) -> list[str]:
    """Order layers by the damage that their quantization does.

    Args:
        model: The float32 graph.
        answer: Quantizes the graph, with the layers named kept in float32, and returns its logits on the
            calibration texts, float32 [n, V].
        expected: torch's logits on the same texts.

    Returns:
        Names of the layers, the most sensitive first: by mean squared difference of the logits.
    """
    layers = quantizable_layers(model)
    damage = {}
    for layer in track(layers, "measuring layers"):
        logits = answer(frozenset(layers) - {layer})
        damage[layer] = float(np.square(logits - expected).mean())
    return sorted(layers, key=lambda layer: -damage[layer])


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
