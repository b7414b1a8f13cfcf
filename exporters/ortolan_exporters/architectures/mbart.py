"""mBART: as BART, with layers that normalize first, and a decoder that begins with the language of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ortolan_exporters.architectures.bart import BART
from ortolan_exporters.architectures.base import last_token


def _classify(module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, torch.Tensor]:
    """Classify by the decoder's state at the last end token; see `architectures.bart`.

    What the decoder reads is the text one place later, its last token first. The module's own code squeezes that token
    out of its axis, and so does something else for one text than for two.
    """
    ids = inputs["input_ids"]
    last = (ids != module.config.pad_token_id).sum(1, keepdim=True) - 1
    decoder_ids = torch.cat([ids.gather(1, last), ids[:, :-1]], dim=1)
    states = module.model(**inputs, decoder_input_ids=decoder_ids, use_cache=False, **options)[0]
    return {"logits": module.classification_head(last_token(states, ids == module.config.eos_token_id))}


MBART = replace(BART, model_type="mbart", traced={"text-classification": _classify})
