"""Which token comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan.tokenize import Encoding
from ortolan_exporters.data import invalid_line, lines, text_of
from ortolan_exporters.heads.base import Axes, Examples, Head
from ortolan_exporters.tokens import encode

MAX_DECISIONS = 16
MAX_LOGITS = 1 << 17
"""Decisions and logits kept of each text: every token's, with a vocabulary of 100,000, would fill the memory."""


class TextGeneration(Head):
    """`logits`, float32 [B, S, V], of a model that sees at each place what came before."""

    task = "text-generation"
    classes = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
    # transformers can make a decoder of nearly every encoder, and half of a model that has both: nobody trains those
    unless = ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES")
    outputs: ClassVar[Mapping[str, Axes]] = {"logits": ("batch", "sequence", "vocabulary")}
    writes = True
    metric = "accuracy of the next token"
    least_agreement = 0.9

    def answer(self, module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, Any]:
        """Ask a module, without a cache; see `Head.answer`."""
        return {**module(**inputs, use_cache=False, **options)}

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """The next token at some places of each text; see `Head.decisions`."""
        real = feed["attention_mask"].astype(bool)
        return [some_places(row[mask]) for row, mask in zip(outputs["logits"], real, strict=True)]

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read `{"text"}` lines: what is right is what the text says next; see `Head.read`."""
        encodings: list[Encoding] = []
        for number, document in lines(path):
            item = text_of(document, path, number)
            encoding = encode(tokenizer, item.text, None, max_length)
            if len(encoding.ids) < 2:
                raise invalid_line(path, number, "it has no two tokens", '{"text": ...}')
            encodings.append(encoding)
        vocabulary = int(config.vocab_size)
        return Examples(encodings, [_followers(encoding.ids, vocabulary) for encoding in encodings])

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Share of places whose best token is the one that the text goes on with; see `Head.score`."""
        hits = [
            row.argmax() == wanted
            for rows, ids in zip(decisions, answers, strict=True)
            for row, wanted in zip(rows, ids, strict=True)
            if wanted is not None
        ]
        return float(np.mean(hits))


def places(length: int, vocabulary: int) -> list[int]:
    """Choose places of a text, evenly spread, the last one among them: there a generator goes on.

    Args:
        length: Tokens of the text.
        vocabulary: V; the larger it is, the fewer places there are.
    """
    most = max(1, min(MAX_DECISIONS, MAX_LOGITS // vocabulary))
    return [int(place) for place in np.unique(np.linspace(length - 1, 0, most).round())]


def some_places(logits: Array) -> FloatArray:
    """Take the logits at some places of a text, float32 [D, V], from those at all, float32 [S, V]."""
    return np.asarray(logits[places(*logits.shape)], np.float32)


def _followers(ids: Sequence[int], vocabulary: int) -> list[int | None]:
    """For each place that is looked at the token after it; None behind the last one."""
    return [ids[place + 1] if place + 1 < len(ids) else None for place in places(len(ids), vocabulary)]
