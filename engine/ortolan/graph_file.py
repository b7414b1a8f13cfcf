"""What an ONNX file says of itself, read without ONNX Runtime: inputs, outputs, operators, and where its weights are.

An ONNX file is a protobuf message. Numbers below are those of the fields in onnx.proto; weights are skipped, so that
a file of gigabytes is read as quickly as a small one.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ortolan.errors import ArtifactError
from ortolan.session.base import Signature, TensorSpec

ELEMENT_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
    21: "uint4",
    22: "int4",
}
"""Element types by their number in onnx.proto, as numpy spells them."""

_LFS_POINTER = b"version https://git-lfs"
_LENGTHS = {1: 8, 2: 0, 5: 4}
"""Bytes of a field by its kind; a field of kind 2 begins with its length."""


@dataclass(frozen=True, slots=True)
class GraphFile:
    """One ONNX file.

    Attributes:
        signature: Inputs and outputs of the graph, weights left out; an axis without name or length is "".
        operators: Types of its nodes, those of inner graphs too.
        weight_dtypes: How many of its weights have an element type.
        weight_bits: Bits of the weights that operators unpack themselves (attribute `bits`, as of `MatMulNBits`).
        external_files: Files that hold its weights, relative to the folder of the graph.
    """

    signature: Signature
    operators: frozenset[str]
    weight_dtypes: Mapping[str, int]
    weight_bits: frozenset[int]
    external_files: tuple[str, ...]


def read_graph_file(path: Path) -> GraphFile:
    """Read what a file says of its graph.

    Raises:
        ArtifactError: It is no ONNX graph, or the pointer that Git LFS leaves in the place of one.
    """
    asked = f"graph '{path}' requested"
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[: len(_LFS_POINTER)] == _LFS_POINTER:
                raise ArtifactError(asked, "it is a pointer of Git LFS, not the file itself", "run: git lfs pull")
            return _Reader(data).read()
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(asked, f"it is no ONNX graph ({error})", "copy or download it again") from error


@dataclass(slots=True)
class _Reader:
    """Collects what is found in one file."""

    data: mmap.mmap
    operators: set[str] = field(default_factory=set)
    weight_dtypes: Counter[str] = field(default_factory=Counter)
    weight_bits: set[int] = field(default_factory=set)
    external_files: dict[str, None] = field(default_factory=dict)

    def read(self) -> GraphFile:
        graphs = []
        for number, span in self._messages(slice(0, len(self.data))):
            if number == 7:
                graphs.append(span)
            elif number == 25:  # functions
                for inner, node in self._messages(span):
                    if inner == 7:
                        self._read_node(node)
        if len(graphs) != 1:
            raise ValueError(f"it holds {len(graphs)} graphs")
        weights = self._read_graph(graphs[0])
        inputs = [self._spec(span) for number, span in self._messages(graphs[0]) if number == 11]
        outputs = [self._spec(span) for number, span in self._messages(graphs[0]) if number == 12]
        return GraphFile(
            # old files count weights among the inputs
            Signature(tuple(spec for spec in inputs if spec.name not in weights), tuple(outputs)),
            frozenset(self.operators),
            dict(self.weight_dtypes),
            frozenset(self.weight_bits),
            tuple(self.external_files),
        )

    def _read_graph(self, graph: slice) -> set[str]:
        """Collect nodes and weights; return the names of the weights."""
        weights = set()
        for number, span in self._messages(graph):
            if number == 1:
                self._read_node(span)
            elif number == 5:
                weights.add(self._read_tensor(span))
        return weights

    def _read_node(self, node: slice) -> None:
        attributes = []
        for number, span in self._messages(node):
            if number == 4:
                self.operators.add(self._text(span))
            elif number == 5:
                attributes.append(span)
        for span in attributes:
            self._read_attribute(span)

    def _read_attribute(self, attribute: slice) -> None:
        name, number_of = "", 0
        for number, value in self._fields(attribute):
            if isinstance(value, int):
                number_of = value if number == 3 else number_of
            elif number == 1:
                name = self._text(value)
            elif number in (5, 10):
                self._read_tensor(value)
            elif number in (6, 11):
                self._read_graph(value)
        if name == "bits":
            self.weight_bits.add(number_of)

    def _read_tensor(self, tensor: slice) -> str:
        name = ""
        for number, value in self._fields(tensor):
            if isinstance(value, int):
                if number == 2:
                    self.weight_dtypes[ELEMENT_TYPES.get(value, str(value))] += 1
            elif number == 8:
                name = self._text(value)
            elif number == 13:
                entry = {inner: self._text(span) for inner, span in self._messages(value)}
                if entry.get(1) == "location":
                    self.external_files[entry.get(2, "")] = None
        return name

    def _spec(self, info: slice) -> TensorSpec:
        name, dtype, shape = "", "", []
        for number, span in self._messages(info):
            if number == 1:
                name = self._text(span)
            elif number == 2:
                for tensor in self._inner(span, 1):
                    dtypes = [value for key, value in self._fields(tensor) if key == 1 and isinstance(value, int)]
                    dtype = ELEMENT_TYPES.get(dtypes[0], str(dtypes[0])) if dtypes else ""
                    shape = [self._axis(axis) for axes in self._inner(tensor, 2) for axis in self._inner(axes, 1)]
        return TensorSpec(name, dtype, tuple(shape))

    def _axis(self, axis: slice) -> int | str:
        for _, value in self._fields(axis):
            return value if isinstance(value, int) else self._text(value)
        return ""

    def _inner(self, message: slice, wanted: int) -> list[slice]:
        return [span for number, span in self._messages(message) if number == wanted]

    def _text(self, span: slice) -> str:
        return self.data[span].decode("utf-8")

    def _messages(self, message: slice) -> Iterator[tuple[int, slice]]:
        """Yield number and place of the fields that are messages or texts."""
        return ((number, value) for number, value in self._fields(message) if not isinstance(value, int))

    def _fields(self, message: slice) -> Iterator[tuple[int, int | slice]]:
        """Yield number and value of the whole numbers in a message, number and place of its messages and texts."""
        position, end = message.start, message.stop
        while position < end:
            key, position = self._varint(position, end)
            kind = key & 7
            if kind == 0:
                value, position = self._varint(position, end)
                yield key >> 3, value
                continue
            if kind not in _LENGTHS:
                raise ValueError(f"no field is of kind {kind}")
            length, position = (_LENGTHS[kind], position) if kind != 2 else self._varint(position, end)
            if position + length > end:
                raise ValueError("it is cut off")
            position += length
            if kind == 2:
                yield key >> 3, slice(position - length, position)

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        while position < end and shift < 70:
            byte = self.data[position]
            position += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, position
            shift += 7
        raise ValueError("it is cut off")
