"""A chain of Reshapes that ends in the shape it began with is nothing."""

from __future__ import annotations

import onnx_ir as ir

from ortolan_exporters.passes.base import PassResult


class CancelReshapes:
    """Reshape(...Reshape(x)) with the shape of x becomes x.

    Splitting heads and merging them again leaves six of these in every traced attention layer. Shapes are compared
    axis by axis, with the names of the axes that vary, as the tracer annotated them.
    """

    name = "cancel_reshapes"

    def __call__(self, model: ir.Model) -> PassResult:
        """Bridge every such chain; the dead nodes are left to `prune_unused`."""
        modified = 0
        for node in model.graph:
            output = node.outputs[0]
            if node.op_type != "Reshape" or not output.uses() or output.is_graph_output():
                continue
            origin = self._origin(node)
            if origin is not None:
                output.replace_all_uses_with(origin)
                modified += 1
        return PassResult(model, modified)

    @staticmethod
    def _origin(node: ir.Node) -> ir.Value | None:
        """Walk up the chain to the first value of the same shape."""
        wanted = node.outputs[0].shape
        producer: ir.Node | None = node
        while producer is not None and producer.op_type == "Reshape":
            value = producer.inputs[0]
            if value is None:
                return None
            if wanted is not None and value.shape is not None and _same(value.shape, wanted):
                return value
            producer = value.producer()
        return None


def _same(left: ir.Shape, right: ir.Shape) -> bool:
    """Whether two shapes are known to be equal: an axis without number or name equals nothing."""
    if len(left) != len(right):
        return False
    return all(a == b and (isinstance(a, int) or a.value is not None) for a, b in zip(left, right, strict=True))
