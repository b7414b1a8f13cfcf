"""Token ids that exported decoders write, beside those of transformers' generate(): alone and in ragged batches."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from benchmarks import zoo
from ortolan import Model
from ortolan.config import BatchConfig
from ortolan.generation.loop import Writer, generate
from ortolan_exporters import export
from tests.parity.compare import CHANCE, compared, likelihood
from tests.parity.prompts import encoded, writing_config

pytestmark = pytest.mark.parity

TASKS = {
    "gpt2": "text-generation",
    "distilgpt2": "text-generation",
    "llama": "text-generation",
    "qwen2": "text-generation",
    "t5": "text2text-generation",
    "bart": "text2text-generation",
    "marian": "text2text-generation",
}
MAX_LENGTH = 256
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": MAX_LENGTH},
    "distilgpt2": {"n_positions": MAX_LENGTH, "n_layer": 6, "n_head": 12, "num_attention_heads": 12, "n_embd": 96},
}
SLOW = ("distilgpt2", "qwen2", "marian")
NAMES = [pytest.param(one, marks=[pytest.mark.slow] if one in SLOW else []) for one in TASKS]
LENGTHS = (1, 2, 3, 7, 19, 40, 200, 133)
NEW = 12

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "2 beams": {"num_beams": 2},
    "4 beams": {"num_beams": 4, "length_penalty": 0.7, "early_stopping": True},
    "4 beams, two texts": {"num_beams": 4, "num_return_sequences": 2},
    "repetition penalty": {"repetition_penalty": 1.6},
    "no pair twice": {"no_repeat_ngram_size": 2},
    "bad words": {"bad_words_ids": [[20], [31, 32], [45]]},
    "suppressed": {"suppress_tokens": list(range(10, 60)), "begin_suppress_tokens": list(range(60, 200))},
    "at least nine": {"min_new_tokens": 9},
    "beams and rules": {"num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "min_new_tokens": 5},
    "decay": {"exponential_decay_length_penalty": (3, 1.4)},
}

DRAWN: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7, "top_k": 0},
    "top-k and top-p": {"temperature": 1.2, "top_k": 40, "top_p": 0.8},
    "min-p": {"min_p": 0.1, "top_k": 0},
    "typical": {"typical_p": 0.6, "top_k": 0},
    "penalty": {"repetition_penalty": 1.5, "top_k": 30},
}
ROWS, SEEDS = 128, 24
"""Texts of a call, and calls: 3,072 draws of a token."""


@dataclass(frozen=True)
class Pair:
    """A model of transformers, and what was exported of it."""

    theirs: Any
    ours: Model


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    @functools.cache
    def once(name: str) -> Pair:
        folder: Path = tmp_path_factory.mktemp(name)
        sizes = {"max_position_embeddings": MAX_LENGTH, **SIZES.get(name, {})}
        checkpoint = zoo.save(folder / "checkpoint", name.removeprefix("distil"), TASKS[name], **sizes)
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
        tokenizer.model_max_length = MAX_LENGTH
        tokenizer.save_pretrained(checkpoint)
        artifact = export(checkpoint, folder / "artifact", task=TASKS[name], precisions=("fp32",))
        writes_on = TASKS[name] == "text-generation"
        auto = transformers.AutoModelForCausalLM if writes_on else transformers.AutoModelForSeq2SeqLM
        return Pair(auto.from_pretrained(checkpoint).eval(), Model.load(artifact.folder, "cpu"))

    return once


def prompts(seed: int, size: int) -> list[list[int]]:
    draw = np.random.default_rng(seed)
    return [[int(token) for token in draw.integers(10, size, length)] for length in LENGTHS]


def wrote(pair: Pair, texts: list[list[int]], options: dict[str, Any]) -> list[list[list[int]]]:
    """Ids that are written to each text, by our scheduler, all at once."""
    config = writing_config(pair.ours, {"max_new_tokens": NEW, **options})
    rows = [encoded(ids) for ids in texts]
    writer = Writer(pair.ours, pair.ours.tokenizer)
    written = dict(generate(writer, rows, config, BatchConfig()))
    return [[row.outputs["sequences"].tolist() for row in written[position]] for position in range(len(texts))]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_ids_equal_those_of_generate(pair: Callable[[str], Pair], name: str, way: str) -> None:
    both, options = pair(name), WAYS[way]
    texts = prompts(len(way), both.theirs.config.vocab_size)
    together = wrote(both, texts, options)
    for text, got in zip(texts, together, strict=True):
        ids = torch.tensor([text])
        with torch.inference_mode():
            wanted = both.theirs.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, **options
            )
        pad = both.theirs.generation_config.pad_token_id
        stripped = [_without_padding(one, pad, len(text)) for one in wanted.tolist()]
        assert [_without_padding(one, pad, len(text)) for one in got] == stripped, f"{len(text)} tokens"
        compared[f"{name} ids"] += 1
    [alone] = wrote(both, texts[3:4], options)
    assert alone == together[3], "company changes nothing"


def _without_padding(ids: list[int], pad: int | None, start: int) -> list[int]:
    """Leave out what fills up shorter texts behind their end."""
    end = len(ids)
    while end > start + 1 and ids[end - 1] == pad:
        end -= 1
    return ids[:end]


@pytest.mark.parametrize("way", DRAWN)
@pytest.mark.parametrize("name", NAMES)
def test_drawn_tokens_are_as_frequent_as_generate_would_draw_them(
    pair: Callable[[str], Pair], name: str, way: str
) -> None:
    both, options = pair(name), {"do_sample": True, **DRAWN[way]}
    prompt = prompts(5, both.theirs.config.vocab_size)[4]
    with torch.inference_mode():
        theirs = both.theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=2,  # some models are made to end with the last one
            output_scores=True,
            return_dict_in_generate=True,
            **options,
        )
    likely = theirs.scores[0][0].double().softmax(-1).numpy()
    first = 1 if both.theirs.config.is_encoder_decoder else len(prompt)
    calls = [{"max_new_tokens": 2, "num_return_sequences": ROWS, "seed": seed, **options} for seed in range(SEEDS)]
    drawn = [text[first] for call in calls for text in wrote(both, [prompt], call)[0]]
    counts = np.bincount(drawn, minlength=len(likely))
    assert counts[likely == 0].sum() == 0, "tokens that are left out there"
    assert likelihood(counts, likely) > CHANCE
    assert likelihood(counts, likely * (1 + np.argsort(likely) % 2)) < CHANCE, "another distribution would be seen"
    compared[f"{name} distributions"] += 1
