"""sentence-embedding: a vector for a text, near those of texts that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ortolan.errors import ConfigError
from ortolan.forward import Row
from ortolan.postprocess.pooling import POOLINGS, unit_length
from ortolan.request import TextInput, parse_single_text
from ortolan.tasks.base import LENGTH_OPTIONS, ModelFacts, check_finite, one_input, true_or_false, whole_number
from ortolan.tokenize import Encoding, Truncation

AS_TRAINED = "sentence_embedding"
"""Output of a graph that pools, and perhaps normalizes, as the model was trained to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedOptions:
    """Options of a call.

    Attributes:
        pooling: A key of `POOLINGS`; None for the model's own.
        normalizes: Whether vectors are scaled to length 1; None for what the model does.
        truncate_dim: How many numbers of each vector are kept, from the first; None for all.
    """

    pooling: str | None = None
    normalizes: bool | None = None
    truncate_dim: int | None = None


class Embed:
    """Give a text a vector, float32 [D]."""

    name = "sentence-embedding"
    heads: tuple[str, ...] = ("sentence-embedding", "feature-extraction")
    option_names: tuple[str, ...] = ("pooling", "normalize", "truncate_dim", *LENGTH_OPTIONS)
    truncation: str | None = "longest_first"

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input; see `Task.arguments`."""
        return one_input(args, options)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: EmbedOptions | None = None
    ) -> EmbedOptions:
        """Check the options; see `Task.options`."""
        options = base or EmbedOptions()
        if values.get("pooling") is not None:
            pooling = values["pooling"]
            if not isinstance(pooling, str) or pooling not in POOLINGS:
                raise ConfigError("pooling requested", f"got {pooling!r}", f"use one of {', '.join(POOLINGS)}")
            options = replace(options, pooling=pooling)
        if values.get("normalize") is not None:
            options = replace(options, normalizes=true_or_false("normalize", values["normalize"]))
        if values.get("truncate_dim") is not None:
            options = replace(options, truncate_dim=whole_number("truncate_dim", values["truncate_dim"]))
        return options

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text; see `Task.parse`."""
        return parse_single_text(item, index, self.name)

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: EmbedOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text; see `Task.encode`."""
        return [[row] for row in facts.tokenizer.encode(payloads, limits, first_index=first)]

    def decode(self, payload: TextInput, rows: Sequence[Row], facts: ModelFacts, options: EmbedOptions) -> Any:
        """Pool, cut and normalize; see `Task.decode`."""
        outputs = rows[0].outputs
        pooling, normalizes = options.pooling, options.normalizes
        if pooling is None and AS_TRAINED not in outputs:
            pooling = facts.pooling.mode
            normalizes = facts.pooling.normalizes if normalizes is None else normalizes
        vector = outputs[AS_TRAINED] if pooling is None else POOLINGS[pooling](_hidden(outputs))
        vector = check_finite(vector, "an embedding")
        if options.truncate_dim is not None:
            if options.truncate_dim > len(vector):
                raise ConfigError(
                    f"truncate_dim={options.truncate_dim} requested",
                    f"vectors have {len(vector)} numbers",
                    "use that or less",
                )
            # a part of a vector of length 1 is shorter
            was_normal = pooling is None and abs(float(np.linalg.norm(vector)) - 1.0) < 1e-3
            vector = vector[: options.truncate_dim]
            normalizes = was_normal if normalizes is None else normalizes
        return unit_length(vector) if normalizes else vector.copy()

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """float32 [D] for a lone text, else [B, D]; see `Task.present`."""
        if single is not None:
            return results[0]
        return np.stack(results) if results else np.zeros((0, 0), np.float32)


def _hidden(outputs: Mapping[str, Any]) -> Any:
    for name in ("last_hidden_state", "token_embeddings"):
        if name in outputs:
            return outputs[name]
    raise ConfigError(
        "pooling requested", f"the graph answers with {', '.join(outputs)} alone", "leave it out: the graph pools"
    )
