"""parquet, through pyarrow where it is installed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError
from ortolan.mapping.documents import to_json
from ortolan.mapping.rows import Place, Row, Source

_CHUNK_ROWS = 1024
"""Rows that are in memory at once, and in a row group at least."""


class Parquet:
    """A table in parquet."""

    def __init__(self, path: Path, only: Sequence[str] | None = None) -> None:
        """Open a file.

        Args:
            path: The file.
            only: Columns that its rows have; None for all.
        """
        self._asked = f"'{path}' requested"
        self._only = None if only is None else list(only)
        with _told(self._asked):
            self._file = _pyarrow("parquet").ParquetFile(path)
        self.columns: tuple[str, ...] | None = tuple(self._file.schema_arrow.names)
        if len(set(self.columns)) < len(self.columns):
            raise InvalidInputError(self._asked, "a column is there twice", "name each column once")

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        return int(self._file.metadata.num_rows)

    @property
    def schema(self) -> Any:
        """Names and types of the columns, as pyarrow has them."""
        return self._file.schema_arrow

    def rows(self, start: Place) -> Iterator[Row]:
        """Read the rows from a place on; see `Source.rows`."""
        with _told(self._asked):
            for number, batch in self.batches():
                if number + batch.num_rows <= start.number:
                    continue
                for position, values in enumerate(_readable(batch, self._only), start=number + 1):
                    if position > start.number:
                        yield Row(values, Place(position))

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Read record batches, each with the number of rows before it."""
        number = 0
        for batch in self._file.iter_batches(batch_size=_CHUNK_ROWS):
            yield number, batch
            number += batch.num_rows


def check_installed() -> None:
    """Check that parquet can be read and written.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    _pyarrow()


def write_parquet(source: Source, results: Path, name: str, target: Path) -> None:
    """Join the rows of a file with their results.

    Args:
        source: The rows.
        results: Lines that hold the number of a row and its result, in order; rows without one are left out.
        name: Of the column of results. If they have no common type, it holds JSON, and so does any other such column.
        target: The file to write.
    """
    arrow = _pyarrow()
    types = _types(source, results, name)
    schema = arrow.schema([(column, arrow.string() if kind is None else kind) for column, kind in types.items()])
    with _pyarrow("parquet").ParquetWriter(target, schema) as writer:
        for columns in _chunks(source, results, name):
            nothing = [None] * len(columns[name])
            arrays = [_array(columns.get(column, nothing), kind) for column, kind in types.items()]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _readable(batch: Any, only: Sequence[str] | None) -> list[dict[str, Any]]:
    """Rows of a batch as Python has them; times in nanoseconds, which it has not, as texts."""
    arrow = _pyarrow()
    if only is not None:
        batch = batch.select([name for name in only if name in batch.schema.names])
    for place, field in enumerate(batch.schema):
        if arrow.types.is_timestamp(field.type) and field.type.unit == "ns":
            batch = batch.set_column(place, field.name, batch.column(place).cast(arrow.string()))
    return list(batch.to_pylist())


def _types(source: Source, results: Path, name: str) -> dict[str, Any]:
    """Find the type of each column; None, for JSON, where no other fits all of its values."""
    arrow = _pyarrow()
    nothing = arrow.null()
    known = dict(zip(source.schema.names, source.schema.types, strict=True)) if isinstance(source, Parquet) else {}
    found: dict[str, Any] = dict.fromkeys(source.columns or (), nothing)
    for columns in _chunks(source, results, name):
        for column, values in columns.items():
            if column not in known:
                found[column] = _common(found.get(column, nothing), values)
    last = found.pop(name, nothing)
    types = {**found, **known, name: last}
    return {
        column: arrow.string() if kind == nothing and column not in known else kind for column, kind in types.items()
    }


def _common(kind: Any, values: Sequence[Any]) -> Any:
    """Widen a type so that values fit; None once nothing fits them all."""
    arrow = _pyarrow()
    if kind is None:
        return None
    try:
        schemas = [arrow.schema([("column", one)]) for one in (kind, arrow.array(values).type)]
        return arrow.unify_schemas(schemas, promote_options="permissive").types[0]
    except (arrow.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _array(values: Any, kind: Any) -> Any:
    arrow = _pyarrow()
    if not isinstance(values, list):
        return values
    if kind is None:
        return arrow.array([to_json(value) for value in values], arrow.string())
    return arrow.array(values, kind)


def _chunks(source: Source, results: Path, name: str) -> Iterator[dict[str, Any]]:
    """Go through rows and results together, column by column; columns are lists, or arrays of pyarrow."""
    answered = _results(results)
    if isinstance(source, Parquet):
        yield from _batches_with(answered, source, name)
        return
    pairs = _paired(answered, source.rows(Place()))
    while chunk := list(islice(pairs, _CHUNK_ROWS)):
        names = dict.fromkeys(column for values, _ in chunk for column in values)
        columns: dict[str, Any] = {column: [values.get(column) for values, _ in chunk] for column in names}
        yield {**columns, name: [result for _, result in chunk]}


def _batches_with(answered: Iterator[tuple[int, Any]], source: Parquet, name: str) -> Iterator[dict[str, Any]]:
    waiting = next(answered, None)
    for before, batch in source.batches():
        places, values = [], []
        while waiting is not None and waiting[0] <= before + batch.num_rows:
            places.append(waiting[0] - before - 1)
            values.append(waiting[1])
            waiting = next(answered, None)
        taken = batch.take(_pyarrow().array(places, _pyarrow().int64()))
        yield {**dict(zip(batch.schema.names, taken.columns, strict=True)), name: values}


def _paired(answered: Iterator[tuple[int, Any]], rows: Iterable[Row]) -> Iterator[tuple[Any, Any]]:
    by_number = iter(rows)
    for number, result in answered:
        yield next(row.values for row in by_number if row.number == number), result


def _results(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            number, result = json.loads(line)
            yield number, result


@contextmanager
def _told(asked: str) -> Iterator[None]:
    arrow = _pyarrow()
    try:
        yield
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise InvalidInputError(asked, f"it can't be read as parquet ({error})", "write it anew") from error


def _pyarrow(module: str = "") -> Any:
    try:
        return importlib.import_module(f"pyarrow.{module}" if module else "pyarrow")
    except ImportError as error:
        raise ConfigError(
            "parquet requested", "pyarrow is not installed", "run: pip install pyarrow, or use .jsonl or .csv"
        ) from error
