"""Which passes make which form of the graph."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from ortolan_exporters.passes.base import Pass
from ortolan_exporters.passes.cancel_reshapes import CancelReshapes
from ortolan_exporters.passes.gemm_to_matmul import GemmToMatMul
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.select_early import SelectEarly
from ortolan_exporters.passes.unfuse_attention import UnfuseAttention

AttentionForm = Literal["fused", "unfused", "packed"]

CLEAN_UP: tuple[Pass, ...] = (CancelReshapes(), GemmToMatMul(), PruneUnused(), SelectEarly())


def attention_forms(keep_fp32: Collection[str] = ()) -> dict[AttentionForm, tuple[Pass, ...]]:
    """Passes that make each form of attention of a traced graph.

    Args:
        keep_fp32: Layers that are to stay in float32, and so nodes of their own.
    """
    return {
        "fused": (),
        "unfused": (UnfuseAttention(), PruneUnused()),
        "packed": (PackAttention(keep_fp32), PruneUnused()),
    }
