"""feature-extraction: the hidden states of a text, a vector for each token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ortolan.errors import ConfigError
from ortolan.forward import Row
from ortolan.request import TextInput, parse_text_input
from ortolan.tasks.base import LENGTH_OPTIONS, ModelFacts, check_finite, one_input, one_or_all, unfold
from ortolan.tensors import TENSORS, as_tensor
from ortolan.tokenize import Encoding, Truncation


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureOptions:
    """Options of a call.

    Attributes:
        tensors: "np" or "pt" for arrays, None for nested lists.
    """

    tensors: str | None = None


class Features:
    """Give the last hidden state of a text, special tokens included: [1, S, H]."""

    name = "feature-extraction"
    heads: tuple[str, ...] = ("feature-extraction", "sentence-embedding")
    option_names: tuple[str, ...] = ("return_tensors", *LENGTH_OPTIONS)
    truncation: str | None = None

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input; `tokenize_kwargs` may hold `truncation` and `max_length`. See `Task.arguments`."""
        inputs, rest = one_input(args, options)
        return inputs, unfold("tokenize_kwargs", rest)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: FeatureOptions | None = None
    ) -> FeatureOptions:
        """Check `return_tensors`: True or "np" for arrays, "pt" for tensors of torch. See `Task.options`."""
        options = base or FeatureOptions()
        if "return_tensors" in values:
            value = values["return_tensors"]
            tensors = "np" if value is True else None if value is False else value
            if tensors is not None and (not isinstance(tensors, str) or tensors not in TENSORS):
                raise ConfigError(
                    "return_tensors requested", f"got {value!r}", f"use True, False or one of {', '.join(TENSORS)}"
                )
            options = replace(options, tensors=tensors)
        return options

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text or pair; see `Task.parse`."""
        return parse_text_input(item, index)

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: FeatureOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text; see `Task.encode`."""
        return [[row] for row in facts.tokenizer.encode(payloads, limits, first_index=first)]

    def decode(self, payload: TextInput, rows: Sequence[Row], facts: ModelFacts, options: FeatureOptions) -> Any:
        """Show the hidden states; see `Task.decode`."""
        hidden = check_finite(rows[0].outputs["last_hidden_state"], "features")[None]
        # a copy: a view would keep the whole batch in memory
        return hidden.tolist() if options.tensors is None else as_tensor(hidden.copy(), options.tensors)

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """One array for a lone text, else a list; see `Task.present`."""
        return one_or_all(results, single)
