"""Texts for calibration and evaluation, from jsonl files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError, MissingFileError, RequestError
from ortolan.request import TextInput, parse_text_input

MAX_LINES = 1_000_000


def read_texts(path: Path) -> list[TextInput]:
    """Read texts, one JSON object a line with `text` and perhaps `text_pair`, or with `question` and `context`.

    Other keys are left out.

    Raises:
        MissingFileError: No such file.
        InvalidInputError: A line that is not such an object; the message names the line.
    """
    return [text_of(document, path, number) for number, document in lines(path)]


def builtin_texts() -> list[TextInput]:
    """Texts of many kinds and lengths, for checkpoints that come without any."""
    lines = files("ortolan_exporters").joinpath("builtin_texts.txt").read_text(encoding="utf-8").splitlines()
    return [TextInput(line) for line in lines if line.strip()]


def lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read a file of JSON objects, one a line.

    Returns:
        Number of the line, counted from 1, and what stands there.

    Raises:
        MissingFileError: No such file.
        InvalidInputError: A line that is not an object, or no lines at all; the message names the line.
        ConfigError: More than `MAX_LINES` lines.
    """
    if not path.is_file():
        raise MissingFileError(f"texts from '{path}' requested", "there is no such file", "check the path")
    rows = []
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"texts from '{path}' requested", f"it is not UTF-8 (byte {error.start})", "convert it to UTF-8"
        ) from error
    except OSError as error:  # else it would be taken for an artifact that cannot be written
        raise MissingFileError(f"texts from '{path}' requested", f"it cannot be read ({error})", "check it") from error
    # not splitlines(): a text may hold U+2028 and its like, which JSON leaves as they are
    for number, line in enumerate(text.split("\n") if text else (), start=1):
        try:
            document = json.loads(line)
        except ValueError as error:
            found = "it is empty" if not line.strip() else f"it is not JSON ({error})"
            raise invalid_line(path, number, found) from error
        if not isinstance(document, dict):
            raise invalid_line(path, number, "it is not an object")
        rows.append((number, document))
        if number > MAX_LINES:
            raise ConfigError(f"texts from '{path}' requested", f"more than {MAX_LINES:,} lines", "pass fewer")
    if not rows:
        raise InvalidInputError(f"texts from '{path}' requested", "the file is empty", 'write one {"text": ...} a line')
    return rows


def text_of(document: Mapping[str, Any], path: Path, number: int) -> TextInput:
    """Read the text or pair of a line.

    Raises:
        InvalidInputError: There is none; the message names the line.
    """
    known = {"text": "text", "text_pair": "text_pair", "question": "text", "context": "text_pair"}
    try:
        return parse_text_input({known[key]: value for key, value in document.items() if key in known})
    except RequestError as error:
        raise InvalidInputError(f"'{path}', line {number}, requested", error.found, error.remedy) from error


def label_of(label: object, id2label: Mapping[int, str], path: Path, number: int) -> int:
    """Read a label, the name of a class or its id.

    Raises:
        InvalidInputError: The model has no such class; the message names the line and the classes there are.
    """
    label2id = {name: one for one, name in id2label.items()}
    found = label2id.get(label) if isinstance(label, str) else label
    if isinstance(found, bool) or not isinstance(found, int) or found not in id2label:
        raise InvalidInputError(
            f"a label in '{path}', line {number}, requested",
            f"got {label!r}",
            f"the model has {', '.join(id2label.values())}",
        )
    return found


def invalid_line(path: Path, number: int, found: str, wanted: str = '{"text": ...}') -> InvalidInputError:
    """Make the error for a line that can't be used."""
    return InvalidInputError(f"'{path}', line {number}, requested", found, f"write one {wanted} a line")
