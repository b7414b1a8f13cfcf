"""Which word was hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan.tokenize import Encoding
from ortolan_exporters.data import invalid_line, lines, text_of
from ortolan_exporters.heads.base import Axes, Examples, Head
from ortolan_exporters.tokens import encode


class FillMask(Head):
    """`logits`, float32 [B, S, V]."""

    task = "fill-mask"
    classes = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
    outputs: ClassVar[Mapping[str, Axes]] = {"logits": ("batch", "sequence", "vocabulary")}
    metric = "accuracy"
    # the probability of a word is spread over its like: by expected drop alone many first choices could change
    least_agreement = 0.99

    def prepare(self, encodings: Sequence[Encoding], tokenizer: Any) -> list[Encoding]:
        """Hide the middle token of each text that has no mask; see `Head.prepare`."""
        mask = tokenizer.mask_token_id
        return [
            one
            if mask in one.ids or len(one.ids) < 3
            else replace(one, ids=[mask if i == len(one.ids) // 2 else token for i, token in enumerate(one.ids)])
            for one in encodings
        ]

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """One decision for each mask; see `Head.decisions`."""
        masks = feed["input_ids"] == tokenizer.mask_token_id
        return [row[here].astype(np.float32) for row, here in zip(outputs["logits"], masks, strict=True)]

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read `{"text", "label"}` lines: one mask in the text, and the token that belongs there; see `Head.read`."""
        encodings, answers = [], []
        for number, document in lines(path):
            item, label = text_of(document, path, number), document.get("label")
            token = tokenizer.convert_tokens_to_ids(label) if isinstance(label, str) else None
            encoding = encode(tokenizer, item.text, item.text_pair, max_length)
            if token in (None, tokenizer.unk_token_id) or encoding.ids.count(tokenizer.mask_token_id) != 1:
                found = f"it has not one {tokenizer.mask_token} and a label that is one token"
                raise invalid_line(path, number, found, f'{{"text": "... {tokenizer.mask_token} ...", "label": ...}}')
            encodings.append(encoding)
            answers.append(token)
        return Examples(encodings, answers)

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Share of masks whose best token is the right one; see `Head.score`."""
        return float(np.mean([row[0].argmax() == token for row, token in zip(decisions, answers, strict=True)]))
