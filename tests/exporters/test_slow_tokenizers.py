"""Checkpoints without tokenizer.json: what they have instead is converted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

import ortolan
from ortolan import Tokenizer
from ortolan_exporters import CheckpointError, resolve
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import resolve as read
from tests import checkpoints, tiny

WORDS = [*tiny.SPECIAL, "the", "The", "film", "was", "un", "##like", "##ly"]
BYTE_PAIRS = ["t h", "th e", "Ġ f", "Ġf i", "Ġfi l", "Ġfil m"]
LINES = ["the film was good", "unlikely, but what a day", "rain and sun and rain", "i would not go there again"] * 10
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 40,
    "vocab_size": 300,
}


def checkpoint(folder: Path, config: Any, head: Any, **settings: Any) -> Path:
    """Write a model without a tokenizer, but for its settings."""
    head(config).save_pretrained(folder)
    if settings:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def converted(folder: Path, to: Path) -> Tokenizer:
    """Resolve a checkpoint, and save its tokenizer as an export does."""
    read(folder, None, ExportConfig()).tokenizer.save_pretrained(to)
    return Tokenizer.load(to)


def tokens(tokenizer: Tokenizer, *texts: str) -> list[str]:
    return [tokenizer.token(one) for one in tokenizer(*texts)["input_ids"][0]]


def bert(folder: Path, **settings: Any) -> Path:
    config = transformers.BertConfig(**SIZES)
    checkpoint(folder, config, transformers.BertForSequenceClassification, **settings)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return folder


def test_a_word_list_becomes_wordpiece(tmp_path: Path):
    tokenizer = converted(bert(tmp_path / "bert"), tmp_path / "to")
    assert tokens(tokenizer, "The film", "unlikely x") == (
        ["[CLS]", "the", "film", "[SEP]", "un", "##like", "##ly", "[UNK]", "[SEP]"]
    )


def test_settings_of_a_word_list_are_heeded(tmp_path: Path):
    folder = bert(tmp_path / "bert", tokenizer_class="BertTokenizer", do_lower_case=False, model_max_length=20)
    tokenizer = converted(folder, tmp_path / "to")
    assert tokens(tokenizer, "The film") == ["[CLS]", "The", "film", "[SEP]"]
    assert tokenizer.max_length == 20


def test_a_vocabulary_with_merges_becomes_byte_level_pairs(tmp_path: Path):
    config = transformers.RobertaConfig(**SIZES)
    folder = checkpoint(tmp_path / "roberta", config, transformers.RobertaForSequenceClassification)
    alphabet = sorted(bytes_to_unicode().values())
    merged = [pair.replace(" ", "") for pair in BYTE_PAIRS]
    words = {
        word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *alphabet, *merged, "<mask>"])
    }
    (folder / "vocab.json").write_text(json.dumps(words), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *BYTE_PAIRS]) + "\n", encoding="utf-8")
    tokenizer = converted(folder, tmp_path / "to")
    assert tokens(tokenizer, "the film", "é") == ["<s>", "the", "Ġfilm", "</s>", "</s>", "Ã", "©", "</s>"]


def test_an_artifact_of_such_a_checkpoint_answers_as_transformers_does(tmp_path: Path):
    folder = bert(tmp_path / "bert")
    lines = [json.dumps({"text": text}) for text in ("the film", "was unlikely")]
    (folder / "calibration.jsonl").write_text("\n".join(lines), encoding="utf-8")
    artifact = checkpoints.artifact(folder, tmp_path / "artifact")
    [theirs] = transformers.pipeline("text-classification", str(folder), device="cpu")("The film was unlikely")
    [ours] = ortolan.pipeline("text-classification", artifact.folder, provider="cpu")("The film was unlikely")
    assert ours == {"label": theirs["label"], "score": pytest.approx(theirs["score"], abs=1e-5)}


# SentencePiece


def albert(folder: Path) -> Path:
    config = transformers.AlbertConfig(**SIZES, embedding_size=16)
    return checkpoint(folder, config, transformers.AlbertForSequenceClassification)


def xlm_roberta(folder: Path) -> Path:
    return checkpoint(folder, transformers.XLMRobertaConfig(**SIZES), transformers.XLMRobertaForSequenceClassification)


def deberta(folder: Path) -> Path:
    return checkpoint(folder, transformers.DebertaV2Config(**SIZES), transformers.DebertaV2ForSequenceClassification)


def t5(folder: Path) -> Path:
    config = transformers.T5Config(
        vocab_size=300, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    return checkpoint(folder, config, transformers.T5ForSequenceClassification)


ALBERT_PIECES = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": "[CLS],[SEP],[MASK]"}
DEBERTA_PIECES = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
DEBERTA_PIECES_NAMES = {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
T5_PIECES = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


@pytest.mark.parametrize(
    ("file", "make", "pieces", "ends"),
    [
        pytest.param("spiece.model", albert, ALBERT_PIECES, ("[CLS]", "[SEP]"), id="albert"),
        pytest.param("sentencepiece.bpe.model", xlm_roberta, {}, ("<s>", "</s>"), id="xlm-roberta"),
        pytest.param(
            "spm.model", deberta, {**DEBERTA_PIECES, **DEBERTA_PIECES_NAMES}, ("[CLS]", "[SEP]"), id="deberta"
        ),
        pytest.param("spiece.model", t5, T5_PIECES, (None, "</s>"), id="t5"),
    ],
)
def test_pieces_are_those_of_sentencepiece(
    tmp_path: Path, file: str, make: Callable[[Path], Path], pieces: dict[str, Any], ends: tuple[str | None, str]
):
    spm = pytest.importorskip("sentencepiece")
    folder = make(tmp_path / "checkpoint")
    (folder / file).write_bytes(trained(spm, tmp_path, pieces))
    tokenizer = converted(folder, tmp_path / "to")
    for text in ("the film was good", "rain, rain and unlikely sun", "a day again"):
        own = spm.SentencePieceProcessor(model_file=str(folder / file)).encode(text, out_type=str)
        assert tokens(tokenizer, text) == [*([ends[0]] if ends[0] else []), *own, ends[1]]


def trained(spm: Any, folder: Path, pieces: dict[str, Any]) -> bytes:
    """Train a vocabulary of SentencePiece on a few lines, in a process of its own: it writes much to stderr."""
    (folder / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    settings = {
        "input": str(folder / "lines.txt"),
        "model_prefix": str(folder / "trained"),
        "vocab_size": 60,
        "hard_vocab_limit": False,
        **pieces,
    }
    code = "import json, sys, sentencepiece; sentencepiece.SentencePieceTrainer.train(**json.loads(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, json.dumps(settings)], check=True, capture_output=True)
    return (folder / "trained.model").read_bytes()


def test_without_sentencepiece_its_vocabularies_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = albert(tmp_path / "albert")
    (folder / "spiece.model").write_bytes(b"anything")
    monkeypatch.setattr(resolve, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError) as caught:
        read(folder, None, ExportConfig())
    assert str(caught.value) == (
        f"tokenizer of '{folder}' requested, spiece.model has to be converted, and sentencepiece is not installed; "
        "pip install sentencepiece, or add tokenizer.json to the folder"
    )


def test_a_vocabulary_without_its_merges_is_a_typed_error(tmp_path: Path):
    folder = checkpoint(
        tmp_path / "roberta", transformers.RobertaConfig(**SIZES), transformers.RobertaForSequenceClassification
    )
    (folder / "vocab.json").write_text('{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="it cannot be loaded"):
        read(folder, None, ExportConfig())
