"""Which passes make which form of the graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import onnx_ir as ir

from ortolan_exporters.passes.base import Pass, run_passes
from ortolan_exporters.passes.cancel_reshapes import CancelReshapes
from ortolan_exporters.passes.gemm_to_matmul import GemmToMatMul
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.select_early import SelectEarly
from ortolan_exporters.passes.share_weights import ShareWeights
from ortolan_exporters.passes.unfuse_attention import UnfuseAttention

AttentionForm = Literal["fused", "unfused", "packed", "own"]
"""One operator; its parts; one operator with the projections before it; what the module itself computes."""

CLEAN_UP: tuple[Pass, ...] = (
    PruneUnused(),
    CancelReshapes(),
    GemmToMatMul(),
    ShareWeights(),
    PruneUnused(),
    SelectEarly(),
)


FUSED = ("MultiHeadAttention", "GroupQueryAttention")


def attention_forms(
    models: Mapping[str, ir.Model], keep_fp32: Collection[str] = ()
) -> dict[AttentionForm, dict[str, ir.Model]]:
    """Make every form of traced graphs that differs from the others.

    Args:
        models: Traced and cleaned up, by role. Not modified.
        keep_fp32: Layers that are to stay in float32, and so nodes of their own.

    Returns:
        The fused form first; or the graphs themselves, where the tracer could fuse nothing. A graph without
        a form of its own under some name is there in its first one.
    """
    forms = {role: _forms_of(model, keep_fp32) for role, model in models.items()}
    names = dict.fromkeys(form for one in forms.values() for form in one)
    return {form: {role: one.get(form, next(iter(one.values()))) for role, one in forms.items()} for form in names}


def _forms_of(model: ir.Model, keep_fp32: Collection[str]) -> dict[AttentionForm, ir.Model]:
    if not any(node.op_type in FUSED for node in model.graph):
        return {"own": model.clone()}
    forms: dict[AttentionForm, ir.Model] = {"fused": model.clone()}
    changes: dict[AttentionForm, Pass] = {"unfused": UnfuseAttention(), "packed": PackAttention(keep_fp32)}
    for form, change in changes.items():
        graph = model.clone()
        if run_passes(graph, (change, PruneUnused()))[change.name]:
            forms[form] = graph
    return forms
