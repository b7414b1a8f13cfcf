"""question-answering: the span of a context that answers a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ortolan.errors import ConfigError, InvalidInputError
from ortolan.forward import Row
from ortolan.postprocess.spans import best_spans
from ortolan.request import TextInput, parse_text_input
from ortolan.tasks.base import ModelFacts, check_finite, lone_or_all, one_input, place, true_or_false, whole_number
from ortolan.tokenize import Encoding, Truncation

_FORM = 'send {"question": "...", "context": "..."}'


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the text that is to answer it."""

    question: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """Options of a call, named as in transformers.

    Attributes:
        top_k: Most answers.
        doc_stride: Tokens that two windows of a long context share; by default 128, or half of a window.
        max_answer_len: Most tokens of an answer.
        max_seq_len: Tokens of a window, question included; by default 384, or what the model reads.
        max_question_len: Kept for callers of transformers, which does not heed it with fast tokenizers either.
        handles_impossible: Whether "" is among the answers, where the context may not have one.
        aligns_to_words: Whether an answer begins and ends where words do.
    """

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handles_impossible: bool = False
    aligns_to_words: bool = True


class Answer:
    """Find the answer to a question in a context."""

    name = "question-answering"
    heads: tuple[str, ...] = ("question-answering",)
    option_names: tuple[str, ...] = (
        "top_k",
        "doc_stride",
        "max_answer_len",
        "max_seq_len",
        "max_question_len",
        "handle_impossible_answer",
        "align_to_words",
    )
    truncation: str | None = None

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input, or `question` and `context`, each a text or a list; see `Task.arguments`."""
        rest = dict(options)
        if len(args) == 2:
            rest["question"], rest["context"] = args
        elif args or "inputs" in rest:
            return one_input(args, rest)
        if "question" not in rest or "context" not in rest:
            raise InvalidInputError("an answer requested", f"got {sorted(rest)}", "pass question= and context=")
        return _paired(rest.pop("question"), rest.pop("context")), rest

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: AnswerOptions | None = None
    ) -> AnswerOptions:
        """Check the options; see `Task.options`."""
        options = base or AnswerOptions()
        given = {name: value for name, value in values.items() if value is not None}
        counts: dict[str, Any] = {
            name: whole_number(name, given[name])
            for name in ("top_k", "max_answer_len", "max_question_len", "max_seq_len")
            if name in given
        }
        options = replace(options, **counts)
        if "doc_stride" in given:
            options = replace(options, doc_stride=whole_number("doc_stride", given["doc_stride"], 0))
        if "handle_impossible_answer" in given:
            handles = true_or_false("handle_impossible_answer", given["handle_impossible_answer"])
            options = replace(options, handles_impossible=handles)
        if "align_to_words" in given:
            options = replace(options, aligns_to_words=true_or_false("align_to_words", given["align_to_words"]))
        longest = facts.tokenizer.max_length
        if options.max_seq_len is not None and options.max_seq_len > longest:
            raise ConfigError(
                f"max_seq_len={options.max_seq_len} requested", f"the model reads {longest} tokens", "use that or less"
            )
        if options.doc_stride is not None and options.doc_stride > _window(options, facts):
            raise ConfigError(f"doc_stride={options.doc_stride} requested", "windows are shorter than that", "use less")
        return options

    def parse(self, item: object, index: int | None) -> Question:
        """Check one question with its context; see `Task.parse`."""
        if isinstance(item, Question):
            item = {"question": item.question, "context": item.context}
        if not isinstance(item, Mapping) or set(item) != {"question", "context"}:
            found = f"keys {sorted(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
            raise InvalidInputError("an answer requested", f"got {found}", _FORM, index=index)
        if item["context"] is None:
            raise InvalidInputError("an answer requested", "the context is None", _FORM, index=index)
        checked = parse_text_input({"text": item["question"], "text_pair": item["context"]}, index)
        return Question(checked.text, str(checked.text_pair))

    def encode(
        self,
        payloads: Sequence[Question],
        facts: ModelFacts,
        options: AnswerOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """A row for each window of a context; see `Task.encode`."""
        window = _window(options, facts)
        stride = min(window // 2, 128) if options.doc_stride is None else options.doc_stride
        is_first = _question_first(facts)
        splits = Truncation(window, "only_second" if is_first else "only_first")
        return [
            facts.tokenizer.encode_windows(
                TextInput(one.question, one.context) if is_first else TextInput(one.context, one.question),
                splits,
                stride,
                index=place(first, offset),
            )
            for offset, one in enumerate(payloads)
        ]

    def decode(self, payload: Question, rows: Sequence[Row], facts: ModelFacts, options: AnswerOptions) -> Any:
        """Find the best spans of all windows; see `Task.decode`."""
        found: list[dict[str, Any]] = []
        no_answer = 1.0
        side = 1 if _question_first(facts) else 0
        cls_id = facts.tokenizer.special_id("cls")
        for row in rows:
            encoding = row.encoding
            may_answer = np.array([text == side for text in encoding.texts])
            if cls_id is not None:
                may_answer |= np.array(encoding.ids) == cls_id
            spans, impossible = best_spans(
                check_finite(row.outputs["start_logits"], "an answer"),
                check_finite(row.outputs["end_logits"], "an answer"),
                may_answer,
                # several spans may be within the same words
                top_k=2 * options.top_k + 10 if options.aligns_to_words else options.top_k,
                max_length=options.max_answer_len,
            )
            no_answer = min(no_answer, impossible)
            for span in spans:
                start, end = encoding.characters(span.start, span.end, side if options.aligns_to_words else None)
                _add(found, payload.context[start:end], span.score, start, end)
        if options.handles_impossible:
            found.append({"score": no_answer, "start": 0, "end": 0, "answer": ""})
        best = sorted(found, key=lambda one: -float(one["score"]))[: options.top_k]
        return best[0] if len(best) == 1 else best

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """Nest as transformers does: a list of one question comes back as if it were that question."""
        return lone_or_all(results, single)


def _window(options: AnswerOptions, facts: ModelFacts) -> int:
    return options.max_seq_len or min(384, facts.tokenizer.max_length)


def _question_first(facts: ModelFacts) -> bool:
    """Whether the question is the first text: models that are padded on the left were trained the other way round."""
    return facts.tokenizer.padding_side == "right"


def _add(found: list[dict[str, Any]], text: str, score: float, start: int, end: int) -> None:
    """Add an answer, or its score to one with the same text: windows overlap, and words have several tokens."""
    for one in found:
        if str(one["answer"]).lower() == text.lower():
            one["score"] += score
            return
    found.append({"score": score, "start": start, "end": end, "answer": text})


def _paired(question: Any, context: Any) -> Any:
    if isinstance(question, str) or not isinstance(question, Sequence):
        return {"question": question, "context": context}
    contexts = [context] * len(question) if isinstance(context, str) else context
    if not isinstance(contexts, Sequence) or len(contexts) != len(question):
        raise InvalidInputError(
            "answers requested", f"there are {len(question)} questions and not as many contexts", "pair them up"
        )
    return [{"question": one, "context": text} for one, text in zip(question, contexts, strict=True)]
