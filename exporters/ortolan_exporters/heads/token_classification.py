"""A label for each token: named entities, parts of speech, edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan_exporters.data import invalid_line, label_of, lines
from ortolan_exporters.heads.base import Axes, Examples, Head, real_rows
from ortolan_exporters.tokens import encode_words


class TokenClassification(Head):
    """`logits`, float32 [B, S, labels]."""

    task = "token-classification"
    classes = "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES"
    outputs: ClassVar[Mapping[str, Axes]] = {"logits": ("batch", "sequence", "labels")}
    metric = "accuracy of words"

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """One decision a token, padding left out; see `Head.decisions`."""
        return real_rows(outputs["logits"], feed)

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read `{"tokens": [...], "labels": [...]}` lines, a label for each word; see `Head.read`."""
        encodings, answers = [], []
        for number, document in lines(path):
            words, labels = (_list(document.get(key)) for key in ("tokens", "labels"))
            if not (len(words) == len(labels) > 0 and all(isinstance(word, str) for word in words)):
                raise invalid_line(
                    path, number, "it has no words and labels, as many of each", '{"tokens": [...], "labels": [...]}'
                )
            encoding, starts = encode_words(tokenizer, words, max_length)
            known = [label_of(label, config.id2label, path, number) for label in labels]
            encodings.append(encoding)
            answers.append([(position, known[word]) for word, position in starts.items()])
        return Examples(encodings, answers)

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Share of words whose first token gets the right label; see `Head.score`."""
        pairs = [
            (row[position].argmax(), label)
            for row, words in zip(decisions, answers, strict=True)
            for position, label in words
        ]
        return float(np.mean([found == label for found, label in pairs]))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
