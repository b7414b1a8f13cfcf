"""Texts of exported models over the cache, alone and side by side, against what `generate` of transformers writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from ortolan import Model
from ortolan.config import BatchConfig
from ortolan.generation.config import GenerationConfig
from ortolan.generation.loop import Writer, generate
from tests import checkpoints
from tests.goldens.seeded import seed_weights
from tests.parity.compare import assert_same
from tests.parity.prompts import encoded

WRITES, ANSWERS = "text-generation", "text2text-generation"
NEW, EOS = 20, 2
LENGTHS = (1, 2, 5, 17, 40, 90, 150, 200)
RULES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "2 beams": {"num_beams": 2},
    "3 texts of 4 beams": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 2.0},
    "4 beams without repetition": {"num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 2},
}


def slow(*values: str) -> Any:
    return pytest.param(*values, id=values[0], marks=pytest.mark.slow)


pytestmark = [
    pytest.mark.parity,
    pytest.mark.parametrize(
        ("model_type", "task", "kind"),
        [
            pytest.param("gpt2", WRITES, "byte-level", id="gpt2"),
            slow("llama", WRITES, "unigram"),
            slow("qwen2", WRITES, "byte-level"),
            slow("t5", ANSWERS, "unigram"),
            slow("bart", ANSWERS, "byte-level"),
            slow("marian", ANSWERS, "unigram"),
        ],
        scope="module",
    ),
]


@pytest.fixture(scope="module")
def models(
    model_type: str, task: str, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, transformers.PreTrainedModel]:
    """The artifact, and the checkpoint that it was made of."""
    folder = tmp_path_factory.mktemp(f"{model_type}-side-by-side")
    more = {"tie_word_embeddings": False} if task == WRITES else {}
    made = checkpoints.checkpoint(folder / "checkpoint", model_type, task, kind, **more)
    family = transformers.AutoModelForCausalLM if task == WRITES else transformers.AutoModelForSeq2SeqLM
    module = family.from_pretrained(made, dtype=torch.float32)
    # T5 does not scale its scores: with wider weights they amplify rounding
    seed_weights(module, spread=0.2 if model_type == "t5" else 0.5)
    module.save_pretrained(made)
    artifact = checkpoints.artifact(made, folder / "artifact")
    # what is no weight is as it was: Marian computes its positions
    return Model.load(artifact.folder, "cpu"), family.from_pretrained(made, dtype=torch.float32).eval()


def theirs(module: transformers.PreTrainedModel, prompt: list[int], start: int | None, rules: dict[str, Any]) -> Any:
    settings = {"max_new_tokens": NEW, "eos_token_id": EOS, "pad_token_id": 0, "do_sample": False, **rules}
    settings |= {"forced_bos_token_id": None, "forced_eos_token_id": None}
    if start is not None:
        settings["decoder_start_token_id"] = start
    with torch.no_grad():
        found = module.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)).long(), **settings)
    return [_ended(one, 0 if start is not None else len(prompt)) for one in found.tolist()]


def _ended(ids: list[int], start: int) -> list[int]:
    """What stands behind an end is padding."""
    behind = ids[start + 1 :] if start == 0 else ids[start:]
    return ids[: len(ids) - len(behind) + behind.index(EOS) + 1] if EOS in behind else ids


@pytest.mark.parametrize("rules", RULES)
def test_texts_are_those_of_transformers_alone_and_in_company(
    models: tuple[Model, transformers.PreTrainedModel], task: str, model_type: str, rules: str
) -> None:
    model, module = models
    start = None if task == WRITES else int(module.config.decoder_start_token_id)
    config = GenerationConfig(max_new_tokens=NEW, eos_token_id=(EOS,), decoder_start_token_id=start, **RULES[rules])
    random = np.random.default_rng(0)
    prompts = [random.integers(3, 1000, length).tolist() for length in LENGTHS]
    encodings = [encoded(prompt) for prompt in prompts]
    expected = [theirs(module, prompt, start, RULES[rules]) for prompt in prompts]
    writer = Writer(model, model.tokenizer)
    for size in (1, len(prompts)):
        found = dict(generate(writer, encodings, config, BatchConfig(max_batch_size=size)))
        for place, prompt in enumerate(prompts):
            texts = [row.outputs["sequences"].tolist() for row in found[place]]
            what = f"{model_type}, {rules}, {len(prompt)} tokens, {size} side by side"
            assert_same(texts, expected[place], task, what)
