"""What tasks are called by other tools, and what is compared of their answers. Runs in every environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Answers = list[str] | NDArray[np.float32]
"""One for each text: a decision, or a vector float32 [N, H]."""

CLASSES = {
    "text-classification": "SequenceClassification",
    "token-classification": "TokenClassification",
    "question-answering": "QuestionAnswering",
    "fill-mask": "MaskedLM",
    "feature-extraction": "",
    "sentence-embedding": "",
    "text-generation": "CausalLM",
    "text2text-generation": "Seq2SeqLM",
}
"""How the class of a head is called that loads a checkpoint for a task, behind `AutoModelFor`."""

OUTPUTS = {
    "text-classification": ("logits",),
    "token-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "fill-mask": ("logits",),
    "feature-extraction": ("last_hidden_state",),
    "sentence-embedding": ("last_hidden_state",),
}
"""What the bare call of a model answers that reads. A sentence's vector is made of it by the tools themselves."""


def class_name(task: str, prefix: str = "Auto") -> str:
    """Name the class that loads a checkpoint for a task.

    Args:
        task: Name of the task.
        prefix: Of the tool, such as "ORT".
    """
    head = CLASSES[task]
    if head:
        return f"{prefix}ModelFor{head}"
    return "AutoModel" if prefix == "Auto" else f"{prefix}ModelForFeatureExtraction"


def taken(task: str, outputs: Mapping[str, Any]) -> NDArray[np.float32]:
    """Take what is compared of the outputs for a batch.

    Args:
        task: Name of the task.
        outputs: Arrays by name.

    Returns:
        float32 [B, ...]; two outputs of one shape side by side on a last axis.
    """
    arrays = [np.asarray(outputs[name]) for name in OUTPUTS[task]]
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, -1)


def asked(task: str, texts: list[tuple[str, str | None]]) -> list[Any]:
    """Make of texts what a pipeline takes, transformers' and Ortolan's alike."""
    if task == "question-answering":
        return [{"question": text, "context": pair} for text, pair in texts]
    if task == "text-classification":
        return [text if pair is None else {"text": text, "text_pair": pair} for text, pair in texts]
    return [text for text, _ in texts]


def decided(task: str, results: list[Any]) -> Answers:
    """Take what is compared of the results of a pipeline, which look alike in transformers and in Ortolan."""
    if task == "feature-extraction":
        return np.array([np.asarray(result, np.float32).reshape(-1, np.shape(result)[-1])[0] for result in results])
    return [_DECISIONS[task](result) for result in results]


def _labels(result: Any) -> str:
    return " ".join(str(one.get("entity_group") or one["entity"]) + f"@{one.get('index', '')}" for one in result)


def _filled(result: Any) -> str:
    gaps = result if result and isinstance(result[0], list) else [result]
    return " ".join(str(gap[0]["token_str"]) for gap in gaps)


_DECISIONS: dict[str, Callable[[Any], str]] = {
    "text-classification": lambda result: str(result["label"]),
    "token-classification": _labels,
    "question-answering": lambda result: str(result["answer"]),
    "fill-mask": _filled,
}
