"""token-classification, also called ner: what the words of a text are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError
from ortolan.forward import Row
from ortolan.postprocess.activations import softmax
from ortolan.postprocess.entities import STRATEGIES, TokenScores, entities, without_overlaps
from ortolan.request import TextInput, parse_single_text, parse_text_input
from ortolan.tasks.base import (
    LENGTH_OPTIONS,
    ModelFacts,
    check_finite,
    one_input,
    one_or_all,
    place,
    true_or_false,
    whole_number,
)
from ortolan.tokenize import Encoding, Truncation


@dataclass(frozen=True, slots=True)
class Words:
    """A text that was cut into words beforehand."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TagOptions:
    """Options of a call.

    Attributes:
        strategy: Of `STRATEGIES`: what makes entities of tokens.
        ignored: Labels, or groups, that are left out.
        stride: Tokens that two windows of a long text share; None to read no more than one window.
        has_words: Whether inputs are lists of words.
        delimiter: What stands between the words of a list, in the text that offsets index.
    """

    strategy: str = "none"
    ignored: frozenset[str] = frozenset({"O"})
    stride: int | None = None
    has_words: bool = False
    delimiter: str = " "


class Tag:
    """Label the tokens, words or entities of a text."""

    name = "token-classification"
    heads: tuple[str, ...] = ("token-classification",)
    option_names: tuple[str, ...] = (
        "aggregation_strategy",
        "ignore_labels",
        "stride",
        "is_split_into_words",
        "delimiter",
        *LENGTH_OPTIONS,
    )
    truncation: str | None = "longest_first"

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input; with `is_split_into_words` a list of words is one. See `Task.arguments`."""
        inputs, rest = one_input(args, options)
        if rest.get("is_split_into_words") is not True:
            return inputs, rest
        if isinstance(inputs, Iterator):
            return map(_words, inputs), rest
        # transformers answers one list of words as if it were a list of such lists
        is_many = isinstance(inputs, (list, tuple)) and not all(isinstance(item, str) for item in inputs)
        return [_words(item, index) for index, item in enumerate(inputs if is_many else [inputs])], rest

    def options(self, values: Mapping[str, object], facts: ModelFacts, base: TagOptions | None = None) -> TagOptions:
        """Check the options; see `Task.options`."""
        options = base or TagOptions()
        if values.get("aggregation_strategy") is not None:
            options = replace(options, strategy=_strategy(values["aggregation_strategy"]))
        if values.get("ignore_labels") is not None:
            options = replace(options, ignored=_ignored(values["ignore_labels"]))
        if values.get("stride") is not None:
            options = replace(options, stride=whole_number("stride", values["stride"], 0))
        if "is_split_into_words" in values:
            has_words = true_or_false("is_split_into_words", values["is_split_into_words"])
            options = replace(options, has_words=has_words)
        if values.get("delimiter") is not None:
            options = replace(options, delimiter=str(values["delimiter"]))
        if options.stride is not None and options.strategy == "none":
            raise ConfigError(
                f"stride={options.stride} requested",
                "aggregation_strategy is 'none', which does not say what to do where windows overlap",
                "use another one, such as 'simple'",
            )
        if options.stride is not None and options.has_words:
            raise ConfigError(
                f"stride={options.stride} with is_split_into_words=True requested",
                "words are read in one window",
                "leave one of them out",
            )
        return options

    def parse(self, item: object, index: int | None) -> TextInput | Words:
        """Check one text, or one list of words; see `Task.parse`."""
        if isinstance(item, Words):
            for part in (*item.words, " ".join(item.words)):  # all together they are not too long either
                parse_text_input(part, index)
            return item
        return parse_single_text(item, index, self.name)

    def encode(
        self,
        payloads: Sequence[TextInput | Words],
        facts: ModelFacts,
        options: TagOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text, or one for each window of it; see `Task.encode`."""
        texts = [payload for payload in payloads if isinstance(payload, TextInput)]
        if options.stride is None and len(texts) == len(payloads):
            return [[row] for row in facts.tokenizer.encode(texts, limits, first_index=first)]
        groups = []
        for offset, payload in enumerate(payloads):
            index = place(first, offset)
            if isinstance(payload, Words):
                groups.append([facts.tokenizer.encode_words(payload.words, limits, index=index)])
            else:
                window = Truncation(limits.max_length, "only_first")
                groups.append(facts.tokenizer.encode_windows(payload, window, options.stride or 0, index=index))
        return groups

    def decode(self, payload: TextInput | Words, rows: Sequence[Row], facts: ModelFacts, options: TagOptions) -> Any:
        """Label tokens, and make entities of them; see `Task.decode`."""
        found = []
        for row in rows:
            tokens = _tokens(payload, row, facts, options)
            named = entities(tokens, options.strategy, facts.labels, facts.tokenizer.join)
            found += [
                one
                for one in named
                if one.get("entity") not in options.ignored and one.get("entity_group") not in options.ignored
            ]
        return without_overlaps(found) if len(rows) > 1 else found

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """One list for a lone text, else a list of them; see `Task.present`."""
        return one_or_all(results, single)


def _tokens(payload: TextInput | Words, row: Row, facts: ModelFacts, options: TagOptions) -> Iterator[TokenScores]:
    tokenizer, encoding = facts.tokenizer, row.encoding
    scores = softmax(check_finite(row.outputs["logits"], "labels of tokens"))
    text = payload.text if isinstance(payload, TextInput) else options.delimiter.join(payload.words)
    begins = _word_starts(payload, options)
    unknown = tokenizer.special_id("unk")
    for index, (token, is_special, word, (start, end)) in enumerate(
        zip(encoding.ids, encoding.is_special, encoding.words, encoding.offsets, strict=True)
    ):
        if is_special:
            continue
        if begins and word is not None:
            start, end = start + begins[word], end + begins[word]
        piece = tokenizer.token(token)
        if token == unknown:
            piece, is_subword = text[start:end], False
        elif tokenizer.marks_subwords:
            is_subword = len(piece) != end - start
        else:  # by the rule of transformers: what no space divides is one word
            is_subword = start > 0 and " " not in text[start - 1 : start + 1]
        yield TokenScores(piece, scores[index], start, end, index, is_subword)


def _word_starts(payload: TextInput | Words, options: TagOptions) -> list[int]:
    """First character of each word in the text that they make."""
    if isinstance(payload, TextInput):
        return []
    return [0, *accumulate(len(word) + len(options.delimiter) for word in payload.words)]


def _words(item: Any, index: int | None = None) -> Words:
    if not isinstance(item, (list, tuple)) or not item or not all(isinstance(word, str) for word in item):
        raise InvalidInputError(
            "words of a text requested", f"got {item!r:.80}", 'send ["Ada", "left", "."]', index=index
        )
    return Words(tuple(item))


def _strategy(value: object) -> str:
    # transformers' enum is accepted by its value, without importing it
    name = str(getattr(value, "value", value)).lower()
    if name not in STRATEGIES:
        raise ConfigError("aggregation_strategy requested", f"got {value!r}", f"use one of {', '.join(STRATEGIES)}")
    return name


def _ignored(value: object) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise ConfigError("ignore_labels requested", f"got {value!r}", 'pass a list of labels, such as ["O"]')
    return frozenset(value)
