"""A vector for a text: pooled, perhaps projected and normalized, within the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan_exporters.data import invalid_line, lines, text_of
from ortolan_exporters.heads.base import Axes, Examples, Head
from ortolan_exporters.quality import spearman
from ortolan_exporters.tokens import encode


class SentenceEmbedding(Head):
    """`last_hidden_state`, float32 [B, S, H], and `sentence_embedding`, float32 [B, D].

    For checkpoints with a module list of sentence-transformers, which `ortolan_exporters.sentences` reads.
    """

    task = "sentence-embedding"
    classes = "MODEL_MAPPING_NAMES"
    outputs: ClassVar[Mapping[str, Axes]] = {
        "last_hidden_state": ("batch", "sequence", "hidden"),
        "sentence_embedding": ("batch", "embedding"),
    }
    metric = "Spearman correlation"

    def answer(self, module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, Any]:
        """Ask a module; see `Head.answer`."""
        return {**module(inputs, **options)}

    def measure(self, config: Any) -> str:
        """Directions; see `Head.measure`."""
        return "cosine"

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """One vector a text; see `Head.decisions`."""
        return [row[None].astype(np.float32) for row in outputs["sentence_embedding"]]

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read `{"text", "text_pair", "score"}` lines: how alike two sentences are; see `Head.read`."""
        encodings, answers = [], []
        for number, document in lines(path):
            item, score = text_of(document, path, number), document.get("score")
            if item.text_pair is None or isinstance(score, bool) or not isinstance(score, (int, float)):
                wanted = '{"text": ..., "text_pair": ..., "score": 0.8}'
                raise invalid_line(path, number, "it has not two texts and a score", wanted)
            encodings += [encode(tokenizer, text, None, max_length) for text in (item.text, item.text_pair)]
            answers.append(float(score))
        return Examples(encodings, answers)

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Rank correlation of the cosines of the pairs with their scores; see `Head.score`."""
        vectors = np.concatenate(list(decisions)).astype(np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
        return spearman((vectors[0::2] * vectors[1::2]).sum(-1), np.asarray(answers))
