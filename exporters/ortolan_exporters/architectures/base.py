"""What the exporter must know of an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Answer = Callable[..., dict[str, Any]]
"""Called as `Head.answer` is: (module, inputs, **options)."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One `model_type`. The defaults fit an encoder that calls the attention interface of transformers.

    Attributes:
        model_type: As in config.json.
        classes: For tasks whose class transformers' own table does not name, or names wrongly for our purpose: the
            class, or None where the architecture is not exported for that task.
        position_offset: Places of the position table that no token gets.
        is_fusable: Whether its attention can be replaced by one operator while it is traced.
        patch: Reversible edit of the module, in force while it is traced.
        traced: For tasks whose module can't be traced as it is: what is traced in its place. torch's own answers,
            which everything is compared with, never come from here.
        needs_end: Whether a text must end with its end token to be answered.
        tolerance: Largest difference of fp32 outputs to torch that passes.
        positions_by: How a decoder that writes tells positions: by a "table" that is looked up, by "rotary" angles, or
            by "buckets" of distances; None where it is exported without a cache, and reads each text anew.
    """

    model_type: str
    classes: Mapping[str, str | None] = field(default_factory=dict)
    position_offset: int = 0
    is_fusable: bool = True
    patch: Callable[[Any], AbstractContextManager[None]] = nullcontext
    traced: Mapping[str, Answer] = field(default_factory=dict)
    needs_end: bool = False
    tolerance: float = 1e-4
    positions_by: Literal["table", "rotary", "buckets"] | None = None

    def positions(self, config: Any) -> int | None:
        """Most tokens that a model with this config reads; None where nothing in it sets a limit."""
        count = getattr(config, "max_position_embeddings", None)
        return int(count) - self.position_offset if count and int(count) > 0 else None


def inputs_of(config: Any, forward_names: frozenset[str]) -> tuple[str, ...]:
    """Name the inputs of a graph, each int64 [B, S].

    Args:
        config: Of the model; one without segments, or with one for everything, reads no token_type_ids.
        forward_names: Parameters of its forward pass.
    """
    has_segments = "token_type_ids" in forward_names and int(getattr(config, "type_vocab_size", 0) or 0) > 1
    return ("input_ids", "attention_mask", *(("token_type_ids",) if has_segments else ()))


def last_token(values: torch.Tensor, is_candidate: torch.Tensor) -> torch.Tensor:
    """Take from each row the last token that qualifies, without shapes that depend on values.

    Args:
        values: float32 [B, S, H].
        is_candidate: bool [B, S], true at least once in each row.

    Returns:
        float32 [B, H].
    """
    places = torch.arange(values.shape[1], device=values.device) * is_candidate.to(torch.int64)
    index = places.argmax(-1, keepdim=True).unsqueeze(-1).expand(-1, -1, values.shape[-1])
    return values.gather(1, index).squeeze(1)
