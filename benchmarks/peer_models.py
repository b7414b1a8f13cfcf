"""Question: which models do the peers run, and on what?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.workers.serving import Feed

MINILM = Path(__file__).parents[1] / "models" / "sentiment-minilm"
CALIBRATION, HELD_OUT = MINILM / "calibration.jsonl", MINILM / "heldout.jsonl"
MAX_LENGTH = 128
VOCABULARY = 30_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A model: what it is called, what it reads, and how its checkpoint comes to be, given a folder for it."""

    title: str
    inputs: tuple[str, ...]
    checkpoint: Callable[[Path], Path]

    def feed(self, rows: int, length: int) -> Feed:
        """Make what is timed: random tokens of one segment, no padding."""
        shape = (rows, length)
        made = {
            "input_ids": np.random.default_rng(0).integers(1, VOCABULARY, shape),
            "attention_mask": np.ones(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }
        return {name: made[name] for name in self.inputs}

    def sentences(self, path: Path, count: int, rows: int) -> Iterator[Feed]:
        """Tokenize texts spread over a file, so many rows a feed, padded to the longest of them."""
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        texts = [json.loads(lines[at])["text"] for at in np.linspace(0, len(lines) - 1, count).astype(int)]
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(MINILM)
        for at in range(0, count, rows):
            some = texts[at : at + rows]
            encoded = tokenizer(some, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="np")
            yield {name: encoded[name].astype(np.int64) for name in self.inputs}


def _random_distilbert(folder: Path) -> Path:
    torch.manual_seed(0)
    transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig()).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return folder


SUBJECTS = {
    "minilm": Subject("MiniLM-L6, real weights", ("input_ids", "attention_mask", "token_type_ids"), lambda _: MINILM),
    "distilbert": Subject(
        "DistilBERT-base, random weights, real size", ("input_ids", "attention_mask"), _random_distilbert
    ),
}
