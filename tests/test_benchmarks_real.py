"""What the benchmarks on real weights make of packages, without any package."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from benchmarks import real_writers
from benchmarks.real_checkpoints import load_module, load_tokenizer
from benchmarks.real_generation import TRAINING, alike, gate, generation_table, perplexity, verdict
from benchmarks.real_writers import build_pronouncer, character_tokenizer, last_line, written
from ortolan_exporters import precisions
from ortolan_exporters.errors import CheckpointError
from ortolan_exporters.quality import Agreement

train: Any = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("train", TRAINING))
spec.loader.exec_module(train)
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


def test_a_uniform_model_is_as_surprised_as_it_has_tokens() -> None:
    assert perplexity(np.zeros((5, 7), np.float32), np.arange(5)) == pytest.approx(7)


def test_a_model_that_knows_is_not_surprised_and_one_that_errs_is() -> None:
    ids = np.array([2, 0, 1])
    sure = np.full((3, 3), -100, np.float32)
    sure[[0, 1], ids[1:]] = 100
    assert perplexity(sure, ids) == pytest.approx(1)
    half = np.array([[0, 0, -100], [0, 0, -100], [0, 0, 0]], np.float32)
    assert perplexity(half, ids) == pytest.approx(2)


def test_texts_are_alike_up_to_where_they_part() -> None:
    assert alike("abcd", "abcd") == 1
    assert alike("abcd", "abXd") == 0.5
    assert alike("abcd", "ab") == 0.5
    assert alike("", "") == 1
    assert alike("", "a") == 0


def test_an_open_gate_lets_all_pass_and_closes_again() -> None:
    quality = Agreement(10, 100, 0.5, 0.3, 0.9, 0.2)
    with gate(decides=False):
        assert precisions.faults(quality, None, 0.01, 0.9) == []
    with gate(decides=True):
        assert precisions.faults(quality, None, 0.01, 0.9)
    said = "expected drop 0.2000 of 0.01 allowed; same label 50.00%, 90% wanted; mean probability difference 0.3000"
    assert verdict({**quality.to_json(), "max_drop": 0.01}).startswith(said)


def test_a_table_has_what_was_found_and_what_was_refused() -> None:
    torch_row = {"texts": 2, "same": 2, "alike": 1.0, "exact match": 0.5}
    int8 = {"texts": 2, "same": 1, "alike": 0.75, "perplexity": 3.14159, "gate": "", "kept in fp32": 4, "MB": 1.25}
    found = {"m": {"torch": torch_row, "int8": int8, "int4": {"refused": "why"}}}
    _, _, *rows = generation_table(found).splitlines()
    assert rows == [
        "| m | torch |  | 50.0% |  |  |  |  |",
        "| m | int8 | 1 of 2, 75.0% |  | 3.14 |  | 4 | 1.2 |",
        "| m | int4 | refused by the gate: why |  |  |  |  |  |",
    ]


def test_held_out_words_are_not_trained_on_in_any_capitals() -> None:
    pairs = [train.Pair(word, "x") for index in range(40) for word in (f"w{index}", f"W{index}")]
    kept, heldout = train.split(pairs, seed=0, num_heldout=10)
    assert len(heldout) == 10
    assert not {pair.word.lower() for pair in kept} & {pair.word.lower() for pair in heldout}
    assert len(kept) == 60


def test_the_usual_pronunciation_is_read_and_words_without_one_are_not(tmp_path: Path) -> None:
    entries = {"cab": "kˈæb", "use": {"DEFAULT": "jˈuz", "NOUN": "jˈus"}, "am": {"DEFAULT": None}}  # noqa: RUF001
    (tmp_path / "words.json").write_text(json.dumps(entries), encoding="utf-8")
    assert [pair.word for pair in train.read_pairs(tmp_path / "words.json")] == ["cab", "use"]


def test_a_t5_is_trained_on_few_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    narrow = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    monkeypatch.setattr(train, "SIZES", {**narrow, "dropout_rate": 0.0})
    pairs = [train.Pair(word, word.upper()) for word in ("ab", "ba", "abba", "b")]
    tokenizer = train.tokenizer_of(pairs)
    assert tokenizer.decode(tokenizer("abBA")["input_ids"]) == "abBA</s>"
    model = train.train(pairs, tokenizer, seed=0, epochs=2)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert train.evaluate(tmp_path, pairs)["count"] == 4
