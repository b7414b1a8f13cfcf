"""float16 weights and activations, for GPU providers.

What a sum or an exponential makes inexact stays in float32, between Casts: Softmax, means and sums, the norms that are
spelled out as a chain of operators, and numbers that become integers, such as T5's relative positions. Left in float16:

- LayerNormalization and its relatives: they take their statistics in float32 anyway (stash_type 1), and a Cast before
  them would keep ONNX Runtime from fusing the Add in front.
- MultiHeadAttention and Attention: ONNX Runtime's flash attention takes float16 alone, and sums in float32 inside.

The CPU provider runs these graphs too, slowly: it computes most of it in float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ortolan_exporters.errors import QuantizeError
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.rewrite import array_of, constant, insert_after_value, is_constant, is_transpose
from ortolan_exporters.quantize.layers import chosen_layers, find_layers

MAX_HALF = 65504.0

MASK = -1e6
"""A constant as low as this marks what attention is to leave out, as -1e9 and torch.finfo(torch.float32).min do."""

MASKED = -10000.0
"""What stands for such a mark: exp() of it is zero, and a few of them and a score still sum to a finite number, so
that no row of scores becomes NaN."""

SUMS = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2"})
SINGLE = SUMS | {"Softmax", "LogSoftmax", "ReduceLogSumExp", "CumSum", "Range"}
"""Operators that compute in float32; the standard has no float16 for Range."""

NORM = frozenset({"Sub", "Sqrt", "Reciprocal", "Pow", "Clip", "Max", "Expand"})
"""What a norm does with a sum, before it multiplies or divides by it."""

POSITIONS = frozenset({"Sin", "Cos"})
"""What is made of positions, which float16 can't tell apart from 2048 on."""

STATISTICS = (1, 2)
"""Outputs of LayerNormalization and its relatives that are float32 in any case: mean and inverse deviation."""

INTEGERS = frozenset({ir.DataType.INT64, ir.DataType.INT32})
BOOLEAN = frozenset({"And", "Or", "Not", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf"})
INDEX = frozenset({"Shape", "Size", "NonZero", "ArgMax", "ArgMin"})


def to_half(model: ir.Model, *, keep_fp32: Collection[str] = ()) -> int:
    """Turn a graph to float16, in place; what it takes and gives stays as it is.

    Args:
        model: A float32 graph.
        keep_fp32: Names of layers to compute in float32, between Casts; so are those that share a weight with one of
            them.

    Returns:
        How many matrix products became float16.

    Raises:
        QuantizeError: No matrix product, or a constant with NaN, infinity or numbers beyond what float16 holds.
    """
    graph = model.graph
    chosen = chosen_layers(model, "fp16", keep_fp32)
    owners = {layer.weight: str(layer.nodes[0].name) for layer in chosen}
    _name_types(graph)
    conversion = _Conversion(graph, _single_nodes(graph) | _kept_nodes(model, keep_fp32), owners)
    for node in list(graph):
        conversion.convert(node)
    conversion.restore_outputs()
    PruneUnused()(model)
    return sum(len(layer.products) + len(layer.attentions) for layer in chosen)


def half_of(array: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """Round to float16.

    Returns:
        The array, or None where it holds NaN, infinity or numbers beyond 65504. A single number may be infinite.
    """
    fits = np.abs(array) <= MAX_HALF
    if not fits.all() and not (array.size == 1 and np.isinf(array).all()):
        return None
    return array.astype(np.float16)


def unmark(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put `MASKED` where a constant marks what attention is to leave out; infinity stays."""
    return np.where((array <= MASK) & np.isfinite(array), np.float32(MASKED), array)


class _Conversion:
    """Goes through a graph from its inputs on: a value's type says what has become of it."""

    def __init__(self, graph: ir.Graph, single: set[ir.Node], owners: Mapping[ir.Value, str]) -> None:
        self._graph = graph
        self._single = single
        self._owners = owners
        self._casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def convert(self, node: ir.Node) -> None:
        wanted = ir.DataType.FLOAT if node in self._single else ir.DataType.FLOAT16
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
                node.replace_input_with(index, self._in_type(value, wanted))
        if wanted == ir.DataType.FLOAT16:
            self._convert_attributes(node)
            is_norm = node.op_type.endswith("LayerNormalization")
            for index, value in enumerate(node.outputs):
                if value.dtype == ir.DataType.FLOAT and not (is_norm and index in STATISTICS):
                    value.type = ir.TensorType(wanted)

    def restore_outputs(self) -> None:
        """Give the outputs of the graph in float32 again."""
        for index, value in enumerate(self._graph.outputs):
            if value.dtype == ir.DataType.FLOAT16:
                cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT})
                output = cast.outputs[0]
                output.name, output.type, output.shape = value.name, ir.TensorType(ir.DataType.FLOAT), value.shape
                value.name = f"{output.name}.half"
                self._graph.append(cast)
                self._graph.outputs[index] = output

    def _in_type(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        if value.dtype == wanted:
            return value
        if is_constant(value):
            return constant(self._graph, f"{value.name}.half", self._half(value, array_of(value)))
        if (value, wanted) not in self._casts:
            cast = ir.node("Cast", [value], {"to": wanted})
            cast.outputs[0].name, cast.outputs[0].type = f"{value.name}.{wanted.name.lower()}", ir.TensorType(wanted)
            insert_after_value(self._graph, value, cast)
            self._casts[value, wanted] = cast.outputs[0]
        return self._casts[value, wanted]

    def _convert_attributes(self, node: ir.Node) -> None:
        for name in ("to", "dtype"):
            if node.attributes.get_int(name, ir.DataType.UNDEFINED) == ir.DataType.FLOAT:
                node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT16)
        held = _held(node)
        if held is not None and held.dtype == ir.DataType.FLOAT:
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(self._half(node.outputs[0], held.numpy())))

    def _half(self, value: ir.Value, array: NDArray[np.float32]) -> NDArray[np.float16]:
        name = self._owners.get(value)
        converted = half_of(unmark(array) if name is None else array)
        if converted is None:
            raise QuantizeError(
                "fp16 requested",
                f"{f'layer {name!r}' if name else f'constant {value.name!r}'} holds numbers that float16 can't",
                "keep it in fp32" if name and np.isfinite(array).all() else "check the checkpoint, or use fp32",
            )
        return converted


def _kept_nodes(model: ir.Model, keep_fp32: Collection[str]) -> set[ir.Node]:
    """Find the nodes of the layers named, and of those that share a weight with them."""
    kept = {node for node in model.graph if node.name in keep_fp32}
    for layer in find_layers(model):
        if not kept.isdisjoint(layer.nodes):
            kept.update(layer.nodes)
            kept.update(user for user, _ in layer.weight.uses() if is_transpose(user))
    return kept


def _single_nodes(graph: ir.Graph) -> set[ir.Node]:
    """Find the nodes that compute in float32 whatever the layers do."""
    found = {node for node in graph if node.op_type in SINGLE}
    for node in graph:
        if node.op_type in SUMS:
            found.update(_squares_before(node))
            found.update(_norm_after(node))
        if node.op_type in POSITIONS or (node.op_type == "Cast" and node.outputs[0].dtype in INTEGERS):
            found.update(_made_of(node))
    return found


def _squares_before(node: ir.Node) -> Iterator[ir.Node]:
    """Go up from a sum through the squares that it is of: Pow, Mul(x, x), and Sub of another mean."""
    above = node.inputs[0].producer() if node.inputs[0] is not None else None
    while above is not None and (above.op_type in ("Pow", "Sub") or _is_square(above)):
        yield above
        above = above.inputs[0].producer() if above.inputs[0] is not None else None


def _is_square(node: ir.Node) -> bool:
    return node.op_type == "Mul" and node.inputs[0] is node.inputs[1]


def _norm_after(node: ir.Node) -> Iterator[ir.Node]:
    """Go down from a sum to where something is multiplied or divided by what was made of it."""
    for user in {user for user, _ in node.outputs[0].uses()}:
        if user.op_type in ("Mul", "Div"):
            yield user
        elif user.op_type in NORM or (user.op_type == "Add" and any(map(is_constant, user.inputs))):
            yield user
            yield from _norm_after(user)


def _made_of(node: ir.Node) -> set[ir.Node]:
    """A node, and those that compute the floats that it is made of."""
    found, waiting = {node}, [node]
    while waiting:
        for value in waiting.pop().inputs:
            above = None if value is None or value.dtype != ir.DataType.FLOAT else value.producer()
            if above is not None and above not in found:
                found.add(above)
                waiting.append(above)
    return found


def _name_types(graph: ir.Graph) -> None:
    """Say of each value what type it has, where a pass that made it did not."""
    for node in graph:
        for value in node.outputs:
            if value.type is None:
                value.type = ir.TensorType(_type_of(node))


def _type_of(node: ir.Node) -> ir.DataType:
    if node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to"))
    if node.op_type in BOOLEAN:
        return ir.DataType.BOOL
    if node.op_type in INDEX:
        return ir.DataType.INT64
    held = _held(node)
    operand = node.inputs[1 if node.op_type == "Where" else 0]
    return held.dtype if held is not None else (operand.dtype if operand is not None else None) or ir.DataType.FLOAT


def _held(node: ir.Node) -> ir.TensorProtocol | None:
    """Return the number that ConstantOfShape fills its result with."""
    return node.attributes["value"].as_tensor() if "value" in node.attributes else None
