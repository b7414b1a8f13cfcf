"""One label, or several, for a text: sentiment, topics, entailment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array
from ortolan.tasks.classify import default_activation
from ortolan_exporters.data import label_of, lines, text_of
from ortolan_exporters.errors import CheckpointError
from ortolan_exporters.heads.base import Axes, Examples, Head
from ortolan_exporters.tokens import encode


class TextClassification(Head):
    """`logits`, float32 [B, labels]."""

    task = "text-classification"
    classes = "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"
    outputs: ClassVar[Mapping[str, Axes]] = {"logits": ("batch", "labels")}
    metric = "accuracy"

    def measure(self, config: Any) -> str:
        """Choose by how the model was trained; see `Head.measure`."""
        return default_activation(config.to_dict())

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """One decision a text; see `Head.decisions`."""
        return [row[None].astype(np.float32) for row in outputs["logits"]]

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read `{"text", "label"}` lines, perhaps with `text_pair`; `label` is a name or an id; see `Head.read`."""
        if self.measure(config) != "softmax":
            raise CheckpointError(
                f"evaluation on '{path}' requested",
                "accuracy needs a model with one label a text",
                "leave the data out; the gate then goes by differences to torch",
            )
        rows = lines(path)
        texts = [text_of(document, path, number) for number, document in rows]
        labels = [label_of(document.get("label"), config.id2label, path, number) for number, document in rows]
        return Examples([encode(tokenizer, item.text, item.text_pair, max_length) for item in texts], labels)

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Share of texts whose best label is the right one; see `Head.score`."""
        return float(np.mean([row.argmax() == label for row, label in zip(decisions, answers, strict=True)]))
