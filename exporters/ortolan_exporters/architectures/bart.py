"""BART: its encoder, and whole for classification, where the decoder reads the text once more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ortolan_exporters.architectures.base import Architecture, last_token


def _classify(module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, torch.Tensor]:
    """Classify by the decoder's state at the last end token.

    The module's own code gathers the end tokens into an array as long as there are end tokens, which no graph can.
    """
    states = module.model(**inputs, use_cache=False, **options)[0]
    is_end = inputs["input_ids"] == module.config.eos_token_id
    return {"logits": module.classification_head(last_token(states, is_end))}


BART = Architecture(
    "bart",
    # its question answering and fill-mask heads run the decoder too: they are for generation
    classes={"question-answering": None, "fill-mask": None},
    traced={"text-classification": _classify},
    needs_end=True,
    positions_by="table",
)
