"""Scores of tokens to entities: which words belong together, and what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ortolan.postprocess.activations import FloatArray

STRATEGIES = ("none", "simple", "first", "average", "max")
"""What makes entities of tokens: nothing; equal neighbours; and of the words, the first token's labels, the average of
their tokens' scores, or those of the surest token."""

Join = Callable[[Sequence[str]], str]
"""Makes text of tokens."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """One token that is part of the text.

    Attributes:
        word: The token as the vocabulary has it.
        scores: A probability for each label, float32 [V].
        start: First character in the text.
        end: Character after the last.
        index: Position among all tokens, special ones counted.
        is_subword: Whether it continues the word of the token before it.
    """

    word: str
    scores: FloatArray
    start: int
    end: int
    index: int
    is_subword: bool


def entities(
    tokens: Iterable[TokenScores], strategy: str, labels: Mapping[int, str], join: Join
) -> list[dict[str, Any]]:
    """Name what the tokens of a window are.

    Args:
        tokens: In the order of the text.
        strategy: Of `STRATEGIES`.
        labels: Name of each label, perhaps with "B-" where an entity begins and "I-" inside one.
        join: Makes text of tokens.

    Returns:
        For "none" a mapping a token, with `entity`, `score`, `index`, `word`, `start` and `end`; else one an entity,
        with `entity_group`, `score`, `word`, `start` and `end`: the keys of transformers, in its order.
    """
    if strategy in ("none", "simple"):
        named = [_named(token, labels) for token in tokens]
    else:
        named = [_word(word, strategy, labels, join) for word in _words(tokens)]
    if strategy == "none":
        return named
    return [_group(group, join) for group in _neighbours(named)]


def without_overlaps(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of entities that overlap, because windows do, keep the longest, and of equally long ones the surest.

    Args:
        found: Entities of all windows of a text.

    Returns:
        What is kept, in the order of the text.
    """
    kept: list[dict[str, Any]] = []
    for one in sorted(found, key=lambda entity: int(entity["start"])):
        if kept and kept[-1]["start"] <= one["start"] < kept[-1]["end"]:
            if (one["end"] - one["start"], one["score"]) > (kept[-1]["end"] - kept[-1]["start"], kept[-1]["score"]):
                kept[-1] = one
        else:
            kept.append(one)
    return kept


def _named(token: TokenScores, labels: Mapping[int, str]) -> dict[str, Any]:
    best = int(token.scores.argmax())
    return {
        "entity": labels[best],
        "score": float(token.scores[best]),
        "index": token.index,
        "word": token.word,
        "start": token.start,
        "end": token.end,
    }


def _words(tokens: Iterable[TokenScores]) -> list[list[TokenScores]]:
    words: list[list[TokenScores]] = []
    for token in tokens:
        if words and token.is_subword:
            words[-1].append(token)
        else:
            words.append([token])
    return words


def _word(tokens: list[TokenScores], strategy: str, labels: Mapping[int, str], join: Join) -> dict[str, Any]:
    if strategy == "first":
        scores = tokens[0].scores
    elif strategy == "max":
        scores = max(tokens, key=lambda token: float(token.scores.max())).scores
    else:
        scores = np.mean([token.scores for token in tokens], axis=0)
    best = int(scores.argmax())
    return {
        "entity": labels[best],
        "score": float(scores[best]),
        "word": join([token.word for token in tokens]),
        "start": tokens[0].start,
        "end": tokens[-1].end,
    }


def _neighbours(named: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group what follows each other with the same tag, unless a new entity begins."""
    groups: list[list[dict[str, Any]]] = []
    for one in named:
        begins, tag = _tag(one["entity"])
        if groups and not begins and tag == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _tag(label: str) -> tuple[bool, str]:
    """Whether a label says that an entity begins, and of which kind."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def _group(group: list[dict[str, Any]], join: Join) -> dict[str, Any]:
    return {
        "entity_group": group[0]["entity"].split("-", 1)[-1],
        "score": float(np.mean([one["score"] for one in group])),
        "word": join([one["word"] for one in group]),
        "start": group[0]["start"],
        "end": group[-1]["end"],
    }
