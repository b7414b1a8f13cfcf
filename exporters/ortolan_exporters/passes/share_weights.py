"""A weight that several layers read is stored once, whichever way round they read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ortolan_exporters.passes.base import PassResult
from ortolan_exporters.passes.rewrite import array_of, constant, is_constant, is_transpose, transpose

SIZABLE_BYTES = 2048
"""Smaller constants are left alone: shapes and scalars, which save nothing."""


class ShareWeights:
    """Equal constants become one; a constant that is another one's transpose becomes Transpose(it).

    A masked-LM head tied to the word embeddings reads [H, V] of what Gather reads as [V, H]: the table stays, and
    ONNX Runtime turns it when it loads the file. A weight that is read by way of Transpose alone, as torch's exporter
    leaves those that layers share, is stored transposed, so that products read a constant.
    """

    name = "share_weights"

    def __call__(self, model: ir.Model) -> PassResult:
        """Rewrite every constant that fits."""
        return PassResult(model, _fold_transposes(model.graph) + _merge(model.graph))


def _fold_transposes(graph: ir.Graph) -> int:
    modified = 0
    for weight in _sizable(graph):
        readers = [user for user, _ in weight.uses()]
        if all(is_transpose(user) and not user.outputs[0].is_graph_output() for user in readers):
            turned = constant(graph, f"{weight.name}.transposed", np.ascontiguousarray(array_of(weight).T))
            for user in readers:
                user.outputs[0].replace_all_uses_with(turned)
                graph.remove(user, safe=True)
            _forget(graph, weight)
            modified += 1
    return modified


def _merge(graph: ir.Graph) -> int:
    """Let each constant take the place of those after it that hold the same; tables of lookups come first."""
    kept: defaultdict[Hashable, list[ir.Value]] = defaultdict(list)
    modified = 0
    for weight in sorted(_sizable(graph), key=lambda weight: not _is_table(weight)):
        alike = kept[_fingerprint(array_of(weight))]
        if any(_replace(graph, weight, other) for other in alike):
            modified += 1
        else:
            alike.append(weight)
    return modified


def _replace(graph: ir.Graph, weight: ir.Value, other: ir.Value) -> bool:
    """Let `other` stand in for a constant, if it can."""
    array, held = array_of(weight), array_of(other)
    if np.array_equal(held, array):
        weight.replace_all_uses_with(other)
    elif array.ndim == 2 and np.array_equal(held.T, array):
        name = str(weight.name)
        weight.replace_all_uses_with(transpose(graph, other, f"{name}.tied"))
    else:
        return False
    _forget(graph, weight)
    return True


def _sizable(graph: ir.Graph) -> list[ir.Value]:
    constants = [value for value in graph.initializers.values() if value.uses() and not value.is_graph_output()]
    return [value for value in constants if is_constant(value) and array_of(value).nbytes >= SIZABLE_BYTES]


def _is_table(weight: ir.Value) -> bool:
    return any(user.op_type == "Gather" and index == 0 for user, index in weight.uses())


def _fingerprint(array: NDArray[np.generic]) -> Hashable:
    """What equal arrays have in common, and an array with its transpose: type, sizes and diagonal."""
    some = np.diagonal(array) if array.ndim == 2 else array.reshape(-1)[:256]
    return array.dtype, tuple(sorted(array.shape)), some.tobytes()


def _forget(graph: ir.Graph, weight: ir.Value) -> None:
    del graph.initializers[str(weight.name)]
