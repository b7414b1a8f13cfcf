"""The forms in which a caller passes inputs: one, a list of them, or a stream that is read as it is answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, is_dataclass
from typing import Any

from ortolan.errors import InvalidInputError

_TO_LIST = ("tolist", "to_list", "to_pylist")
"""How columns say what they hold: numpy and pandas, polars, and Arrow. Known by what they can do, none is imported."""

_STREAMING = "datasets"
"""The package whose tables and columns read from disk what is asked of them, and may be larger than memory."""

_FORMS = "send a text, a mapping, a list or an iterable of them"


@dataclass(frozen=True, slots=True)
class Stream:
    """Inputs that come one after the other.

    Attributes:
        items: What comes; read once.
        length: How many there are; None where nobody knows.
    """

    items: Iterator[Any]
    length: int | None


def is_one(inputs: object) -> bool:
    """Whether this is one input: a text, a mapping, or what a task has made of one."""
    return isinstance(inputs, (str, Mapping)) or is_dataclass(inputs)


def as_list(inputs: object) -> Sequence[Any] | None:
    """Take inputs that are in memory as a list.

    Args:
        inputs: A list, a tuple or any other sequence; an array [N] of texts; a column of pandas, polars or Arrow.

    Returns:
        The inputs; None if this is no list.

    Raises:
        InvalidInputError: An array or a table of another shape than [N], or bytes.
    """
    if isinstance(inputs, (list, tuple)):
        return inputs
    if isinstance(inputs, (bytes, bytearray, memoryview)):
        raise InvalidInputError("an input requested", f"got {type(inputs).__name__}", _FORMS)
    if _is_lazy(inputs):
        return None
    if not isinstance(inputs, type):
        _check_shape(inputs)
        for name in _TO_LIST:
            if callable(convert := getattr(inputs, name, None)):
                return list(convert())
    return inputs if isinstance(inputs, Sequence) else None


def as_stream(inputs: object) -> Stream:
    """Take inputs as a stream.

    Args:
        inputs: A generator or any other iterable, or what counts its items and gives them by number, as the datasets
            of torch do.

    Raises:
        InvalidInputError: It is none of these, or a set, which has no order.
    """
    if isinstance(inputs, (set, frozenset)):
        raise InvalidInputError(
            "an input requested", f"got a {type(inputs).__name__}", "send a list, which has an order"
        )
    if isinstance(inputs, Iterable):
        return Stream(iter(inputs), _length(inputs))
    length = _length(inputs)
    if length is None or not hasattr(inputs, "__getitem__"):
        raise InvalidInputError("an input requested", f"got {type(inputs).__name__}", _FORMS)
    return Stream((inputs[number] for number in range(length)), length)


def _is_lazy(inputs: object) -> bool:
    return type(inputs).__module__.partition(".")[0] == _STREAMING


def _check_shape(inputs: object) -> None:
    shape = getattr(inputs, "shape", None)
    if not isinstance(shape, tuple) or len(shape) == 1:
        return
    raise InvalidInputError(
        "an input requested",
        f"got {type(inputs).__name__} with {len(shape)} axes",
        "send a text, or one axis of them: a column of a table, such as table['text']",
    )


def _length(inputs: object) -> int | None:
    return len(inputs) if isinstance(inputs, Sized) else None
