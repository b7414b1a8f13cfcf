"""Rows of a file, one after the other: what each holds, or why it can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Between two rows of a file.

    Attributes:
        number: Of the row before; 0 at the beginning.
        offset: Bytes before it; 0 in a file whose rows are found by number.
    """

    number: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        values: By column; of a row that can't be read, the beginning of its text.
        end: Where the next row begins.
        fault: Why it can't be read; None if it can.
    """

    values: Mapping[str, Any] | str
    end: Place
    fault: str | None = None

    @property
    def number(self) -> int:
        """Which row: the line of a jsonl file; in the other formats counted from 1, without header."""
        return self.end.number


class Source(Protocol):
    """A file of rows.

    Attributes:
        columns: Names of the columns; None where each row has its own.
    """

    columns: tuple[str, ...] | None

    def rows(self, start: Place) -> Iterator[Row]:
        """Read the rows from a place on."""
