"""How far a run has come, on disk, so that another can go on with it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ortolan.errors import ConfigError
from ortolan.mapping.rows import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What is durable of a run.

    Attributes:
        settings: What the run is: input, task, model, options. One with others can't go on with it.
        number: Number of the last row that was read.
        offset: Where the next row begins, in bytes.
        answered: How many rows have a result.
        rejected: How many have none.
        truncated: How many texts were cut.
        written_bytes: Length of the unfinished output.
        rejected_bytes: Length of the file of rejected rows.
        columns: Those of the output, where the first row decided them.
        is_complete: Whether all rows are read.
    """

    settings: Mapping[str, Any]
    number: int = 0
    offset: int = 0
    answered: int = 0
    rejected: int = 0
    truncated: int = 0
    written_bytes: int = 0
    rejected_bytes: int = 0
    columns: tuple[str, ...] | None = None
    is_complete: bool = False

    @property
    def place(self) -> Place:
        """Where to go on reading."""
        return Place(self.number, self.offset)


def read_journal(path: Path) -> Journal | None:
    """Read a journal; None if there is none.

    Raises:
        ConfigError: It is damaged, or of another release.
    """
    try:
        document = json.loads(path.read_bytes())
        columns = document.pop("columns")
        return Journal(**document, columns=None if columns is None else tuple(columns))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' requested", f"it is no journal of this release ({error})", "begin anew with --overwrite"
        ) from error


def write_journal(path: Path, journal: Journal) -> None:
    """Write a journal so that after a crash there is the old one or the new one, and nothing in between."""
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(asdict(journal), file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def check_settings(journal: Journal, settings: Mapping[str, Any]) -> None:
    """Check that a run may go on with a journal.

    Raises:
        ConfigError: It is of another run; the message says what differs.
    """
    names = [name for name in {**journal.settings, **settings} if journal.settings.get(name) != settings.get(name)]
    if names:
        name = names[0]
        raise ConfigError(
            "--resume requested",
            f"{', '.join(names)} changed since ({name} was {journal.settings.get(name)!r:.80}, "
            f"and is {settings.get(name)!r:.80})",
            "run it as before, or begin anew with --overwrite",
        )
