"""What the rest of the runtime knows of a loaded graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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


class Session(Protocol):
    """A loaded graph."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the graph."""

    @property
    def provider(self) -> str:
        """Short name of the provider that really runs the graph."""

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once.

        Args:
            feed: One array for each input of the signature, with its dtype.

        Returns:
            One array for each output, by name.

        Raises:
            SessionError: The run failed.
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
