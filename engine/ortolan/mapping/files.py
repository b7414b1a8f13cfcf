"""The files of a run: what it reads, what it makes, and what it leaves when it is interrupted."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ortolan.errors import ConfigError, MissingFileError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Files:
    """Where a run writes.

    Attributes:
        target: The output; there once all rows are done, not before.
        partial: What there is of it.
        journal: How far it has come.
        rejected: The rows that have no answer, with the reasons.
        joined: The output in a format that can't be appended to, while it is made of the rest.
    """

    target: Path
    partial: Path
    journal: Path
    rejected: Path
    joined: Path

    @classmethod
    def of(cls, target: Path) -> Files:
        """Name the files that belong to an output."""
        endings = (".partial", ".progress", ".rejected.jsonl", ".joined")
        return cls(target, *(target.with_name(target.name + ending) for ending in endings))

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file that a run writes to."""
        return self.target, self.partial, self.journal, self.rejected, self.joined

    def remove(self) -> None:
        """Remove what another run has left; its output stays until it is replaced."""
        for path in (self.journal, self.partial, self.rejected, self.joined):
            path.unlink(missing_ok=True)


def check_paths(source: Path, files: Files) -> None:
    """Check that there is something to read, and that it is not written over.

    Raises:
        MissingFileError: There is no such file, or no such folder.
        ConfigError: Input and output are the same file.
    """
    if not source.is_file():
        raise MissingFileError(f"'{source}' requested", "there is no such file", "check the path")
    if not files.target.parent.is_dir():
        raise MissingFileError(f"'{files.target}' requested", "there is no such folder", "make it, or check the path")
    for path in files.all:
        if path.resolve() == source.resolve() or (path.exists() and path.samefile(source)):
            raise ConfigError(
                f"'{files.target}' requested", f"it would write over its own input '{source}'", "name another output"
            )


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a text file after one look.

    Attributes:
        sha256: Of its content, in hexadecimal.
        lines: How many lines it has; those with an open quote not counted, if quotes matter.
    """

    sha256: str
    lines: int


def survey(path: Path, *, has_quotes: bool) -> Survey:
    """Read a file once from beginning to end."""
    digest, lines, quotes, block = hashlib.sha256(), 0, 0, b""
    with path.open("rb") as file:
        while last := file.readline(_BLOCK_BYTES):
            block = last
            digest.update(block)
            quotes += block.count(b'"') if has_quotes else 0
            lines += block.endswith(b"\n") and quotes % 2 == 0
    return Survey(digest.hexdigest(), lines + bool(block and not block.endswith(b"\n")))


def open_at(path: Path, length: int) -> BinaryIO:
    """Open a file to append to it, without what is after `length` bytes: that was not yet in the journal.

    Raises:
        ConfigError: It is shorter.
    """
    found = path.stat().st_size if path.exists() else 0
    if found < length:
        raise ConfigError(
            "--resume requested",
            f"'{path}' has {found:,} bytes, and {length:,} were written",
            "bring it back, or begin anew with --overwrite",
        )
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(length)
    file.seek(length)
    return file


def sync(file: BinaryIO) -> None:
    """Have what was written to a file on disk."""
    file.flush()
    os.fsync(file.fileno())
