"""ONNX graphs of one matrix product, written byte by byte: the runtime has no onnx package to write them with.

An ONNX file is a protobuf message: fields follow each other, each a key (its number in onnx.proto, and a kind: 0 for a
whole number, 2 for bytes with their length before them) and a value. Whole numbers are varints: seven bits a byte, the
lowest first, the top bit says that more follow. `graph_file.py` reads the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 8
OPSET = 17
"""Old enough for every ONNX Runtime that is supported."""

_FLOAT, _UINT8, _INT8, _INT32, _BFLOAT16 = 1, 2, 3, 6, 16
"""Element types in onnx.proto."""


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of matrix product.

    Attributes:
        operator: That computes it.
        left: Element type of what is fed.
        right: Element type of the weights.
        result: Element type of what comes out.
    """

    operator: str
    left: int
    right: int
    result: int


FP32 = Product("MatMul", _FLOAT, _FLOAT, _FLOAT)
BF16 = Product("MatMul", _BFLOAT16, _BFLOAT16, _BFLOAT16)
INT8 = Product("MatMulInteger", _UINT8, _INT8, _INT32)


def product_graph(product: Product, weights: NDArray[np.generic], rows: int) -> bytes:
    """Write a graph that multiplies its input `x` [rows, K] by weights, which gives `y` [rows, N].

    Args:
        product: Which kind.
        weights: [K, N], in the element type of the product; for bfloat16 its bits as uint16.
        rows: Of the input.
    """
    inner, columns = weights.shape
    node = _text(1, "x") + _text(1, "w") + _text(2, "y") + _text(4, product.operator)
    dims = _number(1, inner) + _number(1, columns)
    tensor = dims + _number(2, product.right) + _text(8, "w") + _bytes(9, np.ascontiguousarray(weights).tobytes())
    graph = (
        _bytes(1, node)
        + _text(2, "product")
        + _bytes(5, tensor)
        + _bytes(11, _value("x", product.left, (rows, inner)))
        + _bytes(12, _value("y", product.result, (rows, columns)))
    )
    return _number(1, IR_VERSION) + _bytes(8, _number(2, OPSET)) + _bytes(7, graph)


def _value(name: str, element: int, shape: tuple[int, ...]) -> bytes:
    """Describe an input or output: name, then type, then element type and axes within it."""
    axes = b"".join(_bytes(1, _number(1, length)) for length in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, axes)))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)
