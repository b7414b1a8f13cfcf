"""What the tests of writing share: rows of given ids, and how a model is told to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ortolan import Model
from ortolan.generation.config import GenerationConfig, read_settings, updated
from ortolan.teacher_forcing import decoder_start_id
from ortolan.tokenize import Encoding


def encoded(ids: Sequence[int]) -> Encoding:
    """Make a row of ids, of which nobody asks where in a text they stood."""
    return Encoding(list(ids), [0] * len(ids), [(0, 0)] * len(ids))


def writing_config(model: Model, options: dict[str, Any]) -> GenerationConfig:
    """Take what the model says of itself, and options beside it."""
    artifact = model.artifact
    start = decoder_start_id(artifact.config, artifact.generation_config) if "encoder" in model.graphs else None
    config, _ = read_settings(artifact.generation_config)
    return updated(config, {"decoder_start_token_id": start, **options})
