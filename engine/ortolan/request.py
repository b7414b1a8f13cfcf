"""What a caller asks for: texts that are known to be usable before any work is spent on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ortolan.errors import InputTooLongError, InvalidInputError

MAX_TEXT_CHARS = 1_000_000
"""Longest text accepted, in characters. Far above any encoder's window; bounds the tokenizer's time and memory."""

_PAIR_HINT = 'send a string, or {"text": ..., "text_pair": ...} for a pair'


@dataclass(frozen=True, slots=True)
class TextInput:
    """One text, or a pair of texts to be read together.

    Attributes:
        text: The first (or only) text; holds at least one character that is not white space.
        text_pair: The second text of a pair, or None.
    """

    text: str
    text_pair: str | None = None


def parse_text_input(item: object, index: int | None = None) -> TextInput:
    """Turn what a caller sent into a `TextInput`.

    Args:
        item: A string, or a mapping with `text` and perhaps `text_pair`.
        index: Position in the caller's list, for the error message.

    Raises:
        InvalidInputError: Not a string or mapping, unknown keys, empty, or not encodable as UTF-8.
        InputTooLongError: More than `MAX_TEXT_CHARS` characters.
    """
    if isinstance(item, TextInput):
        item = {"text": item.text, "text_pair": item.text_pair}
    if isinstance(item, str):
        return TextInput(_check_text("text", item, index))
    if not isinstance(item, Mapping):
        raise InvalidInputError("text input requested", f"got {type(item).__name__}", _PAIR_HINT, index=index)
    unknown = sorted(str(key) for key in item if key not in ("text", "text_pair"))
    if unknown or "text" not in item:
        found = f"unknown keys {unknown}" if unknown else "no key 'text'"
        raise InvalidInputError("text input requested", found, _PAIR_HINT, index=index)
    pair = item.get("text_pair")
    return TextInput(
        _check_text("text", item["text"], index), None if pair is None else _check_text("text_pair", pair, index)
    )


def is_encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: one with a lone surrogate can not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_single_text(item: object, index: int | None = None, asked: str = "a text") -> TextInput:
    """Check one text that has no second one beside it.

    Args:
        item: A string, or a mapping with `text`.
        index: Position in the caller's list, for the error message.
        asked: What it is for, for the error message.

    Raises:
        InvalidInputError: It is no text, or there are two.
        InputTooLongError: More than `MAX_TEXT_CHARS` characters.
    """
    parsed = parse_text_input(item, index)
    if parsed.text_pair is not None:
        raise InvalidInputError(f"{asked} requested", "got a pair of texts", "send one text", index=index)
    return parsed


def _check_text(field: str, value: object, index: int | None) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"{field} requested", f"got {type(value).__name__}", _PAIR_HINT, index=index)
    if not value.strip():
        raise InvalidInputError(
            f"{field} requested", "it is empty or only white space", "leave it out or send some text", index=index
        )
    if len(value) > MAX_TEXT_CHARS:
        raise InputTooLongError(
            f"{field} requested",
            f"it has {len(value):,} characters and at most {MAX_TEXT_CHARS:,} are read",
            "split it",
            length=len(value),
            max_length=MAX_TEXT_CHARS,
            index=index,
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"{field} requested",
            f"character {error.start} is a lone surrogate (U+{ord(value[error.start]):04X})",
            "decode the text as UTF-8 or UTF-16 before sending it",
            index=index,
        ) from error
    return value
