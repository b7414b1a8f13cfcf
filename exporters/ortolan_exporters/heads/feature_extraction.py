"""The hidden states themselves: a vector for each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan_exporters.errors import CheckpointError
from ortolan_exporters.heads.base import Axes, Examples, Head, real_rows

MAX_TOKENS_COMPARED = 16
"""Of each text, evenly spread: the vectors of every token of 512 texts would fill gigabytes."""


class FeatureExtraction(Head):
    """`last_hidden_state`, float32 [B, S, H]; of a model with encoder and decoder, that of the encoder."""

    task = "feature-extraction"
    classes = "MODEL_MAPPING_NAMES"
    outputs: ClassVar[Mapping[str, Axes]] = {"last_hidden_state": ("batch", "sequence", "hidden")}
    metric = ""

    def answer(self, module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, Any]:
        """Ask a module, or its encoder if it has a decoder too; see `Head.answer`."""
        body = module.get_encoder() if module.config.is_encoder_decoder else module
        return {**body(**inputs, **options)}

    def measure(self, config: Any) -> str:
        """Directions; see `Head.measure`."""
        return "cosine"

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """Vectors of some tokens of each text; see `Head.decisions`."""
        rows = real_rows(outputs["last_hidden_state"], feed)
        return [row[np.unique(np.linspace(0, len(row) - 1, MAX_TOKENS_COMPARED).astype(int))] for row in rows]

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Refuse: hidden states are neither right nor wrong."""
        raise CheckpointError(
            f"evaluation on '{path}' requested",
            "hidden states are compared with torch's and with nothing else",
            "leave the data out",
        )

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Never asked: there are no examples."""
        raise NotImplementedError
