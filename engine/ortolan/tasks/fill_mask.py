"""fill-mask: the words that fit a gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ortolan.errors import ConfigError, InvalidInputError, warn_caller
from ortolan.forward import Row
from ortolan.postprocess.activations import FloatArray, softmax
from ortolan.request import TextInput, parse_text_input
from ortolan.tasks.base import (
    LENGTH_OPTIONS,
    ModelFacts,
    check_finite,
    lone_or_all,
    one_input,
    place,
    unfold,
    whole_number,
)
from ortolan.tokenize import Encoding, Tokenizer, Truncation

FEW = 30
"""So many tokens are found sooner one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillMaskOptions:
    """Options of a call.

    Attributes:
        mask_id: Id of the token that marks a gap.
        top_k: How many tokens to return for each gap, best first; no more than there are.
        target_ids: The tokens to choose from; None for all.
    """

    mask_id: int
    top_k: int = 5
    target_ids: tuple[int, ...] | None = None


class FillMask:
    """Rank the tokens that may stand where a text has a mask token."""

    name = "fill-mask"
    heads: tuple[str, ...] = ("fill-mask",)
    option_names: tuple[str, ...] = ("top_k", "targets", *LENGTH_OPTIONS)
    truncation: str | None = None

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input; `tokenizer_kwargs` may hold `truncation` and `max_length`. See `Task.arguments`."""
        inputs, rest = one_input(args, options)
        return inputs, unfold("tokenizer_kwargs", rest)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: FillMaskOptions | None = None
    ) -> FillMaskOptions:
        """Check `top_k` and `targets`; see `Task.options`.

        Raises:
            ConfigError: A value that is not allowed, or no token for the mask or for any target.
            InvalidInputError: A target of white space, or not encodable as UTF-8.
        """
        options = base or FillMaskOptions(mask_id=_mask_id(facts.tokenizer))
        if values.get("top_k") is not None:
            options = replace(options, top_k=whole_number("top_k", values["top_k"]))
        if values.get("targets") is not None:
            options = replace(options, target_ids=_target_ids(values["targets"], facts.tokenizer))
        return options

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text; see `Task.parse`."""
        return parse_text_input(item, index)

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: FillMaskOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text, which must have a gap; see `Task.encode`.

        Raises:
            InvalidInputError: A text without mask token, or with none in what is read of it.
        """
        rows = facts.tokenizer.encode(payloads, limits, first_index=first)
        for offset, row in enumerate(rows):
            if options.mask_id not in row.ids:
                mask = facts.tokenizer.special_token("mask")
                raise InvalidInputError(
                    "a word for a gap requested",
                    f"there is no {mask} in the text, or in the beginning that is read",
                    f"write {mask} where the word is missing",
                    index=place(first, offset),
                )
        return [[row] for row in rows]

    def decode(self, payload: TextInput, rows: Sequence[Row], facts: ModelFacts, options: FillMaskOptions) -> Any:
        """Rank the tokens for each gap; see `Task.decode`."""
        [row] = rows
        ids = row.encoding.ids
        gaps = [gap for gap, token in enumerate(ids) if token == options.mask_id]
        probs = softmax(check_finite(row.outputs["logits"][gaps], "words for a gap"))
        found = [_fillings(ids, gap, one, facts.tokenizer, options) for gap, one in zip(gaps, probs, strict=True)]
        return found[0] if len(gaps) == 1 else found

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """Nest as transformers does: a list of one text comes back as if it were that text."""
        return lone_or_all(results, single)


def _fillings(
    ids: Sequence[int], gap: int, probs: FloatArray, tokenizer: Tokenizer, options: FillMaskOptions
) -> list[dict[str, Any]]:
    """Name the best tokens for one gap, and the text with each of them in its place."""
    targets = options.target_ids
    best = (
        _largest(probs, options.top_k)
        if targets is None
        else [targets[best] for best in _largest(probs[list(targets)], options.top_k)]
    )
    padding = tokenizer.special_id("pad")
    # with several gaps the others stay visible, and the other special tokens with them
    is_only = ids.count(options.mask_id) == 1
    texts = [[one for one in (*ids[:gap], token, *ids[gap + 1 :]) if one != padding] for token in best]
    return [
        {
            "score": float(probs[token]),
            "token": token,
            "token_str": tokenizer.decode([token]),
            "sequence": tokenizer.decode(text, skip_special_tokens=is_only),
        }
        for token, text in zip(best, texts, strict=True)
    ]


def _largest(scores: FloatArray, count: int) -> list[int]:
    """Places of the largest scores, largest first; of equal ones the first."""
    if count <= FEW:  # sorting a vocabulary of 30,000 takes longer than a short text takes to run
        left, found = scores.copy(), []
        for _ in range(min(count, len(scores))):
            found.append(int(left.argmax()))
            left[found[-1]] = -np.inf
        return found
    return [int(best) for best in np.argsort(-scores, kind="stable")[:count]]


def _mask_id(tokenizer: Tokenizer) -> int:
    found = tokenizer.special_id("mask")
    if found is None:
        raise ConfigError("fill-mask requested", "the tokenizer has no mask token", "use a model that has one")
    return found


def _target_ids(targets: object, tokenizer: Tokenizer) -> tuple[int, ...]:
    words = [targets] if isinstance(targets, str) else targets
    if not isinstance(words, Sequence) or not words or not all(isinstance(word, str) and word for word in words):
        raise ConfigError("targets requested", f"got {targets!r}", "pass a word, or a list of words")
    found = []
    for word in [parse_text_input(word).text for word in words]:
        token = tokenizer.token_id(word)
        if token is None:
            token = tokenizer.first_id(word)
            if token is None:
                warn_caller(f"target {word!r} has no token, and is left out")
                continue
            warn_caller(f"target {word!r} is no token; {tokenizer.token(token)!r} stands for it")
        found.append(token)
    if not found:
        raise ConfigError("targets requested", f"none of {list(words)} has a token", "pass other words")
    return tuple(sorted(set(found)))
