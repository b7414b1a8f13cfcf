"""Attention that leaves the tracer already fused, so that no pass has to find it again in a graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "ortolan_fused"


@contextmanager
def fused_attention(module: Any) -> Iterator[None]:
    """Make a module of transformers emit `com.microsoft::MultiHeadAttention` while it is traced.

    Restores the module's own attention, and the interfaces of transformers, on the way out. Not for a module whose
    config is shared with another one in use: the choice of attention lives in the config.
    """
    before = module.config._attn_implementation
    AttentionInterface.register(NAME, multi_head_attention)
    AttentionMaskInterface.register(NAME, padding_mask)
    try:
        module.set_attn_implementation(NAME)
        yield
    finally:
        module.set_attn_implementation(before)
        # transformers has a way in and none out
        AttentionInterface._global_mapping.pop(NAME, None)
        AttentionMaskInterface._global_mapping.pop(NAME, None)


def multi_head_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Stand in for attention: one operator, with the heads merged as it wants them.

    Args:
        module: The attention layer; not read.
        query: float32 [B, N, S, D].
        key: float32 [B, N, S, D].
        value: float32 [B, N, S, D].
        attention_mask: What `padding_mask` made, int32 [B, S], or None.
        scaling: Factor of the scores; by default 1 / sqrt(D).

    Returns:
        float32 [B, S, N, D], and None for the weights, which the operator keeps to itself.
    """
    batch, heads, length, size = query.shape
    merged = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [_merge_heads(query), _merge_heads(key), _merge_heads(value), None, attention_mask],
        {"num_heads": heads, "scale": float(size**-0.5 if scaling is None else scaling)},
        dtype=query.dtype,
        shape=(batch, length, heads * size),
        version=1,
    )
    return merged.reshape(batch, length, heads, size), None


def padding_mask(*_: Any, attention_mask: torch.Tensor | None = None, **__: Any) -> torch.Tensor | None:
    """Hand the padding mask [B, S] on as int32, instead of making [B, 1, S, S] of it."""
    return None if attention_mask is None else attention_mask.to(torch.int32)


def _merge_heads(states: torch.Tensor) -> torch.Tensor:
    batch, heads, length, size = states.shape
    return states.transpose(1, 2).reshape(batch, length, heads * size)
