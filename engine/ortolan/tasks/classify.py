"""text-classification, also called sentiment-analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ortolan.errors import ConfigError
from ortolan.forward import Row
from ortolan.postprocess.activations import FloatArray, sigmoid, softmax
from ortolan.postprocess.labels import LabelScore, top_labels
from ortolan.request import TextInput, parse_text_input
from ortolan.tasks.base import LENGTH_OPTIONS, ModelFacts, check_finite, one_input, whole_number
from ortolan.tokenize import Encoding, Truncation

ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyOptions:
    """Options of a call.

    Attributes:
        activation: What makes scores of logits: a key of `ACTIVATIONS`.
        top_k: How many labels to return, best first; None for all.
        is_nested: Whether each text gets a list of labels, or just its best one. True once `top_k` was passed.
    """

    activation: str
    top_k: int | None = 1
    is_nested: bool = False


class Classify:
    """Give a text, or a pair of texts, the label that fits it best."""

    name = "text-classification"
    heads: tuple[str, ...] = ("text-classification",)
    option_names: tuple[str, ...] = ("top_k", "function_to_apply", *LENGTH_OPTIONS)
    truncation: str | None = None

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input; see `Task.arguments`."""
        return one_input(args, options)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: ClassifyOptions | None = None
    ) -> ClassifyOptions:
        """Check `top_k` and `function_to_apply`; see `Task.options`."""
        options = base or ClassifyOptions(activation=default_activation(facts.config))
        if "top_k" in values:
            top_k = values["top_k"]
            options = replace(options, top_k=None if top_k is None else whole_number("top_k", top_k), is_nested=True)
        if values.get("function_to_apply") is not None:  # transformers takes None for "not passed" too
            options = replace(options, activation=activation(values["function_to_apply"]))
        return options

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text or pair; see `Task.parse`."""
        return parse_text_input(item, index)

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: ClassifyOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text; see `Task.encode`."""
        return [[row] for row in facts.tokenizer.encode(payloads, limits, first_index=first)]

    def decode(self, payload: TextInput, rows: Sequence[Row], facts: ModelFacts, options: ClassifyOptions) -> Any:
        """Score the labels; see `Task.decode`."""
        scores = ACTIVATIONS[options.activation](check_finite(rows[0].outputs["logits"], "class scores"))
        found: list[LabelScore] = top_labels(scores, facts.labels, options.top_k)
        return found if options.is_nested else found[0]

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """Nest as transformers does: a lone string comes back in a list, unless this call passed `top_k`."""
        if single is None:
            return results
        return [results[0]] if isinstance(single, str) and "top_k" not in called_with else results[0]


def default_activation(config: Mapping[str, Any]) -> str:
    """Choose the activation that fits how a model was trained, by the rule of transformers' pipeline."""
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    num_labels = len(config.get("id2label") or {0: "", 1: ""})
    if problem == "multi_label_classification" or num_labels == 1:
        return "sigmoid"
    return "softmax"


def activation(value: object) -> str:
    """Check the name of an activation.

    Raises:
        ConfigError: There is none of that name.
    """
    name = value.lower() if isinstance(value, str) else ""
    if name not in ACTIVATIONS:
        raise ConfigError("function_to_apply requested", f"got {value!r}", f"use one of {', '.join(ACTIVATIONS)}")
    return name
