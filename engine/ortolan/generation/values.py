"""Values of the options that say how texts are written, each checked for itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeGuard

from ortolan.errors import ConfigError
from ortolan.request import is_encodable

UNFINISHED = "\ufffd"
"""What stands in a decoded text for a character whose last bytes have not come yet."""

MAX_STOP_STRINGS = 64
MAX_STOP_CHARS = 1000

MAX_TOKENS_NAMED = 1 << 16
"""Most tokens in a list of an option: each is looked at for every token that is written."""

MAX_SEQUENCES = 4096
"""Most sequences of tokens in an option, for the same reason."""

MAX_PATTERN_CHARS = 200_000
"""Most characters of a regular expression, or of a JSON schema that is a text."""

Sequences = tuple[tuple[int, ...], ...]
Biases = tuple[tuple[tuple[int, ...], float], ...]
Reader = Callable[[str, object], Any]


def whole(lowest: int, highest: int | None = None) -> Reader:
    """Make what reads whole numbers between two, both included."""
    upwards = "on" if highest is None else f"to {highest}"

    def read(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            _refuse(name, value, f"use a whole number from {lowest} {upwards}")
        if value < lowest or (highest is not None and value > highest):
            _refuse(name, value, f"use a whole number from {lowest} {upwards}")
        return value

    return read


def number(lowest: float, highest: float, advice: str = "") -> Reader:
    """Make what reads numbers between two, both included; `advice` is put behind what an error says to do."""

    def read(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= highest:
            _refuse(name, value, f"use a number from {lowest:g} to {highest:g}{advice}")
        return float(value)

    return read


count, positive = whole(0), whole(1)


def flag(name: str, value: object) -> bool:
    """Read True or False."""
    if not isinstance(value, bool):
        _refuse(name, value, "use True or False")
    return value


def token_ids(name: str, value: object) -> tuple[int, ...]:
    """Read the id of a token, or several."""
    values = [value] if isinstance(value, int) else value
    if not _is_list(values) or len(values) > MAX_TOKENS_NAMED:
        _refuse(name, value, f"pass the id of a token, or a list of up to {MAX_TOKENS_NAMED} of them")
    return tuple(count(name, one) for one in values)


def sequences(name: str, value: object) -> Sequences:
    """Read lists of token ids; empty ones are left out."""
    if not _is_list(value) or len(value) > MAX_SEQUENCES or not all(_is_list(one) for one in value):
        _refuse(name, value, f"pass a list of up to {MAX_SEQUENCES} lists of token ids")
    return tuple(ids for one in value if (ids := token_ids(name, one)))


def biases(name: str, value: object) -> Biases:
    """Read what is added to logits: by token, by tuple of tokens, or as a list of pairs of both.

    Ids may be texts of digits, as JSON has keys.
    """
    remedy = f"pass up to {MAX_SEQUENCES} numbers, by token id or tuple of ids, or a list of [ids, number]"
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not _is_list(pairs) or len(pairs) > MAX_SEQUENCES or not all(_is_list(one) and len(one) == 2 for one in pairs):
        _refuse(name, value, remedy)
    found = {}
    for key, bias in pairs:
        ids = token_ids(name, int(key) if _is_numeral(key) else key)
        if not ids:
            _refuse(name, value, remedy)
        found[ids] = number(-1e9, 1e9)(name, bias)
    return tuple(found.items())


def decay(name: str, value: object) -> tuple[int, float]:
    """Read how many tokens are written before the end is made likelier, and by what factor with each."""
    if not _is_list(value) or len(value) != 2:
        _refuse(name, value, "pass two numbers: how many tokens come before, and a factor such as 1.1")
    return count(name, value[0]), number(1e-9, 1e9)(name, value[1])


def early_stopping(name: str, value: object) -> bool | str:
    """Read when a search with beams is done."""
    if not isinstance(value, bool) and value != "never":
        _refuse(name, value, "use True, False or 'never'")
    return value if isinstance(value, bool) else "never"


def stop_strings(name: str, value: object) -> tuple[str, ...]:
    """Read a text, or several."""
    given = [value] if isinstance(value, str) else value
    texts = tuple(given) if isinstance(given, Sequence) else ()
    if not 0 < len(texts) <= MAX_STOP_STRINGS or not all(_is_stop_string(one) for one in texts):
        _refuse(name, value, f"pass a text of 1 to {MAX_STOP_CHARS} characters, or up to {MAX_STOP_STRINGS} of them")
    return texts


def pattern(name: str, value: object) -> str:
    """Read a text that is not looked into here."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_PATTERN_CHARS or not is_encodable(value):
        _refuse(name, value, f"pass a text of 1 to {MAX_PATTERN_CHARS} characters")
    return value


def schema(name: str, value: object) -> str | Mapping[str, Any]:
    """Read a mapping, or a text, neither of which is looked into here."""
    return value if isinstance(value, Mapping) else pattern(name, value)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_numeral(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10


def _is_stop_string(value: object) -> bool:
    # what stands for an unfinished character would stop a text within any character
    is_text = isinstance(value, str) and 0 < len(value) <= MAX_STOP_CHARS and is_encodable(value)
    return is_text and UNFINISHED not in str(value)


def _refuse(name: str, value: object, remedy: str) -> NoReturn:
    said = repr(value)
    raise ConfigError(f"{name} requested", f"got {said if len(said) <= 200 else said[:200] + '...'}", remedy)
