"""Every rule, and everything that leaves out what is too unlikely, against the class of transformers that does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers.generation import logits_process as theirs

from ortolan.generation import sampling
from ortolan.generation.config import GenerationConfig, updated
from ortolan.generation.logits import processed
from ortolan.generation.sampling import candidates, draw
from tests.parity.compare import CHANCE, likelihood

pytestmark = pytest.mark.parity

SIZE = 40
START = 5
EOS = (1, 7)
IDS = [3, 9, 4, 9, 3, 9, 4, 12, 9, 4]
TEXTS = {
    "prompt": IDS[:START],
    "one token": IDS[: START + 1],
    "all": IDS,
    "repetitive": [*IDS[:START], 4, 4, 4, 4],
}
Scores = NDArray[np.float32]


def some_logits(seed: int, size: int = SIZE) -> Scores:
    return np.random.default_rng(seed).normal(0, 3, size).astype(np.float32)


def applied(rule: theirs.LogitsProcessor, ids: Sequence[int], scores: Scores) -> Scores:
    found: Scores = rule(torch.tensor([list(ids)]), torch.from_numpy(scores.copy())[None])[0].numpy()
    return found


ENDS = torch.tensor(EOS)
PROMPT = torch.tensor([IDS[:START]])
SOURCE = torch.tensor([[2, 3, 9, 30, 4, 12]])
RULES: dict[str, tuple[dict[str, Any], theirs.LogitsProcessor]] = {
    "bias": (
        {"sequence_bias": [[[5], 2.5], [[9, 4], -3.0], [[4, 9], 1.0], [[9, 4, 4], 7.0]]},
        theirs.SequenceBiasLogitsProcessor([[[5], 2.5], [[9, 4], -3.0], [[4, 9], 1.0], [[9, 4, 4], 7.0]]),
    ),
    "bias by token": (
        {"logit_bias": {"5": 2.5, 6: -100}},
        theirs.SequenceBiasLogitsProcessor([[[5], 2.5], [[6], -100.0]]),
    ),
    "penalty": ({"repetition_penalty": 1.7}, theirs.RepetitionPenaltyLogitsProcessor(1.7)),
    "reward": ({"repetition_penalty": 0.4}, theirs.RepetitionPenaltyLogitsProcessor(0.4)),
    "prompt penalty": (
        {"encoder_repetition_penalty": 1.3},
        theirs.EncoderRepetitionPenaltyLogitsProcessor(1.3, PROMPT),
    ),
    "nothing twice": ({"no_repeat_ngram_size": 1}, theirs.NoRepeatNGramLogitsProcessor(1)),
    "no pairs twice": ({"no_repeat_ngram_size": 2}, theirs.NoRepeatNGramLogitsProcessor(2)),
    "no triples twice": ({"no_repeat_ngram_size": 3}, theirs.NoRepeatNGramLogitsProcessor(3)),
    "long": ({"no_repeat_ngram_size": 8}, theirs.NoRepeatNGramLogitsProcessor(8)),
    "no tokens of the prompt": (
        {"encoder_no_repeat_ngram_size": 1},
        theirs.EncoderNoRepeatNGramLogitsProcessor(1, PROMPT),
    ),
    "no pairs of the prompt": (
        {"encoder_no_repeat_ngram_size": 2},
        theirs.EncoderNoRepeatNGramLogitsProcessor(2, PROMPT),
    ),
    "bad words": (
        {"bad_words_ids": [[5], [7], [9, 4], [4, 30], [9, 4, 31], [3, 9, 4, 9, 3, 22]]},
        theirs.NoBadWordsLogitsProcessor([[5], [7], [9, 4], [4, 30], [9, 4, 31], [3, 9, 4, 9, 3, 22]], ENDS),
    ),
    "length": ({"min_length": 8}, theirs.MinLengthLogitsProcessor(8, ENDS)),
    "new length": ({"min_new_tokens": 4}, theirs.MinNewTokensLengthLogitsProcessor(START, 4, ENDS)),
    "forced end": (
        {"forced_eos_token_id": [1, 7], "max_length": 10},
        theirs.ForcedEOSTokenLogitsProcessor(10, ENDS),
    ),
    "likelier end": (
        {"exponential_decay_length_penalty": (1, 1.4)},
        theirs.ExponentialDecayLengthPenalty((1, 1.4), ENDS, START),
    ),
    "suppressed": ({"suppress_tokens": [3, 8]}, theirs.SuppressTokensLogitsProcessor([3, 8])),
    "not first": (
        {"begin_suppress_tokens": [3, 8]},
        theirs.SuppressTokensAtBeginLogitsProcessor([3, 8], START),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("ids", TEXTS.values(), ids=TEXTS.keys())
def test_rule_does_what_that_of_transformers_does(name: str, ids: list[int]):
    options, rule = RULES[name]
    config = updated(GenerationConfig(eos_token_id=EOS), options)
    for seed in range(5):
        scores = some_logits(seed)
        found = processed(scores, ids, START, config.longest(START), config)
        np.testing.assert_allclose(found, applied(rule, ids, scores), rtol=2e-6)


@pytest.mark.parametrize("ids", [[4], [4, 9], [4, 9, 3]], ids=str)
def test_first_token_is_forced_as_in_transformers(ids: list[int]):
    scores = some_logits(0)
    found = processed(scores, ids, 1, 99, GenerationConfig(forced_bos_token_id=6))
    np.testing.assert_array_equal(found, applied(theirs.ForcedBOSTokenLogitsProcessor(6), ids, scores))


def test_rules_of_the_source_are_those_of_transformers():
    scores, source = some_logits(1), SOURCE[0].tolist()
    config = GenerationConfig(encoder_repetition_penalty=0.6)
    found = processed(scores, [0, 9, 4], 1, 99, config, source)
    expected = applied(theirs.EncoderRepetitionPenaltyLogitsProcessor(0.6, SOURCE), [0, 9, 4], scores)
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    config = GenerationConfig(encoder_no_repeat_ngram_size=2)
    found = processed(scores, [0, 9], 1, 99, config, source)
    expected = applied(theirs.EncoderNoRepeatNGramLogitsProcessor(2, SOURCE), [0, 9], scores)
    np.testing.assert_array_equal(found, expected)


# What is drawn from.

NEUTRAL = {"top_k": 0}
WARPERS: dict[str, tuple[dict[str, Any], Any]] = {
    "temperature": ({"temperature": 0.6}, lambda _: theirs.TemperatureLogitsWarper(0.6)),
    "top-k": ({"top_k": 5}, lambda least: theirs.TopKLogitsWarper(5, min_tokens_to_keep=least)),
    "top-k of one": ({"top_k": 1}, lambda least: theirs.TopKLogitsWarper(1, min_tokens_to_keep=least)),
    "top-k of all": ({"top_k": 999}, lambda least: theirs.TopKLogitsWarper(999, min_tokens_to_keep=least)),
    "top-p": ({"top_p": 0.8}, lambda least: theirs.TopPLogitsWarper(0.8, min_tokens_to_keep=least)),
    "low top-p": ({"top_p": 0.05}, lambda least: theirs.TopPLogitsWarper(0.05, min_tokens_to_keep=least)),
    "no top-p": ({"top_p": 0.0}, lambda least: theirs.TopPLogitsWarper(0.0, min_tokens_to_keep=least)),
    "top-h": ({"top_h": 0.5}, lambda _: theirs.TopHLogitsWarper(0.5)),
    "low top-h": ({"top_h": 0.01}, lambda _: theirs.TopHLogitsWarper(0.01)),
    "min-p": ({"min_p": 0.1}, lambda least: theirs.MinPLogitsWarper(0.1, min_tokens_to_keep=least)),
    "typical": ({"typical_p": 0.7}, lambda least: theirs.TypicalLogitsWarper(0.7, min_tokens_to_keep=least)),
    "low typical": ({"typical_p": 0.1}, lambda least: theirs.TypicalLogitsWarper(0.1, min_tokens_to_keep=least)),
    "epsilon": ({"epsilon_cutoff": 0.02}, lambda least: theirs.EpsilonLogitsWarper(0.02, min_tokens_to_keep=least)),
    "high epsilon": ({"epsilon_cutoff": 0.9}, lambda least: theirs.EpsilonLogitsWarper(0.9, min_tokens_to_keep=least)),
    "eta": ({"eta_cutoff": 0.05}, lambda least: theirs.EtaLogitsWarper(0.05, min_tokens_to_keep=least)),
    "high eta": ({"eta_cutoff": 0.9}, lambda least: theirs.EtaLogitsWarper(0.9, min_tokens_to_keep=least)),
}
ORDER = ("temperature", "top-h", "top-k", "top-p", "min-p", "typical", "epsilon", "eta")


def left(scores: Scores, options: dict[str, Any], at_least: int) -> Scores:
    ids, kept = candidates(scores, updated(GenerationConfig(), {**NEUTRAL, **options}), at_least)
    assert ids.tolist() == sorted(ids.tolist())
    found = np.full_like(scores, -np.inf)
    found[ids] = kept
    return found


def warped(scores: Scores, warpers: Sequence[Any], at_least: int) -> Scores:
    for warper in warpers:
        scores = applied(warper(at_least), [0], scores)
    return scores


@pytest.mark.parametrize("name", WARPERS)
@pytest.mark.parametrize("at_least", [1, 3])
@pytest.mark.parametrize("size", [40, 400], ids=["few tokens", "many tokens"])
def test_unlikely_tokens_are_left_out_as_in_transformers(name: str, at_least: int, size: int):
    options, warper = WARPERS[name]
    for seed in range(20):
        scores = some_logits(seed, size)
        if seed % 2:
            scores[::3] = -np.inf
        np.testing.assert_allclose(left(scores, options, at_least), warped(scores, [warper], at_least), rtol=2e-6)


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sets(st.sampled_from(ORDER)), st.integers(1, 4), st.sampled_from([5, 40, 300]))
@example(0, set(ORDER), 2, 300)
def test_they_are_left_out_in_the_order_of_transformers(seed: int, names: set[str], at_least: int, size: int):
    scores = some_logits(seed, size)
    chosen = [WARPERS[name] for name in ORDER if name in names]
    options = {name: value for given, _ in chosen for name, value in given.items()}
    found = left(scores, options, at_least)
    np.testing.assert_allclose(found, warped(scores, [warper for _, warper in chosen], at_least), rtol=3e-6)


DRAWS = 20_000


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"temperature": 0.7, "top_k": 12},
        {"temperature": 1.6, "top_p": 0.9},
        {"temperature": 2.0, "typical_p": 0.9},
    ],
    ids=str,
)
def test_draws_are_as_frequent_as_likely(options: dict[str, Any]):
    scores = some_logits(3)
    config = updated(GenerationConfig(do_sample=True), options)
    warpers = [theirs.TemperatureLogitsWarper(config.temperature)]
    warpers += [theirs.TopKLogitsWarper(config.top_k)] if config.top_k else []
    warpers += [theirs.TopPLogitsWarper(config.top_p)] if config.top_p < 1 else []
    warpers += [theirs.TypicalLogitsWarper(config.typical_p)] if config.typical_p < 1 else []
    logits = torch.from_numpy(scores)[None]
    for warper in warpers:
        logits = warper(torch.tensor([[0]]), logits)
    expected = logits[0].double().softmax(-1).numpy()

    generator = np.random.default_rng(5)
    ids, kept = candidates(scores, config)
    counts = np.bincount([ids[draw(kept, generator)] for _ in range(DRAWS)], minlength=SIZE)
    assert not counts[expected == 0].any()
    assert likelihood(counts, expected) > CHANCE
    assert len(kept) > 3


def test_tokens_drawn_without_putting_back_are_as_frequent_as_those_of_torch():
    """As beams that are drawn are: the first of two, and the second."""
    scores = some_logits(4, 6)
    probs = torch.from_numpy(scores).double().softmax(-1)
    pairs = np.zeros((6, 6), int)
    generator = np.random.default_rng(6)
    for _ in range(DRAWS):
        first, second = sampling.draw_several(scores, 2, generator)
        pairs[first, second] += 1
    expected = (probs[:, None] * probs / (1 - probs[:, None])).numpy() * (1 - np.eye(6))
    assert likelihood(pairs.ravel(), expected.ravel()) > CHANCE
