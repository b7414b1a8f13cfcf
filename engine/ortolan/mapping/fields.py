"""Which columns of a row a task reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError

_FIELDS = {"question-answering": ("question", "context"), "text-ranking": ("query", "documents")}
"""What a task reads that does not read a `text`."""

_READS_PAIRS = ("text-classification", "feature-extraction")
"""Tasks that read a `text_pair` too, where there is one."""

_LISTS = ("documents",)
"""Fields that hold lists; in formats without lists, as JSON."""


def columns_of(task: str, chosen: Iterable[str] = ()) -> dict[str, str]:
    """Say which column holds each field that a task reads.

    Args:
        task: Its name.
        chosen: What the user said: COLUMN, where the task reads one text, or FIELD=COLUMN.

    Raises:
        ConfigError: No such field, or more than one that COLUMN may be meant for.
    """
    fields = _FIELDS.get(task, ("text", "text_pair") if task in _READS_PAIRS else ("text",))
    columns = {field: field for field in fields}
    for choice in chosen:
        field, is_named, column = choice.partition("=")
        if is_named and field in columns:
            columns[field] = column
        elif "text" in columns:
            columns["text"] = choice
        else:
            raise ConfigError(
                f"column '{choice}' requested",
                f"{task} reads {' and '.join(fields)}",
                f"write {fields[0]}={choice}",
            )
    return columns


def check_columns(columns: Mapping[str, str], there: Sequence[str], result: str) -> None:
    """Check that a table has what a task reads, and room for the result.

    Raises:
        InvalidInputError: A column is missing, or the result's name is taken.
    """
    for field, column in columns.items():
        if column not in there and field != "text_pair":
            raise InvalidInputError(
                f"column '{column}' requested", f"there are {', '.join(there) or 'none'}", "name another with --column"
            )
    if result in there:
        raise InvalidInputError(
            f"a column '{result}' for the results requested", "there is one already", "name another with --result"
        )


def input_of(values: Mapping[str, Any], columns: Mapping[str, str], result: str) -> Any:
    """Take what a task reads from a row.

    Raises:
        InvalidInputError: A column is missing, or the result's name is taken.
    """
    check_columns(columns, list(values), result)
    if list(columns) == ["text"]:
        return values[columns["text"]]
    found = {field: _listed(field, values.get(column)) for field, column in columns.items()}
    if "text_pair" in found and found["text_pair"] in (None, ""):
        return found["text"]
    return found


def weight(item: Any) -> int:
    """Count the characters of an input."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, Mapping):
        return sum(map(weight, item.values()))
    return sum(map(weight, item)) if isinstance(item, (list, tuple)) else 0


def _listed(field: str, value: Any) -> Any:
    if field not in _LISTS or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
