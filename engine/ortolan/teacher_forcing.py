"""What a decoder is asked where nobody says: the text itself, one place later, as in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ortolan.batch.padding import IntArray


def decoder_start_id(config: Mapping[str, Any], generation: Mapping[str, Any]) -> int:
    """Find the token that a decoder begins with.

    Args:
        config: config.json of the model.
        generation: Its generation_config.json.

    Returns:
        The one that the settings name as such, else the one that begins a text, else the padding.
    """
    for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        for settings in (generation, config):
            if isinstance(found := settings.get(key), int):
                return found
    return 0


def shift_right(ids: IntArray, start_id: int) -> IntArray:
    """Put a start token before each row, and leave out its last token.

    Args:
        ids: int64 [B, S].
        start_id: The token.

    Returns:
        int64 [B, S].
    """
    return np.concatenate([np.full_like(ids[:, :1], start_id), ids[:, :-1]], axis=1)
