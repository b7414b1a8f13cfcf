"""What the exporter must know of a head: its outputs, and how two sets of answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ortolan.postprocess.activations import FloatArray
from ortolan.request import TextInput
from ortolan.session.base import Array
from ortolan.tokenize import Encoding

Axes = tuple[str, ...]
"""Names of the axes of an output: those of `FREE_AXES` vary, the others have the length that torch gives them."""

IMPOSSIBLE = -1e4
"""Logit of a choice that there is not: its probability is 0."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled texts.

    Attributes:
        encodings: Tokenized.
        answers: What is right, in the terms of the head, one for each example. An example may be several encodings
            (a pair of sentences): they follow each other.
    """

    encodings: Sequence[Encoding]
    answers: Sequence[Any]


class Head:
    """One head. Stateless; what most heads do alike is done here.

    Attributes:
        task: Name of its task, as in transformers.
        classes: Name of transformers' table of the classes that have this head, by `model_type`.
        unless: Names of more of these tables: a `model_type` that one of them names has no such head here.
        inputs: Inputs of its graph besides those that a text is tokenized to.
        outputs: Outputs of its graph.
        writes: Whether it is there to write texts, so that the settings for that go with it.
        metric: What `score` measures; empty where there is nothing to measure.
        least_agreement: Share of decisions that a precision must not change, where no labelled texts decide.
    """

    task: str
    classes: str
    unless: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: ClassVar[Mapping[str, Axes]]
    writes: bool = False
    metric: str
    least_agreement: float = 0.0

    def answer(self, module: Any, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, Any]:
        """Ask a module of transformers.

        Args:
            module: The model.
            inputs: int64 [B, S] each.
            options: What else to ask it for, such as `output_hidden_states`.

        Returns:
            The outputs by name, among others that the module has.
        """
        return {**module(**inputs, **options)}

    def measure(self, config: Any) -> str:
        """Say how answers are compared.

        Returns:
            "softmax" or "sigmoid" for the choices that these make of logits, "none" for the numbers themselves,
            "cosine" for the directions of vectors.
        """
        return "softmax"

    def texts(self) -> list[TextInput] | None:
        """Texts of its own to compare precisions on; None where any text will do."""
        return None

    def prepare(self, encodings: Sequence[Encoding], tokenizer: Any) -> list[Encoding]:
        """Make of plain texts what the head is asked: one that fills masks gets texts with a hidden word."""
        return list(encodings)

    def decisions(self, outputs: Mapping[str, Array], feed: Mapping[str, Array], tokenizer: Any) -> list[FloatArray]:
        """Take from the outputs for a batch what is compared.

        Args:
            outputs: Of a graph or of torch.
            feed: What it was asked, int64 [B, S] each.
            tokenizer: Of transformers.

        Returns:
            For each row D decisions among C choices, as logits, or D vectors: float32 [D, C].
        """
        raise NotImplementedError

    def read(self, path: Path, tokenizer: Any, config: Any, max_length: int) -> Examples:
        """Read labelled texts.

        Raises:
            MissingFileError: No such file.
            InvalidInputError: A line that is not an example; the message names the line.
            CheckpointError: Such a model has no metric.
        """
        raise NotImplementedError

    def score(self, decisions: Sequence[FloatArray], answers: Sequence[Any]) -> float:
        """Say how good answers are: the higher, the better, 1 at most.

        Args:
            decisions: For each encoding of the examples, in order, what `decisions` made of its outputs.
            answers: What is right.
        """
        raise NotImplementedError


def ask(
    answer: Callable[..., dict[str, Any]],
    head: Head,
    module: Any,
    inputs: Mapping[str, torch.Tensor],
    extra: Sequence[str] = (),
) -> dict[str, torch.Tensor]:
    """Ask a module for the outputs of a head, and for what comes once a layer.

    Args:
        answer: The head's own `answer`, or what is traced in its place.
        head: The head.
        module: The model.
        inputs: int64 [B, S] each.
        extra: Of "hidden_states" and "attentions".

    Returns:
        The outputs; `hidden_states.0`, `hidden_states.1` and so on after them.
    """
    found = answer(module, inputs, **{f"output_{name}": True for name in extra})
    layers = {f"{name}.{number}": layer for name in extra for number, layer in enumerate(found[name])}
    return {**{name: found[name] for name in head.outputs}, **layers}


def real_rows(values: Array, feed: Mapping[str, Array]) -> list[FloatArray]:
    """Leave the padding out of [B, S, ...]: one array for each row."""
    mask = feed["attention_mask"].astype(bool)
    return [row[real].astype("float32") for row, real in zip(values, mask, strict=True)]
