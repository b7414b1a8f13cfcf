"""Scores to labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from ortolan.postprocess.activations import FloatArray


class LabelScore(TypedDict):
    """One label with its score; the keys that transformers uses."""

    label: str
    score: float


def top_labels(scores: FloatArray, id2label: Mapping[int, str], top_k: int | None) -> list[LabelScore]:
    """Name the best labels of one text.

    Args:
        scores: float32 [V].
        id2label: Name of each label.
        top_k: How many to return; None for all.

    Returns:
        Labels by falling score; equal scores keep the order of their ids.
    """
    # one label is what most callers want, and the first of the largest takes no sorting
    order: Sequence[int] = [int(scores.argmax())] if top_k == 1 else np.argsort(-scores, kind="stable")[:top_k].tolist()
    return [{"label": id2label[i], "score": float(scores[i])} for i in order]
