"""Tiny seeded models and a tokenizer, built in code."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = str.split(
    "the a film was good bad great awful i you we they love hate it is not very and but or so much story actor "
    "music end plot best worst ever what day rain sun happy sad . , ! ? ' - # un like able ing ed s ly"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

TEXTS = (
    "the film was good",
    "i hate the awful plot and the worst music ever !",
    "what a great day",
    "it is not very good , but i love the actor and the story so much",
    "rain",
    "they like it",
)


def tokenizer(max_length: int = 64) -> transformers.PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer of about 160 entries: words, letters and pieces of words."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [*SPECIAL, *dict.fromkeys([*WORDS, *letters]), *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


COMMON = {"vocab_size": len(tokenizer()), "max_position_embeddings": 64, "initializer_range": 0.2}


def bert(num_labels: int = 2, seed: int = 0, **overrides: object) -> transformers.BertForSequenceClassification:
    """BERT with two layers of 32; weights wide enough that answers differ from text to text."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(**{**COMMON, **sizes, "num_labels": num_labels, **overrides})
    torch.manual_seed(seed)
    return transformers.BertForSequenceClassification(config).eval()


def distilbert(
    num_labels: int = 2, seed: int = 0, **overrides: object
) -> transformers.DistilBertForSequenceClassification:
    """DistilBERT with two layers of 32."""
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    config = transformers.DistilBertConfig(**{**COMMON, **sizes, "num_labels": num_labels, **overrides})
    torch.manual_seed(seed)
    return transformers.DistilBertForSequenceClassification(config).eval()


def save_checkpoint(folder: Path, model: transformers.PreTrainedModel) -> Path:
    """Write a checkpoint as save_pretrained does, tokenizer and calibration texts included."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    lines = [json.dumps({"text": text}) for text in TEXTS]
    (folder / "calibration.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
