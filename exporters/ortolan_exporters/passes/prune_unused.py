"""Remove nodes and initializers that no output depends on."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ortolan_exporters.passes.base import PassResult


class PruneUnused:
    """onnx_ir's own pass, counted."""

    name = "prune_unused"

    def __call__(self, model: ir.Model) -> PassResult:
        """Remove what is dead; inputs stay, read or not."""
        before = len(model.graph) + len(model.graph.initializers)
        RemoveUnusedNodesPass()(model)
        return PassResult(model, before - len(model.graph) - len(model.graph.initializers))
