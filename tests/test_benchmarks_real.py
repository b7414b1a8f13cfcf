"""What the benchmarks on real weights make of packages, without any package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from benchmarks import real_writers
from benchmarks.real_checkpoints import load_module, load_tokenizer
from benchmarks.real_writers import build_pronouncer, character_tokenizer, last_line, written
from ortolan_exporters.errors import CheckpointError

READ, WRITTEN = "____abcqx", "____abʃŋ"
NARROW = {"d_model": 8, "ffn_dim": 16, "num_heads": 1, "max_position_embeddings": 16}


def test_ids_are_read_by_one_list_and_written_by_the_other() -> None:
    tokenizer = character_tokenizer(READ, WRITTEN)
    assert tokenizer.encode("cab").ids == [1, 6, 4, 5, 2]
    assert tokenizer.encode("a b?").ids == [1, 4, 3, 5, 3, 2]
    assert tokenizer.decode([1, 6, 4, 7, 7, 2]) == "ʃaŋŋ"


def test_a_character_with_two_ids_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"\['a', 'b'\] stand in both"):
        character_tokenizer("____ab", "____ba")


def test_a_pronouncer_is_made_of_arrays(tmp_path: Path) -> None:
    target = make_pronouncer(tmp_path)
    module = load_module(transformers.BartForConditionalGeneration, target)
    assert sum(weight.numel() for weight in module.parameters()) == 1_896
    tokenizer = load_tokenizer(target, ["cab", "a b?"])
    assert len(written(module, tokenizer, ["cab", "x"], max_new_tokens=4)) == 2


def test_a_pronouncer_without_a_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing keys .*fc1\.bias"):
        make_pronouncer(tmp_path, left_out="model.encoder.layers.0.fc1.bias")


def make_pronouncer(folder: Path, left_out: str = "") -> Path:
    torch.manual_seed(0)
    config = transformers.BartConfig(
        vocab_size=len(READ), encoder_layers=1, decoder_layers=1, d_model=8, max_position_embeddings=16,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=1, decoder_attention_heads=1,
    )  # fmt: skip
    module = transformers.BartForConditionalGeneration(config)
    shared = {"lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", left_out}
    state = {name: value.numpy() for name, value in module.state_dict().items() if name not in shared}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    facts = {"grapheme_chars": READ, "phoneme_chars": WRITTEN, **NARROW, **ids}
    np.savez(folder / real_writers.PRONOUNCER_FILE, meta_json=np.array(json.dumps(facts)), **state)
    (target := folder / "checkpoint").mkdir()
    build_pronouncer(folder, target)
    return target


def test_tools_that_cannot_be_installed_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_writers, "GGUF_PACKAGES", ("./no-such-folder",))
    (source := tmp_path / "packages" / "llm" / "inside").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"packages \./no-such-folder requested"):
        real_writers.build_smollm2(source, tmp_path / "checkpoint")
    assert [path.name for path in (tmp_path / "packages").iterdir()] == ["llm"]


def test_a_file_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    (source := tmp_path / "packages" / "llm" / "inside").mkdir(parents=True)
    (tmp_path / "packages" / "gguf-tools").mkdir()
    with pytest.raises(CheckpointError, match=r"weights of SmolLM2-135M-Instruct\.Q4_1\.gguf requested"):
        real_writers.build_smollm2(source, tmp_path / "checkpoint")


def test_the_last_line_says_why() -> None:
    done = subprocess.run([sys.executable, "-c", "1 / 0"], capture_output=True, text=True, check=False)
    assert last_line(done.stderr) == "ZeroDivisionError: division by zero"
    assert last_line(" \n") == "it said nothing"
