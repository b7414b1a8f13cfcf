"""jsonl and csv: read a line at a time, whatever is in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from ortolan.errors import InvalidInputError
from ortolan.mapping.rows import Place, Row

MAX_ROW_BYTES = 16 * 1024 * 1024
"""Longest row that is read. A text has a million characters at most, and JSON may take twelve bytes for each."""

SHOWN_BYTES = 200
"""How much is kept of a row that can't be read."""

_BOM = b"\xef\xbb\xbf"


class Jsonl:
    """A JSON object a line; blank lines are left out."""

    columns: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, start: Place) -> Iterator[Row]:
        """Read the rows from a place on; see `Source.rows`."""
        with self._path.open("rb") as file:
            file.seek(start.offset)
            number = start.number
            while line := file.readline(MAX_ROW_BYTES + 1):
                number += 1
                is_whole = _is_whole(line, file)
                if number == 1:
                    line = line.removeprefix(_BOM)
                if not line.strip():
                    continue
                end = Place(number, file.tell())
                if not is_whole:
                    yield Row(_shown(line), end, _TOO_LONG)
                    continue
                try:
                    yield Row(_parse_object(line), end)
                except (ValueError, RecursionError) as error:
                    yield Row(_shown(line), end, f"it is no JSON object in UTF-8 ({error})")


class Csv:
    """Values with commas between them, and a header; what is quoted may hold line ends."""

    def __init__(self, path: Path) -> None:
        csv.field_size_limit(MAX_ROW_BYTES)  # 128 KB otherwise
        self._path = path
        asked = f"'{path}' requested"
        with path.open("rb") as file:
            try:
                header = next(_Records(file), [])
            except csv.Error as error:
                raise InvalidInputError(asked, f"its header is no CSV ({error})", "write it anew") from error
            self._begin = file.tell()
        if not header:
            raise InvalidInputError(asked, "it is empty", "name the columns in its first line")
        header[0] = header[0].removeprefix(_BOM.decode())
        if len(set(header)) < len(header) or not _is_utf8(header):
            raise InvalidInputError(asked, "a name is twice in its header, or not UTF-8", "name each column once")
        self.columns: tuple[str, ...] | None = tuple(header)

    def rows(self, start: Place) -> Iterator[Row]:
        """Read the rows from a place on; see `Source.rows`."""
        names = self.columns or ()
        with self._path.open("rb") as file:
            file.seek(start.offset or self._begin)
            records = _Records(file)
            number = start.number
            while True:
                record: list[str] = []
                try:
                    record = next(records)
                    fault = _fault(record, names)
                except StopIteration:
                    return
                except csv.Error as error:
                    fault = f"it is no CSV ({error})"
                number += 1
                end = Place(number, file.tell())
                yield Row(records.beginning if fault else dict(zip(names, record, strict=True)), end, fault)


_TOO_LONG = f"it has more than {MAX_ROW_BYTES:,} bytes"


class _Records:
    """The rows of a CSV file; goes on after one that is wrong, and reads no line before it is needed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._first = b""

    @property
    def beginning(self) -> str:
        """The beginning of the row that was read last."""
        return _shown(self._first)

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        while True:
            self._size, self._first = 0, b""
            # a reader of its own for each row: after an error nothing of that row is left in it
            record = next(csv.reader(self._lines(), strict=True))
            if record:
                return record

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline(MAX_ROW_BYTES + 1):
            self._size += len(line)
            self._first = self._first or line[:SHOWN_BYTES]
            if not _is_whole(line, self._file) or self._size > MAX_ROW_BYTES:
                raise csv.Error(f"{_TOO_LONG}; is a quote left open?")
            yield line.decode("utf-8", "surrogateescape")


def _is_whole(line: bytes, file: BinaryIO) -> bool:
    """Whether a line is read to its end; if not, pass over the rest of it."""
    if len(line) <= MAX_ROW_BYTES or line.endswith(b"\n"):
        return True
    while rest := file.readline(1 << 20):
        if rest.endswith(b"\n"):
            break
    return False


def _parse_object(line: bytes) -> dict[str, Any]:
    document = json.loads(line.decode(), parse_constant=_refuse)
    if not isinstance(document, dict):
        raise ValueError(f"got {type(document).__name__}")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _fault(record: list[str], names: tuple[str, ...]) -> str | None:
    if len(record) != len(names):
        return f"it has {len(record)} fields, and the header {len(names)}"
    return None if _is_utf8(record) else "it is not UTF-8"


def _is_utf8(texts: Iterable[str]) -> bool:
    """Whether no byte had to be smuggled in as a lone surrogate."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(line: bytes) -> str:
    return line[:SHOWN_BYTES].decode("utf-8", "replace").rstrip("\r\n")
