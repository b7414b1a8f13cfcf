"""A user's own texts, from a file."""

from __future__ import annotations

import json
from pathlib import Path

from ortolan.errors import InvalidInputError, MissingFileError, RequestError
from ortolan.request import TextInput, parse_text_input


def read_texts(path: Path) -> list[TextInput]:
    """Read texts from a file.

    Args:
        path: With a name that ends in .jsonl, one JSON object a line with `text` and perhaps `text_pair`; else one
            text a line. Blank lines are left out.

    Raises:
        MissingFileError: The file can't be read.
        InvalidInputError: Not UTF-8, no texts, or a line that is not a text; the message names the line.
    """
    asked = f"texts from '{path}' requested"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(asked, f"it is not UTF-8 (byte {error.start})", "convert it to UTF-8") from error
    except OSError as error:
        raise MissingFileError(asked, f"it cannot be read ({error})", "check the path") from error
    parse = _parse_object if path.suffix == ".jsonl" else parse_text_input
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                texts.append(parse(line.rstrip("\r")))
        except RequestError as error:
            raise InvalidInputError(f"'{path}', line {number}, requested", error.found, error.remedy) from error
    if not texts:
        raise InvalidInputError(asked, "there are none", "write one text a line")
    return texts


def _parse_object(line: str) -> TextInput:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise InvalidInputError("a text requested", f"it is not JSON ({error})", 'write {"text": ...}') from error
    if isinstance(document, dict):
        document = {key: document[key] for key in ("text", "text_pair") if key in document}
    return parse_text_input(document)
