"""text-ranking: which documents fit a query, by a cross-encoder that reads both together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ortolan.errors import ConfigError, InvalidInputError
from ortolan.forward import Row
from ortolan.request import TextInput, parse_text_input
from ortolan.tasks.base import (
    LENGTH_OPTIONS,
    ModelFacts,
    check_finite,
    encode_together,
    one_input,
    one_or_all,
    place,
    true_or_false,
    whole_number,
)
from ortolan.tasks.classify import ACTIVATIONS, activation
from ortolan.tokenize import Encoding, Truncation

MAX_DOCUMENTS = 10_000
"""Most documents of a query: each is a run of its own."""

_SAVED = {"Identity": "none", "Sigmoid": "sigmoid"}
"""Names of torch's activations to keys of `ACTIVATIONS`."""

_FORM = 'send {"query": "...", "documents": ["...", "..."]}'


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, and where.

    Attributes:
        text: The query.
        documents: Texts to be ranked, at least one.
    """

    text: str
    documents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOptions:
    """Options of a call.

    Attributes:
        activation: What makes scores of logits: a key of `ACTIVATIONS`.
        top_n: How many documents to return, best first; None for all.
        shows_documents: Whether the text of each is returned too.
    """

    activation: str
    top_n: int | None = None
    shows_documents: bool = False


class Rank:
    """Order documents by how well they answer a query."""

    name = "text-ranking"
    heads: tuple[str, ...] = ("text-classification",)
    option_names: tuple[str, ...] = ("top_n", "return_documents", "function_to_apply", *LENGTH_OPTIONS)
    truncation: str | None = "longest_first"

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input, or `query` and `documents`; see `Task.arguments`."""
        rest = dict(options)
        if not args and "query" in rest and "documents" in rest:
            return {"query": rest.pop("query"), "documents": rest.pop("documents")}, rest
        if len(args) == 2:
            return {"query": args[0], "documents": args[1]}, rest
        return one_input(args, rest)

    def options(self, values: Mapping[str, object], facts: ModelFacts, base: RankOptions | None = None) -> RankOptions:
        """Check the options, and that the model gives one score; see `Task.options`."""
        _check_one_label(facts)
        named = values.get("function_to_apply")
        if named is not None:
            chosen = activation(named)
        else:
            chosen = _default_activation(facts) if base is None else base.activation
        options = replace(base or RankOptions(activation=chosen), activation=chosen)
        if "top_n" in values:
            top_n = values["top_n"]
            options = replace(options, top_n=None if top_n is None else whole_number("top_n", top_n))
        if "return_documents" in values:
            shows = true_or_false("return_documents", values["return_documents"])
            options = replace(options, shows_documents=shows)
        return options

    def parse(self, item: object, index: int | None) -> Query:
        """Check one query with its documents; see `Task.parse`."""
        if isinstance(item, Query):
            item = {"query": item.text, "documents": item.documents}
        if not isinstance(item, Mapping) or set(item) != {"query", "documents"}:
            found = f"keys {sorted(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
            raise InvalidInputError("a ranking requested", f"got {found}", _FORM, index=index)
        documents = item["documents"]
        if isinstance(documents, str) or not isinstance(documents, Sequence) or not documents:
            raise InvalidInputError("a ranking requested", "documents is no list, or empty", _FORM, index=index)
        if len(documents) > MAX_DOCUMENTS:
            raise InvalidInputError(
                "a ranking requested",
                f"there are {len(documents):,} documents and at most {MAX_DOCUMENTS:,} are read",
                "choose some first, with embeddings",
                index=index,
            )
        texts = [parse_text_input({"text": item["query"], "text_pair": one}, index) for one in documents]
        if any(text.text_pair is None for text in texts):
            raise InvalidInputError("a ranking requested", "a document is None", _FORM, index=index)
        return Query(texts[0].text, tuple(str(text.text_pair) for text in texts))

    def encode(
        self,
        payloads: Sequence[Query],
        facts: ModelFacts,
        options: RankOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each document; see `Task.encode`."""
        groups = []
        for offset, query in enumerate(payloads):
            pairs = [TextInput(query.text, one) for one in query.documents]
            groups.append(encode_together(pairs, facts.tokenizer, limits, place(first, offset)))
        return groups

    def decode(self, payload: Query, rows: Sequence[Row], facts: ModelFacts, options: RankOptions) -> Any:
        """Order the documents; see `Task.decode`."""
        logits = check_finite(np.array([row.outputs["logits"][0] for row in rows], np.float32), "a ranking")
        scores = ACTIVATIONS[options.activation](logits)
        # by logits: far from zero many of them have the same sigmoid
        order = [int(i) for i in np.argsort(-logits, kind="stable")[: options.top_n]]
        return [
            {
                "index": i,
                "score": float(scores[i]),
                **({"text": payload.documents[i]} if options.shows_documents else {}),
            }
            for i in order
        ]

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """One ranking for a lone query, else a list; see `Task.present`."""
        return one_or_all(results, single)


def _check_one_label(facts: ModelFacts) -> None:
    if len(facts.labels) != 1:
        raise ConfigError(
            "text-ranking requested",
            f"the model has {len(facts.labels)} labels, and a cross-encoder has one",
            "use task 'text-classification', or another model",
        )


def _default_activation(facts: ModelFacts) -> str:
    """What the cross-encoder was saved with, else the sigmoid, by the rule of sentence-transformers."""
    saved = facts.config.get("sentence_transformers") or {}
    name = str(saved.get("activation_fn") or facts.config.get("sbert_ce_default_activation_function") or "Sigmoid")
    kind = name.rpartition(".")[2]
    if kind not in _SAVED:
        raise ConfigError(
            "text-ranking requested",
            f"the model was saved with the activation {name}, which is not known here",
            f"pass function_to_apply: one of {', '.join(ACTIVATIONS)}",
        )
    return _SAVED[kind]
