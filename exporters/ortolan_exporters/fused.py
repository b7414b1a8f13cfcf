"""Attention that leaves the tracer already fused, so that no pass has to find it again in a graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, bidirectional_mask_function

NAME = "ortolan_fused"

MASKED = -10000.0
"""Added to the scores of what must not be seen, ONNX Runtime's own mask value: exp() of it is zero in float32, it is a
float16 too, and no row of scores can become NaN."""


@contextmanager
def fused_attention(
    module: Any, attend: Callable[..., Any] | None = None, mask: Callable[..., Any] | None = None
) -> Iterator[None]:
    """Make a module of transformers emit fused attention while it is traced.

    Args:
        module: The model.
        attend: Stands in for attention, `multi_head_attention` by default.
        mask: Stands in for what makes masks, `attention_mask` by default.

    Restores the module's own attention, and the interfaces of transformers, on the way out. Not for a module whose
    config is shared with another one in use: the choice of attention lives in the config.
    """
    before = module.config._attn_implementation
    AttentionInterface.register(NAME, attend or multi_head_attention)
    AttentionMaskInterface.register(NAME, mask or attention_mask)
    try:
        _choose(module, NAME)
        yield
    finally:
        _choose(module, before)
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
    position_bias: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Stand in for attention: one operator, with the heads merged as it wants them.

    Args:
        module: The attention layer; not read.
        query: float32 [B, N, S, D].
        key: float32 [B, K, T, D]; K is N, or a divisor of it where heads share their keys and values.
        value: float32 [B, K, T, D].
        attention_mask: What the function of that name made: int32 [B, T], float32 [B or 1, 1, S, T], or None.
        scaling: Factor of the scores; by default 1 / sqrt(D).
        position_bias: Added to the scores, float32 [1, N, S, T], or None.

    Returns:
        float32 [B, S, N, D], and None for the weights, which the operator keeps to itself.
    """
    batch, heads, length, size = query.shape
    mask, bias = attention_mask, position_bias
    if mask is not None and mask.ndim == 4:
        bias = mask if bias is None else mask + bias
        mask = None
    merged = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        [merge_heads(query), *(merge_heads(for_each_query(one, heads)) for one in (key, value)), None, mask, bias],
        {"num_heads": heads, "scale": float(size**-0.5 if scaling is None else scaling)},
        dtype=query.dtype,
        shape=(batch, length, heads * size),
        version=1,
    )
    return merged.reshape(batch, length, heads, size), None


def attention_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    mask_function: Callable[..., Any],
    attention_mask: torch.Tensor | None = None,
    device: Any = None,
    q_offset: int = 0,
    **_: Any,
) -> torch.Tensor | None:
    """Say which token sees which.

    Args:
        batch_size: B.
        q_length: S.
        kv_length: T.
        mask_function: Of transformers: (row, head, token that looks, token that is seen) to true or false.
        attention_mask: int64 [B, T], 0 for padding; None for no padding.
        device: Where to make the mask.
        q_offset: Tokens before the first one that looks.

    Returns:
        Where every token sees every real one, the padding mask itself as int32 [B, T], or None for no padding; in all
        other cases a bias of the scores, float32 [B or 1, 1, S, T].
    """
    if mask_function is bidirectional_mask_function:
        return None if attention_mask is None else attention_mask.to(torch.int32)
    rows, columns = torch.arange(q_length, device=device) + q_offset, torch.arange(kv_length, device=device)
    is_seen: torch.Tensor = mask_function(0, 0, rows[:, None], columns[None, :])[None, None]
    if attention_mask is not None:
        is_seen = is_seen & attention_mask.to(torch.bool)[:, None, None, :]
    return (~is_seen).to(torch.float32) * MASKED


def _choose(module: Any, name: str) -> None:
    module.set_attn_implementation(name)
    # classes that do not call the interface themselves refuse, with a warning; their masks are made by it all the same
    module.config._attn_implementation_internal = name


def for_each_query(states: torch.Tensor, heads: int) -> torch.Tensor:
    """Repeat keys or values that several heads share, [B, K, T, D] to [B, N, T, D]: the operator does not."""
    shared = heads // states.shape[1]
    return states if shared == 1 else states.repeat_interleave(shared, dim=1)


def merge_heads(states: torch.Tensor) -> torch.Tensor:
    """Put the heads of each token side by side: [B, N, S, D] to [B, S, N * D]."""
    batch, heads, length, size = states.shape
    return states.transpose(1, 2).reshape(batch, length, heads * size)
