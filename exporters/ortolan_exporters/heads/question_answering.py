"""Where in a context the answer to a question stands."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ortolan.postprocess.activations import FloatArray
from ortolan.request import TextInput
from ortolan.session.base import Array
from ortolan_exporters.data import invalid_line, lines
from ortolan_exporters.heads.base import IMPOSSIBLE, Axes, Examples, Head
from ortolan_exporters.tokens import encode_question

MAX_ANSWER_TOKENS = 30


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is right, and what is needed to read an answer off two rows of logits.

    Attributes:
        texts: Every wording that is right.
        context: Where answers stand.
        spans: For each token its place in the context, in characters; None for tokens outside.
    """

    texts: list[str]
    context: str
    spans: list[tuple[int, int] | None]


class QuestionAnswering(Head):
    """`start_logits` and `end_logits`, float32 [B, S] each."""

    task = "question-answering"
    classes = "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES"
    outputs: ClassVar[Mapping[str, Axes]] = {"start_logits": ("batch", "sequence"), "end_logits": ("batch", "sequence")}
    metric = "F1 of words"

    def texts(self) -> list[TextInput] | None:
        """Questions with a context; see `Head.texts`."""
        text = files("ortolan_exporters").joinpath("builtin_questions.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines()]
        return [TextInput(row["question"], row["context"]) for row in rows]

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """Two decisions a text: where the answer starts, and where it ends; see `Head.decisions`."""
        both = np.stack([outputs["start_logits"], outputs["end_logits"]], axis=1).astype(np.float32)
        real = feed["attention_mask"].astype(bool)
        return list(np.where(real[:, None, :], both, np.float32(IMPOSSIBLE)))

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read `{"question", "context", "answers": [...]}` lines; see `Head.read`."""
        encodings, answers = [], []
        for number, document in lines(path):
            question, context, texts = (document.get(key) for key in ("question", "context", "answers"))
            texts = texts["text"] if isinstance(texts, dict) and "text" in texts else texts  # as SQuAD has it
            is_right = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
            if not isinstance(question, str) or not isinstance(context, str) or not is_right:
                raise invalid_line(
                    path,
                    number,
                    "it has no question, context and answers",
                    '{"question": ..., "context": ..., "answers": [...]}',
                )
            try:
                encoding, spans = encode_question(tokenizer, question, context, max_length)
            except Exception as error:  # tokenizers raises plain Exception
                raise invalid_line(path, number, "its question leaves no room for the context") from error
            encodings.append(encoding)
            answers.append(_Answer(list(texts or ()), context, spans))
        return Examples(encodings, answers)

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Mean F1 of the words of the best span, as SQuAD counts it but for articles; see `Head.score`."""
        found = [_f1(_best_span(row, one), one.texts) for row, one in zip(decisions, answers, strict=True)]
        return float(np.mean(found))


def _best_span(row: FloatArray, answer: _Answer) -> str:
    inside = np.array([span is not None for span in answer.spans])
    start, end = (np.where(inside, logits[: len(inside)], IMPOSSIBLE) for logits in row)
    scores = np.triu(start[:, None] + end[None, :])
    possible = np.triu(np.ones_like(scores)) - np.triu(np.ones_like(scores), MAX_ANSWER_TOKENS)
    first, last = np.unravel_index(np.where(possible > 0, scores, -np.inf).argmax(), scores.shape)
    begins, ends = answer.spans[int(first)], answer.spans[int(last)]
    return "" if begins is None or ends is None else answer.context[begins[0] : ends[1]]


def _f1(found: str, texts: Sequence[str]) -> float:
    words = Counter(found.lower().split())
    best = 0.0
    for text in texts:
        right = Counter(text.lower().split())
        shared = (words & right).total() if hasattr(words, "total") else sum((words & right).values())
        best = max(best, 2 * shared / max(1, sum(words.values()) + sum(right.values())))
    return best
