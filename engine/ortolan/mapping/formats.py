"""Which format a file has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ortolan.errors import ConfigError
from ortolan.mapping.arrow import Parquet
from ortolan.mapping.rows import Source
from ortolan.mapping.text_files import Csv, Jsonl

FORMATS: dict[str, Callable[[Path], Source]] = {"jsonl": Jsonl, "csv": Csv, "parquet": Parquet}
"""What reads the rows of each, by the ending of a file's name."""


def format_of(path: Path) -> str:
    """Name the format of a file: a key of `FORMATS`.

    Raises:
        ConfigError: Its name ends in none of them.
    """
    name = path.suffix.lower().removeprefix(".")
    if name not in FORMATS:
        raise ConfigError(f"'{path}' requested", "its format is not known", f"use one of .{', .'.join(FORMATS)}")
    return name


def open_source(path: Path) -> Source:
    """Open a file of rows.

    Raises:
        ConfigError: A format that is not known, or parquet without pyarrow.
        InvalidInputError: It has no header, or can't be read.
    """
    return FORMATS[format_of(path)](path)
