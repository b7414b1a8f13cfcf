"""Question: which models that write are raced, and with which tokens?

They have random weights and real size: speed does not depend on what weights say, as long as no text ends early. Token
i is called "t{i}", but for special ones, and spaces lie between tokens, so that every tool reads the same ids.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from benchmarks.record import OUT
from ortolan_exporters import export

MADE = OUT / "writing"
PAD, EOS, BOS, UNKNOWN = range(4)
SPECIAL = ("<pad>", "</s>", "<s>", "<unk>")  # not "t0", which would be found at the beginning of "t01"
LOWEST = 10  # of the ids in prompts


@dataclass(frozen=True, slots=True)
class WritingSubject:
    """A model to race.

    Attributes:
        title: Of the model, for tables.
        task: What Ortolan's pipeline calls it.
        make: Returns the module.
        read: Tokens of a prompt, or of what an encoder reads.
        written: Tokens of each text.
        cases: Texts at a time, and beams of each.
    """

    title: str
    task: str
    make: Callable[[], Any]
    read: int
    written: int
    cases: tuple[tuple[int, int], ...]

    @property
    def has_encoder(self) -> bool:
        """Whether it writes to what an encoder has read."""
        return self.task == "text2text-generation"


def _gpt2() -> Any:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(eos_token_id=EOS, bos_token_id=BOS))


def _llama() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
    )
    return transformers.LlamaForCausalLM(config)


def _t5() -> Any:
    sizes = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8}
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=32128, decoder_start_token_id=PAD, **sizes)
    )


def _bart() -> Any:
    config = transformers.BartConfig(
        vocab_size=50265,
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
        decoder_start_token_id=EOS,
        forced_eos_token_id=None,
    )
    return transformers.BartForConditionalGeneration(config)


GREEDY, BEAMS = ((1, 1), (8, 1)), ((1, 4), (8, 4))

SUBJECTS = {
    "gpt2": WritingSubject("GPT-2 (124M)", "text-generation", _gpt2, 32, 64, GREEDY),
    "llama-135m": WritingSubject("Llama (135M, as SmolLM2)", "text-generation", _llama, 32, 64, GREEDY),
    "t5-small": WritingSubject("T5-small", "text2text-generation", _t5, 32, 64, GREEDY + BEAMS),
    "bart-base": WritingSubject("BART-base", "text2text-generation", _bart, 32, 64, GREEDY + BEAMS),
}
"""Every model by its name."""


def checkpoint_of(name: str) -> Path:
    """Make the checkpoint of a subject, unless it is there."""
    folder = MADE / name / "checkpoint"
    if not (folder / "tokenizer_config.json").is_file():  # written last
        torch.manual_seed(0)
        module = SUBJECTS[name].make()
        module.generation_config.forced_eos_token_id = None
        module.save_pretrained(folder)
        names = [*SPECIAL, *(f"t{index}" for index in range(len(SPECIAL), module.config.vocab_size))]
        words = {name: index for index, name in enumerate(names)}
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=SPECIAL[UNKNOWN]))
        made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        made.save(str(folder / "tokenizer.json"))
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": getattr(module.config, "max_position_embeddings", None) or 512,
            "pad_token": SPECIAL[PAD],
            "eos_token": SPECIAL[EOS],
            "bos_token": SPECIAL[BOS],
            "unk_token": SPECIAL[UNKNOWN],
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def artifact_of(name: str) -> Path:
    """Export a subject with the gate that every export has, unless that is done; in random weights int4 fails it."""
    folder = MADE / name / "artifact"
    if not folder.exists():
        export(checkpoint_of(name), folder, SUBJECTS[name].task, precisions=("fp32", "int8"))
    return folder


def prompts(vocabulary: int, texts: int, length: int, seed: int) -> list[list[int]]:
    """Draw token ids of prompts of one length."""
    draw = random.Random(seed)
    return [[draw.randrange(LOWEST, vocabulary) for _ in range(length)] for _ in range(texts)]
