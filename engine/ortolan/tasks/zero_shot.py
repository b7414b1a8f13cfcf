"""zero-shot-classification: labels that nobody trained for, asked as hypotheses of an entailment model."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ortolan.errors import ConfigError, warn_caller
from ortolan.forward import Row
from ortolan.postprocess.activations import softmax
from ortolan.request import TextInput, parse_single_text, parse_text_input
from ortolan.tasks.base import (
    LENGTH_OPTIONS,
    ModelFacts,
    check_finite,
    encode_together,
    one_input,
    one_or_all,
    place,
    true_or_false,
)
from ortolan.tokenize import Encoding, Truncation

MAX_LABELS = 1000
"""Most candidate labels of a call: each is a run of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotOptions:
    """Options of a call.

    Attributes:
        entailment: Place of the logit that says that the hypothesis follows; -1 for the last one.
        candidate_labels: What to choose from.
        hypothesis_template: A sentence with `{}` where the label goes.
        is_multi_label: Whether each label is judged by itself; else their scores sum to 1.
    """

    entailment: int
    candidate_labels: tuple[str, ...] = ()
    hypothesis_template: str = "This example is {}."
    is_multi_label: bool = False


class ZeroShotClassify:
    """Say how well each of some labels fits a text, with a model trained on natural language inference.

    Source:
        Yin, Hay and Roth (2019), arXiv:1909.00161.
    """

    name = "zero-shot-classification"
    heads: tuple[str, ...] = ("text-classification",)
    option_names: tuple[str, ...] = ("candidate_labels", "hypothesis_template", "multi_label", *LENGTH_OPTIONS)
    truncation: str | None = "only_first"

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input, or `sequences`, and perhaps labels after it; see `Task.arguments`."""
        rest = dict(options)
        if "sequences" in rest:
            rest["inputs"] = rest.pop("sequences")
        if len(args) == (1 if "inputs" in rest else 2) and "candidate_labels" not in rest:
            *args, rest["candidate_labels"] = args
        return one_input(args, rest)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: ZeroShotOptions | None = None
    ) -> ZeroShotOptions:
        """Check the labels and how they are asked; see `Task.options`."""
        options = base or ZeroShotOptions(entailment=_entailment(facts.labels))
        if "candidate_labels" in values:
            options = replace(options, candidate_labels=_labels(values["candidate_labels"]))
        if "hypothesis_template" in values:
            options = replace(options, hypothesis_template=_template(values["hypothesis_template"]))
        if "multi_label" in values:
            options = replace(options, is_multi_label=true_or_false("multi_label", values["multi_label"]))
        return options

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text; see `Task.parse`."""
        return parse_single_text(item, index, self.name)

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: ZeroShotOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text and label; see `Task.encode`.

        Raises:
            ConfigError: No labels were passed.
            InvalidInputError: A label is not encodable as UTF-8.
            InputTooLongError: A label has too many characters, or too many tokens beside the text.
        """
        if not options.candidate_labels:
            raise ConfigError("candidate_labels requested", "got none", "pass a list of labels to choose from")
        asked = [options.hypothesis_template.format(label) for label in options.candidate_labels]
        hypotheses = [parse_text_input(hypothesis).text for hypothesis in asked]
        groups = []
        for offset, payload in enumerate(payloads):
            pairs = [TextInput(payload.text, hypothesis) for hypothesis in hypotheses]
            groups.append(encode_together(pairs, facts.tokenizer, limits, place(first, offset)))
        return groups

    def decode(self, payload: TextInput, rows: Sequence[Row], facts: ModelFacts, options: ZeroShotOptions) -> Any:
        """Rank the labels; see `Task.decode`."""
        logits = check_finite(np.stack([row.outputs["logits"] for row in rows]), "scores of labels")
        if options.is_multi_label or len(rows) == 1:
            contradiction = -1 if options.entailment == 0 else 0
            scores = softmax(logits[:, [contradiction, options.entailment]])[:, 1]
        else:
            scores = softmax(logits[:, options.entailment])
        # of equal scores the last label comes first, as in transformers
        order = np.argsort(scores, kind="stable")[::-1]
        return {
            "sequence": payload.text,
            "labels": [options.candidate_labels[i] for i in order],
            "scores": [float(scores[i]) for i in order],
        }

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """One result for a lone text, else a list; see `Task.present`."""
        return one_or_all(results, single)


def _entailment(labels: Mapping[int, str]) -> int:
    for number, label in labels.items():
        if label.lower().startswith("entail"):
            return number
    warn_caller(
        f"none of the labels {list(labels.values())[:5]} begins with 'entail': the last one is taken for it, and "
        "answers mean little unless the model was trained on natural language inference"
    )
    return -1


def _labels(value: object) -> tuple[str, ...]:
    labels = [label.strip() for label in value.split(",")] if isinstance(value, str) else value
    if not isinstance(labels, Sequence) or not all(isinstance(label, str) for label in labels):
        raise ConfigError("candidate_labels requested", f"got {value!r}", "pass a list of texts, or texts with commas")
    found = tuple(label for label in labels if label.strip())
    if not found or (len(found) < len(labels) and not isinstance(value, str)) or len(found) > MAX_LABELS:
        what = f"{len(labels)}, of which {len(labels) - len(found)} are empty"
        raise ConfigError("candidate_labels requested", f"got {what}", f"pass 1 to {MAX_LABELS} labels")
    return found


def _template(value: object) -> str:
    """Check a template. Format specifications are not allowed: one that asks for a billion spaces would get them."""
    wanted = 'write one {} where the label goes, as in "This text is about {}."'
    try:
        fields = [
            (name, spec, conversion)
            for _, name, spec, conversion in string.Formatter().parse(value if isinstance(value, str) else "")
            if name is not None
        ]
    except ValueError as error:
        raise ConfigError("hypothesis_template requested", f"got {value!r} ({error})", wanted) from error
    if (
        not isinstance(value, str)
        or not fields
        or any(field not in (("", "", None), ("0", "", None)) for field in fields)
    ):
        raise ConfigError("hypothesis_template requested", f"got {value!r}", wanted)
    if [name for name, _, _ in fields].count("") > 1 or len({name for name, _, _ in fields}) > 1:
        raise ConfigError("hypothesis_template requested", f"got {value!r}", wanted)
    return value
