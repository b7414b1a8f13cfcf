"""Texts for calibration and evaluation, from jsonl files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError, MissingFileError, RequestError
from ortolan.request import TextInput, parse_text_input

MAX_LINES = 1_000_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with its class.

    Attributes:
        input: The text or pair.
        label: Id of the class.
    """

    input: TextInput
    label: int


def read_texts(path: Path) -> list[TextInput]:
    """Read texts, one JSON object a line with `text` and perhaps `text_pair`; other keys are left out.

    Raises:
        MissingFileError: No such file.
        InvalidInputError: A line that is not such an object; the message names the line.
    """
    return [_text_of(document, path, number) for number, document in _lines(path)]


def read_labelled(path: Path, id2label: Mapping[int, str]) -> list[Labelled]:
    """Read labelled texts: `label` is the name of a class, or its id.

    Raises:
        MissingFileError: No such file.
        InvalidInputError: A line without a known label; the message names the line and the labels there are.
    """
    label2id = {name: number for number, name in id2label.items()}
    rows = []
    for number, document in _lines(path):
        label = document.get("label")
        found = label2id.get(label) if isinstance(label, str) else label
        if isinstance(found, bool) or not isinstance(found, int) or found not in id2label:
            raise InvalidInputError(
                f"a label in '{path}', line {number}, requested",
                f"got {label!r}",
                f"the model has {', '.join(id2label.values())}",
            )
        rows.append(Labelled(_text_of(document, path, number), found))
    return rows


def builtin_texts() -> list[TextInput]:
    """Texts of many kinds and lengths, for checkpoints that come without any."""
    lines = files("ortolan_exporters").joinpath("builtin_texts.txt").read_text(encoding="utf-8").splitlines()
    return [TextInput(line) for line in lines if line.strip()]


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
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
            raise InvalidInputError(
                f"'{path}', line {number}, requested", found, 'write one {"text": ...} a line'
            ) from error
        if not isinstance(document, dict):
            raise InvalidInputError(
                f"'{path}', line {number}, requested", "it is not an object", 'write one {"text": ...} a line'
            )
        rows.append((number, document))
        if number > MAX_LINES:
            raise ConfigError(f"texts from '{path}' requested", f"more than {MAX_LINES:,} lines", "pass fewer")
    if not rows:
        raise InvalidInputError(f"texts from '{path}' requested", "the file is empty", 'write one {"text": ...} a line')
    return rows


def _text_of(document: Mapping[str, Any], path: Path, number: int) -> TextInput:
    try:
        return parse_text_input({key: document[key] for key in ("text", "text_pair") if key in document})
    except RequestError as error:
        raise InvalidInputError(f"'{path}', line {number}, requested", error.found, error.remedy) from error
