"""Task names to heads."""

from __future__ import annotations

from ortolan.errors import UnknownTaskError
from ortolan_exporters.heads.base import Head
from ortolan_exporters.heads.feature_extraction import FeatureExtraction
from ortolan_exporters.heads.fill_mask import FillMask
from ortolan_exporters.heads.question_answering import QuestionAnswering
from ortolan_exporters.heads.sentence_embedding import SentenceEmbedding
from ortolan_exporters.heads.text2text_generation import Text2TextGeneration
from ortolan_exporters.heads.text_classification import TextClassification
from ortolan_exporters.heads.text_generation import TextGeneration
from ortolan_exporters.heads.token_classification import TokenClassification

_ALL: tuple[Head, ...] = (
    TextClassification(),
    TokenClassification(),
    QuestionAnswering(),
    TextGeneration(),
    Text2TextGeneration(),  # before fill-mask: transformers lists BART's class for both
    FillMask(),
    FeatureExtraction(),
    SentenceEmbedding(),
)

HEADS: dict[str, Head] = {head.task: head for head in _ALL}

ALIASES = {
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "sentence-similarity": "sentence-embedding",
    "summarization": "text2text-generation",
    "translation": "text2text-generation",
}


def head_named(task: str) -> Head:
    """Find the head for a task by the name transformers gives it.

    Raises:
        UnknownTaskError: No such task.
    """
    name = ALIASES.get(task, task)
    if name not in HEADS:
        raise UnknownTaskError(
            f"task {task!r} requested", "no such task", f"use one of {', '.join([*HEADS, *ALIASES])}"
        )
    return HEADS[name]
