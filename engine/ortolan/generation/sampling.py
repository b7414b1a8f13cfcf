"""Which tokens may be drawn, and the draw itself: pure functions, and a generator where there is chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ortolan.generation.config import GenerationConfig
from ortolan.generation.logits import NEVER
from ortolan.postprocess.activations import FloatArray, softmax

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ENTROPY_TOKENS = 100
"""How many of the best tokens top-h looks at, as its authors do."""

BLOCKS = 8
"""In how many blocks for each wanted score the scores are looked through for the best."""


def candidates(scores: FloatArray, config: GenerationConfig, at_least: int = 1) -> tuple[IntArray, FloatArray]:
    """Divide by the temperature, and leave out what is too unlikely, in the order in which transformers does.

    Args:
        scores: Logits after all rules, float32 [V], one of them finite at least. Not modified.
        config: Says what is too unlikely.
        at_least: How many tokens are left, if there are so many.

    Returns:
        The tokens that may be drawn, int64 [K], and their logits, float32 [K], all finite.
    """
    if config.temperature != 1.0:
        scores = scores / np.float32(config.temperature)
    ids = np.flatnonzero(scores > NEVER)
    scores = scores[ids]
    for stays in _filters(config, at_least):
        kept = np.flatnonzero(stays(scores))
        ids, scores = ids[kept], scores[kept]
    return ids, scores


def draw(scores: FloatArray, generator: np.random.Generator) -> int:
    """Draw one of some tokens.

    Args:
        scores: Their logits, float32 [K], finite.
        generator: Asked for one number.

    Returns:
        The place of the token: 0 to K - 1, each with the probability that softmax gives it.
    """
    sums = np.exp(scores - scores.max()).cumsum(dtype=np.float64)
    # below the last sum even where rounding would make it equal
    wanted = min(generator.random() * sums[-1], np.nextafter(sums[-1], 0.0))
    return int(sums.searchsorted(wanted, side="right"))


def draw_several(scores: FloatArray, count: int, generator: np.random.Generator) -> IntArray:
    """Draw tokens one after the other, none of them twice.

    Args:
        scores: Their logits, float32 [K]; -inf is drawn last. Not modified.
        count: How many; more than K is K.
        generator: Asked for a number for each that may be drawn.

    Returns:
        Their places, in the order in which they were drawn.

    Source:
        Kool et al. (2019), arXiv:1903.06059, section 2.3: they are the best of scores to which Gumbel noise was added.
    """
    disturbed = scores.copy()
    alive = np.flatnonzero(scores > NEVER)
    disturbed[alive] += generator.gumbel(size=len(alive)).astype(np.float32)
    return best(disturbed, count)


def best(scores: FloatArray, count: int) -> IntArray:
    """Find the places of the `count` highest scores, the highest first; of equal ones the first first.

    Args:
        scores: float32 [K].
        count: More than K is K.
    """
    if not 0 < count < len(scores):
        return np.argsort(-scores, kind="stable")[:count]
    bound = _bound(scores, count)
    places = np.flatnonzero(scores >= bound if bound > NEVER else scores > NEVER)
    found = places[np.argsort(-scores[places], kind="stable")[:count]]
    if len(found) == count:
        return found
    return np.concatenate([found, np.flatnonzero(scores == NEVER)[: count - len(found)]])


def top_k(scores: FloatArray, count: int) -> BoolArray:
    """Keep the best tokens, and those that are as good as the last of them.

    Source:
        Fan et al. (2018), arXiv:1805.04833, section 5.
    """
    return scores >= _threshold(scores, count)


def top_p(scores: FloatArray, share: float, at_least: int = 1) -> BoolArray:
    """Keep the fewest of the best tokens that together have a probability.

    Source:
        Holtzman et al. (2020), arXiv:1904.09751, section 3.1.
    """
    probs = softmax(scores)
    kept = np.zeros(len(scores), bool)
    # all below this are left out together, so most need not be sorted
    likely = np.flatnonzero(probs > (1.0 - share) / len(probs))
    order = likely[np.argsort(probs[likely], kind="stable")]
    below = probs.sum(dtype=np.float64) - probs[order].sum(dtype=np.float64)
    kept[order] = (below + probs[order].cumsum(dtype=np.float64)).astype(np.float32) > np.float32(1.0 - share)
    kept[best(scores, at_least)] = True
    return kept


def top_h(scores: FloatArray, share: float) -> BoolArray:
    """Keep the best tokens as long as they have no more than a share of the entropy together; the best one always.

    Source:
        Potraghloo et al. (2025), arXiv:2509.02510; of `ENTROPY_TOKENS` tokens, as transformers has it.
    """
    order = best(scores, ENTROPY_TOKENS)
    entropies = _entropies(scores[order])
    kept = np.zeros(len(scores), bool)
    kept[order] = _sums(entropies) <= entropies.sum(dtype=np.float32) * np.float32(share)
    kept[order[0]] = True
    return kept


def min_p(scores: FloatArray, share: float, at_least: int = 1) -> BoolArray:
    """Keep tokens that have a share of the probability of the best one.

    Source:
        Nguyen et al. (2024), arXiv:2407.01082, section 3.
    """
    probs = softmax(scores)
    kept: BoolArray = probs >= np.float32(share) * probs.max()
    kept[best(probs, at_least)] = True
    return kept


def typical(scores: FloatArray, share: float, at_least: int = 1) -> BoolArray:
    """Keep the fewest tokens of about the expected surprise that together have a probability.

    Source:
        Meister et al. (2022), arXiv:2202.00666, section 3.
    """
    log_probs = log_softmax(scores)
    distances = np.abs(-log_probs - _entropies(scores).sum(dtype=np.float32))
    order = np.argsort(distances, kind="stable")
    last = min(int((_sums(softmax(scores[order])) < np.float32(share)).sum()), len(scores) - 1)
    kept = distances[order] <= distances[order[last]]
    kept[:at_least] = True
    return _in_place(order, kept)


def epsilon(scores: FloatArray, least: float, at_least: int = 1) -> BoolArray:
    """Keep tokens that have a probability.

    Source:
        Hewitt et al. (2022), arXiv:2210.15191, section 4.
    """
    kept: BoolArray = (softmax(scores) >= np.float32(least)) | (scores >= _threshold(scores, at_least))
    return kept


def eta(scores: FloatArray, least: float, at_least: int = 1) -> BoolArray:
    """Keep tokens that have a probability, which is lower where there are many likely ones.

    Source:
        Hewitt et al. (2022), arXiv:2210.15191, section 4.
    """
    entropy = _entropies(scores).sum(dtype=np.float32)
    lowered = np.sqrt(np.float32(least)) * np.exp(-entropy)
    return epsilon(scores, min(float(least), float(lowered)), at_least)


def log_softmax(scores: FloatArray) -> FloatArray:
    """Normalize the last axis to log-probabilities.

    Args:
        scores: float32 [..., V]; -inf stays so, and one is finite in each row. Not modified.

    Returns:
        float32 [..., V]. The row maximum is subtracted first, so nothing overflows.
    """
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)


def _filters(config: GenerationConfig, at_least: int) -> Iterator[Callable[[FloatArray], BoolArray]]:
    if config.top_h is not None:
        yield partial(top_h, share=config.top_h)
    if config.top_k:
        yield partial(top_k, count=max(config.top_k, at_least))
    if config.top_p < 1.0:
        yield partial(top_p, share=config.top_p, at_least=at_least)
    if config.min_p is not None:
        yield partial(min_p, share=config.min_p, at_least=at_least)
    if config.typical_p < 1.0:
        yield partial(typical, share=config.typical_p, at_least=at_least)
    if 0.0 < config.epsilon_cutoff < 1.0:
        yield partial(epsilon, least=config.epsilon_cutoff, at_least=at_least)
    if 0.0 < config.eta_cutoff < 1.0:
        yield partial(eta, least=config.eta_cutoff, at_least=at_least)


def _threshold(scores: FloatArray, count: int) -> float:
    """The lowest of the `count` highest scores."""
    return float(scores[best(scores, count)[-1]])


def _bound(scores: FloatArray, count: int) -> float:
    """Find a number that `count` scores reach at least, and few more as a rule: quicker than to put them in order."""
    size = max(1, len(scores) // (BLOCKS * count))
    highest = scores[: len(scores) // size * size].reshape(-1, size).max(axis=1)
    return float(np.partition(highest, -count)[-count])


def _sums(values: FloatArray) -> FloatArray:
    """Running sums, each rounded but once."""
    return values.cumsum(dtype=np.float64).astype(np.float32)


def _entropies(scores: FloatArray) -> FloatArray:
    """What each token adds to the entropy, in nats: float32 [K]."""
    log_probs = log_softmax(scores)
    return np.asarray(-np.exp(log_probs) * log_probs, np.float32)


def _in_place(order: IntArray, values: BoolArray) -> BoolArray:
    """Give values that stand in some order back to their places."""
    found = np.empty_like(values)
    found[order] = values
    return found
