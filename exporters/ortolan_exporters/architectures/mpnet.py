"""MPNet: one bias for relative positions, shared by all layers. It does not call the attention interface itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.fused import multi_head_attention


@contextmanager
def _fused(_: Any) -> Iterator[None]:
    """Give MPNet's attention a forward pass that leaves scores and softmax to one operator."""
    before = MPNetSelfAttention.forward
    setattr(MPNetSelfAttention, "forward", _forward)  # noqa: B010  # a plain assignment does not type-check
    try:
        yield
    finally:
        setattr(MPNetSelfAttention, "forward", before)  # noqa: B010


def _forward(
    self: MPNetSelfAttention,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    output_attentions: bool = False,
    **_: Any,
) -> tuple[torch.Tensor, ...]:
    shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
    query, key, value = (layer(hidden_states).view(shape).transpose(1, 2) for layer in (self.q, self.k, self.v))
    context, _weights = multi_head_attention(
        self, query, key, value, attention_mask, scaling=self.attention_head_size**-0.5, position_bias=position_bias
    )
    return (self.o(context.reshape(*hidden_states.shape[:-1], -1)),)


MPNET = Architecture("mpnet", position_offset=2, patch=_fused)
