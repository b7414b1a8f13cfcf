"""text-classification, also called sentiment-analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ortolan.errors import ConfigError, NonFiniteError
from ortolan.model import ModelOutput
from ortolan.postprocess.activations import FloatArray, sigmoid, softmax
from ortolan.postprocess.labels import LabelScore, top_labels
from ortolan.request import TextInput, parse_text_input

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

    def options(
        self, values: Mapping[str, object], config: Mapping[str, Any], base: ClassifyOptions | None = None
    ) -> ClassifyOptions:
        """Check `top_k` and `function_to_apply`; see `Task.options`."""
        options = base or ClassifyOptions(activation=default_activation(config))
        for name, value in values.items():
            if name == "top_k":
                if isinstance(value, bool) or not (value is None or (isinstance(value, int) and value > 0)):
                    raise ConfigError(
                        "top_k requested", f"got {value!r}", "use a whole number from 1 on, or None for all"
                    )
                options = replace(options, top_k=value, is_nested=True)
            elif name == "function_to_apply":
                if value is not None:  # transformers takes None for "not passed" too
                    options = replace(options, activation=_activation(value))
            else:
                raise ConfigError(
                    f"option {name!r} requested",
                    f"{self.name} has no such option",
                    "it has top_k, function_to_apply, truncation, max_length, batch_size, strict_batching",
                )
        return options

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text or pair; see `Task.parse`."""
        return parse_text_input(item, index)

    def decode(self, outputs: ModelOutput, labels: Mapping[int, str], options: ClassifyOptions) -> list[Any]:
        """Score the labels of each row; see `Task.decode`."""
        logits = outputs["logits"]
        if not np.isfinite(logits).all():
            raise NonFiniteError(
                "class scores requested", "the graph answered NaN or infinity", "run 'ortolan verify' on the artifact"
            )
        scores = ACTIVATIONS[options.activation](logits)
        rows: list[list[LabelScore]] = [top_labels(row, labels, options.top_k) for row in scores]
        return list(rows) if options.is_nested else [row[0] for row in rows]

    def present(
        self, results: list[Any], single: object | None, options: ClassifyOptions, called_with: Mapping[str, object]
    ) -> Any:
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


def _activation(value: object) -> str:
    name = value.lower() if isinstance(value, str) else ""
    if name not in ACTIVATIONS:
        raise ConfigError("function_to_apply requested", f"got {value!r}", f"use one of {', '.join(ACTIVATIONS)}")
    return name
