"""Results as lines to read: `--json` has all of them, these have what a person looks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

NUMBERS_SHOWN = 4
"""How many numbers of a vector are shown."""


def shown(task: str, result: Any, text: str, asked: Any) -> Iterator[str]:
    """Show a result.

    Args:
        task: Name of the task.
        result: What it answered.
        text: What was asked.
        asked: What the pipeline was given for it.

    Yields:
        A line, which ends in the text; for a ranking a line for each document, and for tasks that write the text that
        they wrote, which may have several lines.
    """
    if task == "text-ranking":
        for one in result:
            yield f"{one['score']:.4f}\t{asked['documents'][one['index']]}"
    elif task in _SHOWN:
        yield f"{_SHOWN[task](result)}\t{text}"
    else:
        yield _written(result)


def _labels(result: Any) -> str:
    return _scored(result, "label")


def _scored(result: Any, name: str) -> str:
    """One answer or several, best first, each with its score."""
    found = result if isinstance(result, list) else [result]
    return "  ".join(f"{one[name]} {one['score']:.4f}" for one in found)


def _entities(result: Any) -> str:
    return "  ".join(f"{one.get('entity_group') or one['entity']} {one['word']} {one['score']:.4f}" for one in result)


def _fillings(result: Any) -> str:
    """The words for a gap; those of several gaps apart."""
    gaps = result if result and isinstance(result[0], list) else [result]
    return " | ".join(_scored(gap, "token_str") for gap in gaps)


def _chosen(result: Mapping[str, Any]) -> str:
    return "  ".join(f"{label} {score:.4f}" for label, score in zip(result["labels"], result["scores"], strict=True))


def _numbers(result: Any) -> str:
    array = np.asarray(result)
    numbers = " ".join(f"{number:.4f}" for number in array.ravel()[:NUMBERS_SHOWN])
    return f"[{', '.join(map(str, array.shape))}] {numbers} ..."


def _written(result: Any) -> str:
    """The text of an answer; that of a chat is its last message."""
    texts = []
    for one in result:
        [text] = one.values()
        texts.append(str(text[-1]["content"] if isinstance(text, list) and isinstance(text[-1], Mapping) else text))
    return "\n".join(texts)


_SHOWN: dict[str, Callable[[Any], str]] = {
    "text-classification": _labels,
    "token-classification": _entities,
    "question-answering": lambda result: _scored(result, "answer"),
    "fill-mask": _fillings,
    "feature-extraction": _numbers,
    "sentence-embedding": _numbers,
    "zero-shot-classification": _chosen,
}
