"""When a text is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from ortolan.generation.config import GenerationConfig
from ortolan.generation.values import UNFINISHED

MARGIN = 8
"""Tokens decoded before those that a stop string can stand in: a decoder may treat the first ones in its own way."""

Decode = Callable[[Sequence[int]], str]

Reason = Literal["eos", "length", "stop"]
"""Why a text is done: a token that ends it, its length, or a stop string or form that is complete."""


def ending(ids: Sequence[int], longest: int, config: GenerationConfig, decode: Decode) -> Reason | None:
    """Say why the token that was written last is the last one; None if it is not.

    Args:
        ids: The text so far.
        longest: How many tokens it may have.
        config: Says what ends a text.
        decode: Tokens to text, special ones included.
    """
    if ids[-1] in config.eos_token_id:
        return "eos"
    if config.stop_strings and holds_stop(ids, config.stop_strings, decode):
        return "stop"
    return "length" if len(ids) >= longest else None


def holds_stop(ids: Sequence[int], stops: Sequence[str], decode: Decode) -> bool:
    """Say whether the last token completes a stop string; one that stood there before does not count."""
    # a token has a byte at least
    tail = ids[-(max(len(stop.encode()) for stop in stops) + MARGIN) :]
    text, before = decode(tail), decode(tail[:-1]).rstrip(UNFINISHED)
    return any(text.find(stop, max(0, len(before) - len(stop) + 1)) >= 0 for stop in stops)
