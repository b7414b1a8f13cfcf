"""What a task is: how its inputs are read and its outputs shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from ortolan.model import ModelOutput
from ortolan.request import TextInput

Options = TypeVar("Options")


class Task(Protocol, Generic[Options]):
    """One task. Stateless: everything a call needs is in its arguments."""

    name: str
    """Name as in transformers; what manifests carry."""

    def options(self, values: Mapping[str, object], config: Mapping[str, Any], base: Options | None = None) -> Options:
        """Check a caller's keyword arguments.

        Args:
            values: What the caller passed, by name.
            config: config.json of the model.
            base: Options to start from; those of the model by default.

        Raises:
            ConfigError: An unknown name or a value that is not allowed.
        """

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one input.

        Raises:
            InvalidInputError: It is not what the task reads.
        """

    def decode(self, outputs: ModelOutput, labels: Mapping[int, str], options: Options) -> list[Any]:
        """Turn the outputs of one batch into one result a row.

        Raises:
            NonFiniteError: NaN or infinity among the outputs.
        """

    def present(
        self, results: list[Any], single: object | None, options: Options, called_with: Mapping[str, object]
    ) -> Any:
        """Give results the nesting that transformers gives them.

        Args:
            results: One result for each input, in order.
            single: The input, if it was passed alone and not in a list.
            options: The options of the call.
            called_with: Keyword arguments of the call itself.
        """
