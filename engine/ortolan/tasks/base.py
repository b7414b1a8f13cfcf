"""What a task is: how its inputs are read, what it asks the graph, and how the answers are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from ortolan.errors import ConfigError, InputTooLongError, InvalidInputError, NonFiniteError
from ortolan.forward import Row
from ortolan.generation.config import GenerationConfig
from ortolan.postprocess.pooling import Pooling
from ortolan.request import TextInput
from ortolan.session.base import Array
from ortolan.tokenize import Encoding, Tokenizer, Truncation

Payload = TypeVar("Payload")
Options = TypeVar("Options")
WriteOptions = TypeVar("WriteOptions", contravariant=True)

BATCH_OPTIONS = ("batch_size", "strict_batching")
"""Options of a call that every task has."""

LENGTH_OPTIONS = ("truncation", "max_length")
"""Options of tasks that read a text at once, and not in windows."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a task knows of the model that answers.

    Attributes:
        config: Its config.json.
        labels: Name of each label, where it has labels.
        tokenizer: What tokenizes for it.
        pooling: How hidden states become an embedding, where the graph does not do it.
        generation: How it writes: its generation_config.json.
    """

    config: Mapping[str, Any]
    labels: Mapping[int, str]
    tokenizer: Tokenizer
    pooling: Pooling = field(default_factory=Pooling)
    generation: Mapping[str, Any] = field(default_factory=dict)


class Task(Protocol[Payload, Options]):
    """One task. Stateless: everything a call needs is in its arguments.

    A call goes through `arguments`, `options`, `parse`, `encode`, the graph, `decode` and `present`, in this order.
    """

    name: str
    """Name as in transformers."""

    heads: tuple[str, ...]
    """Tasks of artifacts that it runs on, as their manifests name them; a checkpoint is exported for the first."""

    option_names: tuple[str, ...]
    """What may be passed by name, those of `LENGTH_OPTIONS` included, if it takes them."""

    truncation: str | None
    """How texts that are too long are cut when a caller says nothing of it; None refuses them."""

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Find the inputs among the arguments of a call; see `one_input`.

        Returns:
            The inputs, and the other options.

        Raises:
            InvalidInputError: There are none, or too many.
        """

    def options(self, values: Mapping[str, object], facts: ModelFacts, base: Options | None = None) -> Options:
        """Check a caller's options.

        Args:
            values: What the caller passed, by name; names are of `option_names`.
            facts: What is known of the model.
            base: Options to start from; those of the model by default.

        Raises:
            ConfigError: A value that is not allowed, or a model without what the task needs.
        """

    def parse(self, item: object, index: int | None) -> Payload:
        """Check one input.

        Raises:
            InvalidInputError: It is not what the task reads.
            InputTooLongError: It has more characters than are read.
        """

    def encode(
        self, payloads: Sequence[Payload], facts: ModelFacts, options: Options, limits: Truncation, first: int | None
    ) -> list[list[Encoding]]:
        """Tokenize.

        Args:
            payloads: Inputs, checked.
            facts: What is known of the model.
            options: Options of the call.
            limits: How long an encoding may be, and what is cut.
            first: Position of the first input in the caller's list, for messages; None for a lone input.

        Returns:
            For each input the rows that the graph is asked, one at least.
        """

    def decode(self, payload: Payload, rows: Sequence[Row], facts: ModelFacts, options: Options) -> Any:
        """Turn the outputs for the rows of one input into its result.

        Raises:
            NonFiniteError: NaN or infinity among the outputs.
        """

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """Give results the nesting that transformers gives them.

        Args:
            results: One result for each input, in order.
            single: The input, if it was passed alone and not in a list.
            called_with: Options of the call itself.
        """


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the tokens of a text that was written become text.

    Attributes:
        skips_special: Whether special tokens are left out.
        cleans_up: Whether spaces before punctuation are taken out; None for what the tokenizer says.
    """

    skips_special: bool = True
    cleans_up: bool | None = None


@runtime_checkable
class Writes(Protocol[WriteOptions]):
    """A task whose rows go to a model that writes, and come back with `sequences`; see `ortolan.generation.loop`.

    Such a task takes `max_length` for the texts that are written, and reads prompts as long as the model allows.
    """

    def writing(self, options: WriteOptions) -> GenerationConfig:
        """Say how the rows of a call are written on."""

    def decoding(self, options: WriteOptions) -> Decoding:
        """Say how what is written becomes text."""


def one_input(args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
    """Take the only positional argument, or `inputs`, as what is to be answered.

    Raises:
        InvalidInputError: There is not exactly one.
    """
    rest = dict(options)
    given = [*args, *([rest.pop("inputs")] if "inputs" in rest else [])]
    if len(given) != 1:
        raise InvalidInputError(
            "an answer requested", f"got {len(given)} inputs", "send one: a text, a mapping, a list or an iterable"
        )
    return given[0], rest


def unfold(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Put options that transformers takes in a mapping of their own beside the others.

    Args:
        name: Of the option that is such a mapping.
        options: Options of a call.

    Raises:
        ConfigError: It is no mapping, or holds an option that is passed beside it too.
    """
    rest = dict(options)
    inner = rest.pop(name, None) or {}
    if not isinstance(inner, Mapping):
        raise ConfigError(f"{name} requested", f"got {inner!r}", "pass a mapping, such as {'truncation': True}")
    if twice := sorted(set(inner) & set(rest)):
        raise ConfigError(f"{name} requested", f"{', '.join(twice)} is passed twice", "pass it once")
    return {**rest, **{str(key): value for key, value in inner.items()}}


def encode_together(
    items: Sequence[TextInput], tokenizer: Tokenizer, limits: Truncation, index: int | None
) -> list[Encoding]:
    """Tokenize what belongs to one input: its rows.

    Args:
        items: The rows.
        tokenizer: Of the model.
        limits: How long a row may be, and what is cut.
        index: Position of the input in the caller's list; None for a lone one.

    Raises:
        InputTooLongError: A row is too long; the message names the index of the input.
    """
    try:
        return tokenizer.encode(items, limits, first_index=None)
    except InputTooLongError as error:
        raise InputTooLongError(
            error.asked, error.found, error.remedy, length=error.length, max_length=error.max_length, index=index
        ) from error


def place(first: int | None, offset: int) -> int | None:
    """Position of an input in the caller's list; None for a lone one, whose position nobody asks for."""
    return None if first is None else first + offset


def one_or_all(results: list[Any], single: object | None) -> Any:
    """Give a lone input its result, and a list of inputs the list of theirs."""
    return results if single is None else results[0]


def lone_or_all(results: list[Any], single: object | None) -> Any:
    """Give a list of one input what that input alone would get, as some pipelines of transformers do."""
    return results if single is None and len(results) != 1 else results[0]


def check_finite(array: Array, what: str) -> Array:
    """Give back an array of outputs, unless there is NaN or infinity in it.

    Raises:
        NonFiniteError: There is; the message says what could not be answered.
    """
    if not np.isfinite(array).all():
        raise NonFiniteError(
            f"{what} requested", "the graph answered NaN or infinity", "run 'ortolan verify' on the artifact"
        )
    return array


def whole_number(name: str, value: object, lowest: int = 1) -> int:
    """Check that an option is a whole number.

    Raises:
        ConfigError: It is not, or is below `lowest`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"{name} requested", f"got {value!r}", f"use a whole number from {lowest} on")
    return value


def true_or_false(name: str, value: object) -> bool:
    """Check that an option is True or False.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} requested", f"got {value!r}", "use True or False")
    return value
