"""T5, flan-T5: the encoder, and whole for classification. Relative positions are a bias of the scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ortolan_exporters.architectures.base import Architecture, last_token


def _classify(module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, torch.Tensor]:
    """Classify by the decoder's state at the last end token; see `architectures.bart`."""
    ids = inputs["input_ids"]
    decoder_ids = module._shift_right(ids)
    states = module.transformer(**inputs, decoder_input_ids=decoder_ids, use_cache=False, **options)[0]
    return {"logits": module.classification_head(last_token(states, ids == module.config.eos_token_id))}


T5 = Architecture(
    "t5",
    classes={"feature-extraction": "T5EncoderModel", "question-answering": None, "fill-mask": None},
    traced={"text-classification": _classify},
    needs_end=True,
    positions_by="buckets",
)
