"""`model_type` to architecture, and its heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from ortolan.errors import UnknownTaskError
from ortolan_exporters.architectures.albert import ALBERT
from ortolan_exporters.architectures.bart import BART
from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.architectures.bert import BERT
from ortolan_exporters.architectures.deberta_v2 import DEBERTA_V2
from ortolan_exporters.architectures.distilbert import DISTILBERT
from ortolan_exporters.architectures.electra import ELECTRA
from ortolan_exporters.architectures.generic import generic_architecture, remote_architecture
from ortolan_exporters.architectures.gpt2 import GPT2
from ortolan_exporters.architectures.llama import LLAMA
from ortolan_exporters.architectures.marian import MARIAN
from ortolan_exporters.architectures.mbart import MBART
from ortolan_exporters.architectures.mistral import MISTRAL
from ortolan_exporters.architectures.modernbert import MODERNBERT
from ortolan_exporters.architectures.mpnet import MPNET
from ortolan_exporters.architectures.mt5 import MT5
from ortolan_exporters.architectures.qwen2 import QWEN2
from ortolan_exporters.architectures.qwen3 import QWEN3
from ortolan_exporters.architectures.roberta import ROBERTA
from ortolan_exporters.architectures.t5 import T5
from ortolan_exporters.architectures.xlm_roberta import XLM_ROBERTA
from ortolan_exporters.errors import UnsupportedArchitectureError
from ortolan_exporters.heads.registry import HEADS, head_named

_ALL = (
    BERT,
    DISTILBERT,
    ROBERTA,
    XLM_ROBERTA,
    ALBERT,
    MPNET,
    ELECTRA,
    DEBERTA_V2,
    MODERNBERT,
    BART,
    MBART,
    MARIAN,
    T5,
    MT5,
    GPT2,
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
)

ARCHITECTURES = {row.model_type: row for row in _ALL}

AUTO_CLASSES: Mapping[str, str] = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "fill-mask": "AutoModelForMaskedLM",
    "feature-extraction": "AutoModel",
    "sentence-embedding": "AutoModel",
}
"""Under which key of `auto_map` in config.json a checkpoint with code of its own names the class for a task."""


def architecture_of(config: Any, *, trust_remote_code: bool = False) -> Architecture:
    """Find the architecture of a config: its own, or the generic one for any other type that has a head we know.

    Args:
        config: A config of transformers.
        trust_remote_code: Whether classes that come with the checkpoint go before those of transformers.

    Raises:
        UnsupportedArchitectureError: A type that transformers has no such head for; the message lists those that have
            a file of their own here.
    """
    model_type = getattr(config, "model_type", None)
    own = getattr(config, "auto_map", None) or {} if trust_remote_code else {}
    if classes := {task: str(own[name]) for task, name in AUTO_CLASSES.items() if name in own}:
        like = ARCHITECTURES.get(str(model_type)) or generic_architecture(config)
        return remote_architecture(config, like, classes)
    if model_type in ARCHITECTURES:
        return ARCHITECTURES[str(model_type)]
    reads_text = getattr(config, "vocab_size", None) is not None
    if not reads_text or not any(class_name(Architecture(str(model_type)), task) for task in HEADS):
        raise UnsupportedArchitectureError(
            f"export of model_type {model_type!r} requested",
            "transformers has no encoder or classifier of that type",
            f"use one of {', '.join(sorted(ARCHITECTURES))}, or another one with such a head",
        )
    return generic_architecture(config)


def class_name(architecture: Architecture, task: str) -> str | None:
    """Name the class of transformers that has the head for a task; None if there is none.

    A class that comes with the checkpoint is named as in config.json: "file.Class".
    """
    if task in architecture.classes:
        return architecture.classes[task]
    tables, head = transformers.models.auto.modeling_auto, HEADS[task]
    if any(architecture.model_type in getattr(tables, name) for name in head.unless):
        return None
    found = getattr(tables, head.classes).get(architecture.model_type)
    return None if found is None else str(found[0] if isinstance(found, tuple) else found)


def tasks_of(architecture: Architecture) -> list[str]:
    """Tasks that an architecture has heads for."""
    return [task for task in HEADS if class_name(architecture, task) is not None]


def task_of(
    architecture: Architecture, config: Any, asked: str | None, *, has_new_head: bool, has_modules: bool
) -> str:
    """Choose the task: the one asked for, else the one that the checkpoint serves.

    Args:
        architecture: The architecture.
        config: Its config, whose `architectures` names the class that was saved.
        asked: Name of a task, or None.
        has_new_head: Whether labels are asked for, so that a base checkpoint becomes a classifier.
        has_modules: Whether the checkpoint carries a module list of sentence-transformers.

    Raises:
        UnknownTaskError: No such task, or the checkpoint serves none that is known.
        UnsupportedArchitectureError: The architecture has no such head.
    """
    tasks = tasks_of(architecture)
    if asked is not None:
        task = head_named(asked).task
        if task not in tasks:
            raise UnsupportedArchitectureError(
                f"task '{task}' requested",
                f"{architecture.model_type} is exported for {', '.join(tasks)}",
                "choose one of those",
            )
        return task
    if has_modules and not has_new_head:
        return "sentence-embedding"
    saved = [str(name) for name in getattr(config, "architectures", None) or ()]
    for task in tasks:
        if task != "sentence-embedding" and str(class_name(architecture, task)).rpartition(".")[2] in saved:
            # a base model with labels asked for is to become a classifier
            return "text-classification" if task == "feature-extraction" and has_new_head else task
    if has_new_head:
        return "text-classification"
    raise UnknownTaskError(
        "the task of the checkpoint requested",
        f"it was saved as {saved or 'no known class'}",
        f"pass task= (one of {', '.join(tasks)}); with num_labels= a new head is made",
    )
