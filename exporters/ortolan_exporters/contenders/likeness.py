"""How like the reference's the answers of a contender are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortolan.bench.records import Quality
from ortolan_exporters.contenders.serving import Feed

EXACT = 1e-3
"""Most that outputs of a contender in fp32 may differ from the reference's, times the largest if that is above 1."""

SAME_DECISIONS = 0.98
"""Least share of decisions, or of texts, that a contender in fp32 has in common with the reference."""

SAME_TOKENS = 0.5
"""The same of tokens that are written. Where two of random weights are nearly as likely, texts part for good."""

LABELS = ("text-classification", "token-classification", "fill-mask")
"""Tasks whose outputs are choices, of the last axis."""


def of_outputs(task: str, found: Sequence[Any], expected: Sequence[Any], feeds: Sequence[Feed]) -> Quality:
    """Compare the outputs of bare calls.

    Args:
        task: Name of the task.
        found: float32 [B, ...] for each feed.
        expected: The same of the reference.
        feeds: What was asked. What stands at padding is left out.

    Returns:
        Cosine and largest difference of all outputs; where they are choices, the share of texts, or of tokens, with
        the same one.

    Raises:
        ValueError: Shapes differ.
    """
    pairs = [_real(*outputs) for outputs in zip(found, expected, feeds, strict=True)]
    own, other = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
    same = float((own.argmax(-1) == other.argmax(-1)).mean()) if task in LABELS else None
    return _compared(own, other, same)


def of_answers(found: Any, expected: Any) -> Quality:
    """Compare what pipelines answered: decisions, one a text, or vectors, float32 [N, H]."""
    if isinstance(expected, np.ndarray):
        if np.shape(found) != expected.shape:
            raise ValueError(f"vectors have the shape {list(np.shape(found))}, not {list(expected.shape)}")
        return _compared(np.asarray(found), expected, None)
    same = [one == other for one, other in zip(found, expected, strict=True)]
    return Quality(same_label=float(np.mean(same)))


def of_texts(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> Quality:
    """Compare token ids that were written: the share of places with the same one.

    Raises:
        ValueError: Numbers or lengths of texts differ.
    """
    lengths = [[len(text) for text in texts] for texts in (found, expected)]
    if lengths[0] != lengths[1]:
        raise ValueError(f"texts have {lengths[0]} tokens, not {lengths[1]}")
    same = [one == other for pair in zip(found, expected, strict=True) for one, other in zip(*pair, strict=True)]
    return Quality(same_label=float(np.mean(same)))


def fault_of(kind: str, quality: Quality, largest: float = 1.0) -> str:
    """Say why a contender that claims fp32 may not be timed; nothing if it may.

    Args:
        kind: Of the call.
        quality: How like the reference's its answers are.
        largest: Of the reference's outputs, without its sign.
    """
    if quality.difference is not None and not quality.difference <= EXACT * max(1.0, largest):
        return f"its outputs differ from the reference's by {quality.difference:.2g}"
    least = SAME_TOKENS if kind == "write" else SAME_DECISIONS
    if quality.same_label is not None and not quality.same_label >= least:
        what = "tokens" if kind == "write" else "decisions"
        return f"{quality.same_label:.1%} of its {what} are the reference's"
    return ""


def _real(found: Any, expected: Any, feed: Feed) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if np.shape(found) != np.shape(expected):
        raise ValueError(f"outputs have the shape {list(np.shape(found))}, not {list(np.shape(expected))}")
    mask = feed["attention_mask"].astype(bool)
    if np.shape(expected)[:2] == mask.shape and np.ndim(expected) == 3:
        return found[mask], expected[mask]
    return found, expected


def _compared(own: NDArray[Any], other: NDArray[Any], same: float | None) -> Quality:
    norms = float(np.linalg.norm(own) * np.linalg.norm(other))
    return Quality(
        same_label=same,
        cosine=float((own * other).sum()) / norms if norms else None,
        difference=float(np.abs(own - other).max()),
    )
