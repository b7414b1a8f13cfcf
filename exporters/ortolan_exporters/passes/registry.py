"""Which passes make which form of the graph."""

from __future__ import annotations

from typing import Literal

from ortolan_exporters.passes.base import Pass
from ortolan_exporters.passes.cancel_reshapes import CancelReshapes
from ortolan_exporters.passes.gemm_to_matmul import GemmToMatMul
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.unfuse_attention import UnfuseAttention

AttentionForm = Literal["fused", "unfused"]

CLEAN_UP: tuple[Pass, ...] = (CancelReshapes(), GemmToMatMul(), PruneUnused())

FORMS: dict[AttentionForm, tuple[Pass, ...]] = {"fused": (), "unfused": (UnfuseAttention(), PruneUnused())}
