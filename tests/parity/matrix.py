"""Which architectures are asked which tasks, and with which tokenizers."""

from __future__ import annotations

from benchmarks import zoo
from ortolan_exporters.architectures.registry import ARCHITECTURES, tasks_of
from tests.checkpoints import KINDS

QUICK: dict[str, tuple[tuple[str, str], ...]] = {
    "text-classification": (
        ("bert", "wordpiece-uncased"),
        ("electra", "wordpiece-cased"),
        ("roberta", "byte-level"),
        ("xlm-roberta", "unigram"),
    ),
    "token-classification": (
        ("distilbert", "wordpiece-uncased"),
        ("bert", "wordpiece-cased"),
        ("roberta", "byte-level"),
        ("albert", "unigram"),
    ),
    "fill-mask": (
        ("bert", "wordpiece-uncased"),
        ("distilbert", "wordpiece-cased"),
        ("roberta", "byte-level"),
        ("xlm-roberta", "unigram"),
    ),
    "feature-extraction": (
        ("mpnet", "wordpiece-uncased"),
        ("bert", "wordpiece-cased"),
        ("modernbert", "byte-level"),
        ("t5", "unigram"),
    ),
}
"""For each head an architecture with each kind of tokenizer."""


def rest(task: str) -> list[tuple[str, str]]:
    """All other architectures that have a head, each with every kind of tokenizer that it is used with."""
    return [
        (model_type, kind)
        for model_type, architecture in ARCHITECTURES.items()
        if task in tasks_of(architecture)
        for kind in KINDS
        if _family(zoo.TOKENIZERS[model_type]) == _family(kind) and (model_type, kind) not in QUICK[task]
    ]


def _family(kind: str) -> str:
    return kind.replace("-", " ").split(" ")[0]
