"""Does a precision answer a user's own texts as fp32 does?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ortolan.errors import InvalidInputError, MissingFileError, RequestError
from ortolan.request import TextInput, parse_text_input
from ortolan.session.base import Array

Outputs = Mapping[str, Array]


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


def agreement(expected: Outputs, found: Outputs, measure: str, *, is_multi_label: bool) -> float:
    """Compare the answers to one text.

    Args:
        expected: Outputs of fp32, of any names and shapes; the last axis is the one of the choices.
        found: Those of another precision.
        measure: "cosine" compares directions of vectors; all else compares decisions.
        is_multi_label: Whether each logit is a decision of its own, and not the largest one of a row.

    Returns:
        Cosine of the outputs, or the share of decisions that are the same. NaN agrees with nothing.
    """
    if measure == "cosine":
        return _cosine(_flat(expected), _flat(found))
    if is_multi_label:
        wanted, got = _flat(expected), _flat(found)
        return float((((wanted > 0) == (got > 0)) & np.isfinite(got)).mean())
    same = [
        ((wanted.argmax(-1) == found[name].argmax(-1)) & np.isfinite(found[name]).all(-1)).reshape(-1)
        for name, wanted in expected.items()
    ]
    return float(np.concatenate(same).mean())


def _parse_object(line: str) -> TextInput:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise InvalidInputError("a text requested", f"it is not JSON ({error})", 'write {"text": ...}') from error
    if isinstance(document, dict):
        document = {key: document[key] for key in ("text", "text_pair") if key in document}
    return parse_text_input(document)


def _flat(outputs: Outputs) -> Array:
    return np.concatenate([output.reshape(-1) for output in outputs.values()])


def _cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if np.isfinite(lengths) and lengths > 0 else 0.0
