"""What the rest of the runtime knows of a loaded graph."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ortolan.errors import InvalidInputError

Array = NDArray[Any]

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}
"""ONNX Runtime's names of element types, as numpy spells them."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: As in the graph, which is as in transformers.
        dtype: numpy's name of the element type.
        shape: Lengths of the axes; a string names an axis that varies ("batch", "sequence").
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a graph, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Terminable(Protocol):
    """A run under way that ends soon after `terminate` is set to True; ONNX Runtime's `RunOptions` is one."""

    terminate: bool


class Stop:
    """Ends runs from another thread: those under way soon, and those that would begin at once.

    One may be passed to several runs. It stays set.
    """

    __slots__ = ("_is_set", "_lock", "_runs")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[Terminable] = []
        self._is_set = False

    @property
    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._is_set

    def set(self) -> None:
        """End the runs; each raises SessionError. A run ends between two operators, so a long one holds it up."""
        with self._lock:
            self._is_set = True
            for run in self._runs:
                run.terminate = True

    def enter(self, run: Terminable) -> None:
        """Take charge of a run before it begins; for sessions."""
        with self._lock:
            self._runs.append(run)
            if self._is_set:
                run.terminate = True

    def leave(self, run: Terminable) -> None:
        """Forget a run that has ended; for sessions."""
        with self._lock:
            self._runs.remove(run)


class Bound(Protocol):
    """A graph that reads and writes arrays where they are, again and again."""

    def run(self, stop: Stop | None = None) -> None:
        """Run the graph once on what the arrays hold now.

        Args:
            stop: Ends the run early when it is set.

        Raises:
            SessionError: As from `Session.run`.
        """

    def put(self, name: str, array: Array) -> None:
        """Let an input be read from another array from now on."""


class Session(Protocol):
    """A loaded graph."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the graph."""

    @property
    def provider(self) -> str:
        """Short name of the provider that really runs the graph."""

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Run the graph once.

        Args:
            feed: One array for each input of the signature, with its dtype.
            stop: Ends the run early when it is set.

        Returns:
            One array for each output, by name. The caller's own: no later run writes to them.

        Raises:
            SessionError: The run failed, `stop` ended it, or the session was loaded before a fork.
        """


@runtime_checkable
class Binds(Protocol):
    """A session that can work on arrays of its caller."""

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Bound:
        """Tie inputs and outputs to arrays in main memory, for runs that follow each other.

        Args:
            inputs: A contiguous array for each input of the signature, with its dtype.
            outputs: A contiguous array for each output, of the shape that it will have. An array that is both is
                written in place, where the graph's operators can do that.
        """


def conform(array: Array, spec: TensorSpec) -> Array:
    """Give an array the dtype that a graph wants; no copy is made where it has it already.

    Raises:
        InvalidInputError: It holds fractions, NaN or infinity, and the graph wants whole numbers.
    """
    dtype = np.dtype(spec.dtype)
    if array.dtype.kind == "f" and dtype.kind in "iu" and not (np.isfinite(array) & (array == np.rint(array))).all():
        raise InvalidInputError(
            f"{spec.name} requested", f"got {array.dtype} values that are not whole", f"pass {spec.dtype}"
        )
    return np.ascontiguousarray(array, dtype=dtype)
