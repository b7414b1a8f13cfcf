"""What a decoder keeps of each token that was read, as its inputs tell: the formula for the memory of a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ortolan.errors import SignatureError
from ortolan.session.base import Signature, TensorSpec
from ortolan.teacher_forcing import CROSS, PAST


@dataclass(frozen=True, slots=True)
class Part:
    """The keys, or the values, of one layer.

    Attributes:
        name: Such as "0.key".
        heads: How many heads they have.
        head_size: Numbers of a head.
        dtype: numpy's name of their type.
    """

    name: str
    heads: int
    head_size: int
    dtype: str

    @property
    def token_bytes(self) -> int:
        """Bytes of one token."""
        return self.heads * self.head_size * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """What is kept of each token that a decoder has read, and of each that its encoder has.

    Attributes:
        parts: Keys and values of all layers.
        cross: Those that the encoder gives; none where there is no encoder.
    """

    parts: tuple[Part, ...]
    cross: tuple[Part, ...] = ()

    @property
    def token_bytes(self) -> int:
        """Bytes of a token: 2 x layers x heads of the keys x numbers of a head x bytes of a number."""
        return bytes_of(self.parts)

    @property
    def encoded_bytes(self) -> int:
        """Bytes of a token of the encoder; the same with the heads of the decoder's look at the encoder."""
        return bytes_of(self.cross)

    def num_bytes(self, rows: int, length: int, requests: int = 0, encoded: int = 0) -> int:
        """Compute what a cache takes: every text as much as the longest.

        Args:
            rows: Texts in the making; a beam is one.
            length: Tokens of the longest.
            requests: Texts that the encoder has read, whose beams count once.
            encoded: Tokens of the longest of them.

        Returns:
            rows x length x `token_bytes` + requests x encoded x `encoded_bytes`.
        """
        return rows * length * self.token_bytes + requests * encoded * self.encoded_bytes


def bytes_of(parts: Sequence[Part]) -> int:
    """Bytes of a token in all of some parts."""
    return sum(part.token_bytes for part in parts)


def read_layout(signature: Signature) -> Layout:
    """Find out from a decoder's inputs what it keeps.

    Raises:
        SignatureError: It has no cache, or one whose axes are not [batch, heads, length, head_size].
    """
    parts, cross = (
        tuple(_part(spec, prefix) for spec in signature.inputs if spec.name.startswith(prefix))
        for prefix in (PAST, CROSS)
    )
    if not parts:
        raise SignatureError(
            "a graph that writes requested", "this one has no past_key_values", "export the checkpoint again"
        )
    return Layout(parts, cross)


def _part(spec: TensorSpec, prefix: str) -> Part:
    match spec.shape:
        case (str(), int(heads), str(), int(head_size)):
            return Part(spec.name.removeprefix(prefix), heads, head_size, spec.dtype)
    raise SignatureError(
        f"input '{spec.name}' requested",
        f"its axes are {list(spec.shape)}",
        "they must be [batch, heads, length, head_size], with numbers for heads and head_size",
    )
