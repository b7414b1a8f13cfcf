"""Question: which models do the peers run, and on what?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from ortolan.request import TextInput

MINILM = Path(__file__).parents[1] / "models" / "sentiment-minilm"
CALIBRATION, HELD_OUT = MINILM / "calibration.jsonl", MINILM / "heldout.jsonl"


@dataclass(frozen=True, slots=True)
class Subject:
    """A model: what it is called, and how its checkpoint comes to be, given a folder for it."""

    title: str
    checkpoint: Callable[[Path], Path]


def texts_of(path: Path, count: int) -> list[TextInput]:
    """Read texts spread over a file."""
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [TextInput(json.loads(lines[at])["text"]) for at in np.linspace(0, len(lines) - 1, count).astype(int)]


def _random_distilbert(folder: Path) -> Path:
    torch.manual_seed(0)
    transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig()).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
    return folder


SUBJECTS = {
    "minilm": Subject("MiniLM-L6, real weights", lambda _: MINILM),
    "distilbert": Subject("DistilBERT-base, random weights, real size", _random_distilbert),
}
