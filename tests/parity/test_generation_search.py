"""Searches against `generate` of transformers, on a small GPT-2 that both ask about all ids anew."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from ortolan.generation import beams
from ortolan.generation.config import GenerationConfig, updated
from ortolan.generation.sampling import best
from ortolan.generation.search import Written
from tests.driven import Logits, drive, started
from tests.goldens.seeded import seed_weights

pytestmark = pytest.mark.parity

SIZE = 60
PROMPTS = [np.random.default_rng(length).integers(2, SIZE, length).tolist() for length in (1, 2, 7, 30)]
PROMPTS.append([5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6])


@functools.cache
def module() -> transformers.GPT2LMHeadModel:
    """Two layers, hidden 32, with weights wide enough that texts differ."""
    settings = transformers.GPT2Config(
        vocab_size=SIZE, n_positions=128, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=1
    )
    made = transformers.GPT2LMHeadModel(settings).eval()
    seed_weights(made, spread=0.6)
    return made


def logits_of(rows: list[list[int]]) -> Logits:
    with torch.no_grad():
        return module()(torch.tensor(rows)).logits.numpy()


def theirs(prompt: list[int], **options: Any) -> transformers.generation.utils.GenerateOutput:
    settings = {"pad_token_id": 0, "eos_token_id": None, **options}
    return module().generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )


def ours(prompt: list[int], **options: Any) -> list[Written]:
    search = started(updated(GenerationConfig(), options), prompt, SIZE)
    drive(search, logits_of, prompt)
    return list(search.written)


def same(prompt: list[int], **options: Any) -> None:
    found, known = ours(prompt, **options), theirs(prompt, **options)
    assert len(found) == len(known.sequences)
    for text, sequence in zip(found, known.sequences.tolist(), strict=True):
        ids = [*prompt, *text.ids]
        assert ids == sequence[: len(ids)]
        assert len(set(sequence[len(ids) :])) <= 1, "the rest is padding"
    if options.get("num_beams", 1) > 1:
        scores = [text.score for text in found]
        np.testing.assert_allclose(scores, known.sequences_scores.numpy(), rtol=1e-4, atol=1e-5)


prompts = pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: f"{len(prompt)} tokens")

RULES: dict[str, dict[str, Any]] = {
    "none": {},
    "ends": {"eos_token_id": list(range(1, 12))},
    "one end": {"eos_token_id": 3},
    "penalty": {"repetition_penalty": 1.4},
    "reward": {"repetition_penalty": 0.8},
    "prompt penalty": {"encoder_repetition_penalty": 0.7},
    "no pairs twice": {"no_repeat_ngram_size": 2},
    "nothing twice": {"no_repeat_ngram_size": 1},
    "no pairs of the prompt": {"encoder_no_repeat_ngram_size": 2},
    "bad words": {"bad_words_ids": [[7], [5, 9], [11, 12, 13]]},
    "biases": {"sequence_bias": [[[7], 4.0], [[5, 9], -8.0], [[8], -3.0]]},
    "suppressed": {"suppress_tokens": list(range(20, 40))},
    "not first": {"begin_suppress_tokens": list(range(2, 50))},
    "not too short": {"eos_token_id": list(range(1, 30)), "min_new_tokens": 5},
    "not too short in all": {"eos_token_id": list(range(1, 30)), "min_length": 12},
    "forced end": {"eos_token_id": 1, "forced_eos_token_id": 1},
    "forced beginning": {"forced_bos_token_id": 9},
    "likelier end": {"eos_token_id": [1, 2], "exponential_decay_length_penalty": (3, 1.5)},
    "all at once": {
        "eos_token_id": [1, 2, 3],
        "repetition_penalty": 1.2,
        "no_repeat_ngram_size": 3,
        "bad_words_ids": [[7]],
        "min_new_tokens": 3,
        "forced_eos_token_id": 2,
        "suppress_tokens": [9],
    },
}
rules = pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())


@prompts
@rules
def test_best_next_tokens_are_those_of_transformers(prompt: list[int], rules: dict[str, Any]):
    same(prompt, max_new_tokens=16, do_sample=False, **rules)


@rules
@pytest.mark.parametrize("number", [2, 4])
def test_beams_are_those_of_transformers(number: int, rules: dict[str, Any]):
    for prompt in PROMPTS:
        same(prompt, max_new_tokens=12, num_beams=number, num_return_sequences=number, do_sample=False, **rules)


ENDS = {"eos_token_id": [1, 2, 3, 4, 5, 6]}


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
def test_beams_are_ranked_and_stopped_as_in_transformers(number: int, early: bool | str, penalty: float):
    for prompt in PROMPTS[:4]:
        same(
            prompt,
            max_new_tokens=14,
            num_beams=number,
            num_return_sequences=2,
            length_penalty=penalty,
            early_stopping=early,
            do_sample=False,
            **ENDS,
        )


@pytest.mark.parametrize(
    "options", [{"renormalize_logits": True}, {"renormalize_logits": True, "eos_token_id": [1, 2]}]
)
def test_likelihoods_of_beams_may_be_made_whole_again(options: dict[str, Any]):
    for prompt in PROMPTS:
        same(
            prompt,
            max_new_tokens=10,
            num_beams=3,
            repetition_penalty=1.8,
            suppress_tokens=[7, 8],
            do_sample=False,
            **options,
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.5, "top_k": 12},
        {"temperature": 2.0, "top_p": 0.9, "eos_token_id": [1, 2, 3]},
        {"min_p": 0.05},
    ],
    ids=str,
)
def test_beams_are_drawn_from_what_transformers_draws_from(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """Chance is taken out of both: what is likeliest is drawn first."""
    monkeypatch.setattr(torch, "multinomial", lambda probs, num_samples: probs.topk(num_samples).indices)
    monkeypatch.setattr(beams, "draw_several", lambda scores, count, _: best(scores, count))
    for prompt in PROMPTS:
        same(prompt, max_new_tokens=10, num_beams=3, num_return_sequences=3, do_sample=True, **options)


def test_guesses_change_no_text():
    for prompt in PROMPTS[-2:]:
        for rules in RULES.values():
            plain = ours(prompt, max_new_tokens=20, **rules)
            assert ours(prompt, max_new_tokens=20, prompt_lookup_num_tokens=4, **rules) == plain


def test_likelihoods_are_those_of_transformers():
    [text] = ours(PROMPTS[2], max_new_tokens=8, logprobs=3, repetition_penalty=1.3)
    known = theirs(PROMPTS[2], max_new_tokens=8, do_sample=False, repetition_penalty=1.3)
    for place, scores in enumerate(known.scores):
        expected = scores[0].log_softmax(-1)
        values, tokens = expected.topk(3)
        assert text.logprobs is not None
        assert text.top_logprobs is not None
        assert text.logprobs[place] == pytest.approx(expected[text.ids[place]].item(), abs=1e-4)
        assert [one for one, _ in text.top_logprobs[place]] == tokens.tolist()
        np.testing.assert_allclose([one for _, one in text.top_logprobs[place]], values, atol=1e-4)


def test_stop_strings_end_beams_as_in_transformers():
    """transformers wants a tokenizer for them; here a criterion of one's own says the same."""
    for prompt in PROMPTS:
        [plain, *_] = ours(prompt, max_new_tokens=10, num_beams=3)
        stop = chr(ord("a") + plain.ids[2]) + chr(ord("a") + plain.ids[3])

        def is_done(ids: torch.Tensor, _: object, stop: str = stop, **__: object) -> torch.Tensor:
            return torch.tensor(["".join(chr(ord("a") + one) for one in row[-2:].tolist()) == stop for row in ids])

        found = ours(prompt, max_new_tokens=10, num_beams=3, num_return_sequences=3, stop_strings=stop)
        known = module().generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            pad_token_id=0,
            eos_token_id=None,
            max_new_tokens=10,
            num_beams=3,
            num_return_sequences=3,
            do_sample=False,
            stopping_criteria=[is_done],
        )
        for text, sequence in zip(found, known.tolist(), strict=True):
            ids = [*prompt, *text.ids]
            assert ids == sequence[: len(ids)]
