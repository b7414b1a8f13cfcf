"""What the settings make of the logits for a next token: pure functions, one for each rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ortolan.generation.config import GenerationConfig
from ortolan.postprocess.activations import FloatArray

NEVER = np.float32(-np.inf)
"""Logit of a token that is not written."""


def processed(scores: FloatArray, ids: Sequence[int], start: int, longest: int, config: GenerationConfig) -> FloatArray:
    """Apply every rule of the settings, in the order in which transformers does.

    Args:
        scores: Logits, float32 [V]. Not modified.
        ids: The text so far; of a model with a decoder, its output so far.
        start: How many of `ids` were there before the first was written.
        longest: How many there may become.
        config: The rules.

    Returns:
        float32 [V]; -inf for tokens that are not written.
    """
    scores = scores.copy()
    if config.repetition_penalty != 1.0:
        penalize_repetition(scores, ids, config.repetition_penalty)
    if config.no_repeat_ngram_size:
        forbid(scores, repeated(ids, config.no_repeat_ngram_size))
    forbid(scores, completed(ids, [one for one in config.bad_words_ids if one not in _alone(config.eos_token_id)]))
    if len(ids) < config.shortest(start):
        forbid(scores, config.eos_token_id)
    if len(ids) == 1 and config.forced_bos_token_id is not None:
        scores = only(scores, [config.forced_bos_token_id])
    if len(ids) == longest - 1 and config.forced_eos_token_id:
        scores = only(scores, config.forced_eos_token_id)
    forbid(scores, config.suppress_tokens)
    first = start + (start == 1 and config.forced_bos_token_id is not None)
    if len(ids) == first:
        forbid(scores, config.begin_suppress_tokens)
    return scores


def penalize_repetition(scores: FloatArray, ids: Sequence[int], penalty: float) -> None:
    """Make tokens that are there already less likely, in place.

    Source:
        Keskar et al. (2019), arXiv:1909.05858, section 4.1; negative logits are multiplied, so that they fall too.
    """
    there = np.unique(np.asarray(ids, np.int64))
    found = scores[there]
    scores[there] = np.where(found < 0, found * np.float32(penalty), found / np.float32(penalty))


def forbid(scores: FloatArray, ids: Iterable[int]) -> None:
    """Leave tokens out, in place; ids that the model does not have are passed over."""
    scores[[one for one in ids if one < len(scores)]] = NEVER


def only(scores: FloatArray, ids: Sequence[int]) -> FloatArray:
    """Leave out all tokens but some, which are all alike."""
    forced = np.full_like(scores, NEVER)
    forced[[one for one in ids if one < len(scores)]] = 0
    return forced


def repeated(ids: Sequence[int], size: int) -> list[int]:
    """Find the tokens that would end a sequence of `size` tokens which is in the text already."""
    if len(ids) + 1 < size:
        return []
    tail = list(ids[len(ids) - size + 1 :])
    return [ids[i + size - 1] for i in range(len(ids) - size + 1) if list(ids[i : i + size - 1]) == tail]


def completed(ids: Sequence[int], sequences: Iterable[Sequence[int]]) -> list[int]:
    """Find the tokens that would complete one of some sequences; those longer than the text are passed over."""
    return [
        one[-1]
        for one in sequences
        if len(one) == 1 or (len(one) <= len(ids) and list(ids[len(ids) - len(one) + 1 :]) == list(one[:-1]))
    ]


def _alone(ids: Iterable[int]) -> set[tuple[int, ...]]:
    return {(one,) for one in ids}
