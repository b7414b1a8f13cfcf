"""Every other model of transformers: what can be told from its config and its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from ortolan_exporters.architectures.base import Architecture

AFTER_PADDING = frozenset(
    {"camembert", "xlm-roberta-xl", "longformer", "data2vec-text", "ibert", "luke", "xmod", "esm"}
)
"""Types that count positions from behind the padding token, as RoBERTa does."""


def generic_architecture(config: Any) -> Architecture:
    """Describe an architecture that has no file of its own here."""
    found = transformers.models.auto.modeling_auto.MODEL_MAPPING_NAMES.get(config.model_type)
    module = getattr(transformers, str(found[0] if isinstance(found, tuple) else found), None)
    return Architecture(
        config.model_type,
        position_offset=2 if config.model_type in AFTER_PADDING else 0,
        # no fused operator of a whole text caps its scores
        is_fusable=bool(getattr(module, "_supports_attention_backend", False))
        and getattr(config, "attn_logit_softcapping", None) is None,
        needs_end=bool(config.is_encoder_decoder),
    )


def remote_architecture(config: Any, like: Architecture, classes: Mapping[str, str]) -> Architecture:
    """Describe a model whose code comes with the checkpoint: it is traced as it is, nothing in it is replaced.

    Args:
        config: Its config.
        like: What is known of its `model_type`, which may be one of transformers.
        classes: For each task "file.Class" in the checkpoint.
    """
    return Architecture(
        str(config.model_type or type(config).__name__),
        classes,
        position_offset=like.position_offset,
        is_fusable=False,
        needs_end=like.needs_end,
    )
