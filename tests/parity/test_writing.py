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
from tests.parity.compare import compared
from tests.parity.prompts import encoded, writing_config

pytestmark = pytest.mark.parity

TASKS = {
    "gpt2": "text-generation",
    "llama": "text-generation",
    "t5": "text2text-generation",
    "bart": "text2text-generation",
    "marian": "text2text-generation",
}
LENGTHS = (1, 2, 3, 7, 19, 40, 200, 133)
NEW = 12
MAX_LENGTH = 256

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
        sizes = {"max_position_embeddings": MAX_LENGTH} | ({"n_positions": MAX_LENGTH} if name == "gpt2" else {})
        checkpoint = zoo.save(folder / "checkpoint", name, TASKS[name], **sizes)
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
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] if one == "marian" else []) for one in TASKS]
)
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
