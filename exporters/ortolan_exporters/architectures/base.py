"""What the exporter must know of an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Architecture:
    """One `model_type`.

    Attributes:
        model_type: As in config.json.
        heads: For each task, the class of transformers that has the head for it.
        inputs: Graph inputs, each int64 [B, S], in the order of the traced call.
        max_length: Entry of the config that counts the positions.
        tolerance: Largest difference of fp32 logits to torch that passes.
    """

    model_type: str
    heads: Mapping[str, str]
    inputs: tuple[str, ...]
    max_length: str = "max_position_embeddings"
    tolerance: float = 1e-4

    def positions(self, config: Any) -> int:
        """Most tokens that a model with this config reads."""
        return int(getattr(config, self.max_length))
