"""What the settings make of the logits for a next token: pure functions, one for each rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ortolan.errors import NonFiniteError
from ortolan.generation.config import GenerationConfig
from ortolan.generation.values import Biases
from ortolan.postprocess.activations import FloatArray

NEVER = np.float32(-np.inf)
"""Logit of a token that is not written."""

MAX_GROWTH = 1e20
"""What a factor grows to at most, lest a logit become infinite."""


def processed(
    scores: FloatArray,
    ids: Sequence[int],
    start: int,
    longest: int,
    config: GenerationConfig,
    source: Sequence[int] = (),
) -> FloatArray:
    """Apply every rule of the settings, in the order in which transformers does.

    Penalties that it does not know come last, where it puts rules of its callers.

    Args:
        scores: Logits, float32 [V], finite. Not modified.
        ids: The text so far; of a model with a decoder, its output so far.
        start: How many of `ids` were there before the first was written.
        longest: How many there may become.
        config: The rules.
        source: What an encoder read; empty for the prompt itself.

    Returns:
        float32 [V]; -inf for tokens that are not written. `scores` itself where there are no rules.
    """
    if not has_rules(config):
        return scores
    scores = scores.copy()
    read = source or ids[:start]
    add_biases(scores, ids, (*config.sequence_bias, *config.logit_bias))
    if config.encoder_repetition_penalty != 1.0:
        penalize_repetition(scores, read, 1.0 / config.encoder_repetition_penalty)
    if config.repetition_penalty != 1.0:
        penalize_repetition(scores, ids, config.repetition_penalty)
    if config.no_repeat_ngram_size:
        forbid(scores, repeated(ids, config.no_repeat_ngram_size))
    if config.encoder_no_repeat_ngram_size:
        forbid(scores, repeated(ids, config.encoder_no_repeat_ngram_size, read))
    forbid(scores, completed(ids, [one for one in config.bad_words_ids if one not in _alone(config.eos_token_id)]))
    if len(ids) < config.shortest(start):
        forbid(scores, config.eos_token_id)
    if len(ids) == 1 and config.forced_bos_token_id is not None:
        leave_only(scores, [config.forced_bos_token_id])
    if len(ids) == longest - 1 and config.forced_eos_token_id:
        leave_only(scores, config.forced_eos_token_id)
    if config.exponential_decay_length_penalty is not None:
        begin, factor = config.exponential_decay_length_penalty
        raise_end(scores, config.eos_token_id, len(ids) - start - begin, factor)
    forbid(scores, config.suppress_tokens)
    first = start + (start == 1 and config.forced_bos_token_id is not None)
    if len(ids) == first:
        forbid(scores, config.begin_suppress_tokens)
    if config.presence_penalty or config.frequency_penalty:
        penalize_written(scores, ids[start:], config.presence_penalty, config.frequency_penalty)
    return scores


def has_rules(config: GenerationConfig) -> bool:
    """Whether there is a rule that may change a logit, of some token at least."""
    return bool(
        config.repetition_penalty != 1.0
        or config.no_repeat_ngram_size
        or config.presence_penalty
        or config.frequency_penalty
        or config.min_length
        or config.min_new_tokens
        or config.bad_words_ids
        or config.sequence_bias
        or config.logit_bias
        or config.suppress_tokens
        or config.begin_suppress_tokens
        or config.forced_bos_token_id is not None
        or config.forced_eos_token_id
        or config.encoder_repetition_penalty != 1.0
        or config.encoder_no_repeat_ngram_size
        or config.exponential_decay_length_penalty
    )


def check_finite(logits: FloatArray) -> None:
    """Refuse what no graph should answer.

    Args:
        logits: float32, any shape but an empty one.

    Raises:
        NonFiniteError: NaN or infinity is among them.
    """
    # both pass NaN on, and neither makes an array
    if not (np.isfinite(logits.max()) and np.isfinite(logits.min())):
        raise NonFiniteError(
            "a text requested", "the graph answered NaN or infinity", "run 'ortolan verify' on the artifact"
        )


def add_biases(scores: FloatArray, ids: Sequence[int], biases: Biases) -> None:
    """Add to the logits of tokens that would complete a sequence, in place."""
    for sequence, bias in biases:
        if sequence[-1] < len(scores) and ends_with(ids, sequence[:-1]):
            scores[sequence[-1]] += np.float32(bias)


def penalize_repetition(scores: FloatArray, ids: Sequence[int], penalty: float) -> None:
    """Make tokens that are there already less likely, in place; more likely, if the penalty is below 1.

    Source:
        Keskar et al. (2019), arXiv:1909.05858, section 4.1; negative logits are multiplied, so that they fall too.
    """
    there = np.asarray(ids, np.int64)
    there = there[there < len(scores)]
    found = scores[there]
    scores[there] = np.where(found < 0, found * np.float32(penalty), found / np.float32(penalty))


def penalize_written(scores: FloatArray, written: Sequence[int], presence: float, frequency: float) -> None:
    """Take from the logits of tokens what was agreed on for having been written, and for each time, in place.

    Args:
        scores: float32 [V].
        written: Tokens that were written, the prompt not among them.
        presence: Taken once.
        frequency: Taken for each time.

    Source:
        OpenAI, API reference, "frequency and presence penalties": mu[j] -= c[j] * frequency + (c[j] > 0) * presence.
    """
    there, times = np.unique(np.asarray(written, np.int64), return_counts=True)
    known = there < len(scores)
    scores[there[known]] -= (times[known] * frequency + presence).astype(np.float32)


def raise_end(scores: FloatArray, ends: Iterable[int], late: int, factor: float) -> None:
    """Make the end of a text likelier, in place: with each token by a factor.

    Args:
        scores: float32 [V].
        ends: Tokens that end a text.
        late: How many tokens were written after the place where this begins; nothing happens below 1.
        factor: Growth with each of them.
    """
    if late < 1:
        return
    growth = factor**late if late * math.log(factor) < math.log(MAX_GROWTH) else MAX_GROWTH
    for end in ends:
        if end < len(scores) and scores[end] > NEVER:
            scores[end] += np.abs(scores[end]) * np.float32(growth - 1.0)


def forbid(scores: FloatArray, ids: Iterable[int]) -> None:
    """Leave tokens out, in place; ids that the model does not have are passed over."""
    scores[[one for one in ids if one < len(scores)]] = NEVER


def leave_only(scores: FloatArray, ids: Sequence[int]) -> None:
    """Leave out all tokens but some, which are all alike, in place."""
    scores[:] = NEVER
    scores[[one for one in ids if one < len(scores)]] = 0


def repeated(ids: Sequence[int], size: int, within: Sequence[int] | None = None) -> list[int]:
    """Find the tokens that would end a sequence of `size` tokens which is in a text already.

    Args:
        ids: What the sequence would stand at the end of.
        size: How many tokens it has.
        within: The text; None for `ids`.
    """
    text = np.asarray(ids if within is None else within, np.int64)
    windows = len(text) - size + 1
    if windows < 1 or len(ids) + 1 < size:
        return []
    matches = np.ones(windows, bool)
    for place, token in enumerate(ids[len(ids) - size + 1 :]):
        matches &= text[place : place + windows] == token
    found: list[int] = text[size - 1 :][matches].tolist()
    return found


def completed(ids: Sequence[int], sequences: Iterable[Sequence[int]]) -> list[int]:
    """Find the tokens that would complete one of some sequences."""
    return [one[-1] for one in sequences if ends_with(ids, one[:-1])]


def ends_with(ids: Sequence[int], tail: Sequence[int]) -> bool:
    """Whether the last tokens are these; those longer than the text are not, and none at all always are."""
    return len(tail) <= len(ids) and list(ids[len(ids) - len(tail) :]) == list(tail)


def _alone(ids: Iterable[int]) -> set[tuple[int, ...]]:
    return {(one,) for one in ids}
