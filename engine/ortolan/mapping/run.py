"""Answer the rows of a file: read from top to bottom, `map_file` is what `ortolan map` does.

Rows go in windows that their lengths alone decide, so that a run which was interrupted makes the same batches as one
which was not, and its output is the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError, OrtolanError, TruncatedWarning
from ortolan.mapping.arrow import Parquet, check_installed, write_parquet
from ortolan.mapping.documents import csv_line, to_json
from ortolan.mapping.fields import check_columns, input_of, weight
from ortolan.mapping.files import Files, check_paths, open_at, survey, sync
from ortolan.mapping.formats import format_of, open_source
from ortolan.mapping.journal import Journal, check_settings, read_journal, write_journal
from ortolan.mapping.rows import Row, Source
from ortolan.pipeline import Pipeline
from ortolan.progress import Bar, say
from ortolan.version import __version__

MAX_WINDOW_CHARS = 32_768
"""A window ends once its texts have so many characters: what is lost by an interrupt takes seconds."""

COMMIT_SECONDS = 1.0
"""Least time between two commits, each of which waits for the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        source: The file to read.
        target: The file to write.
        columns: Which column holds each field that the task reads.
        result: Name of the column of results.
        options: Options of the pipeline, for the record.
        window_rows: Most rows of a window.
        resume: Whether to go on with a run that was interrupted.
        overwrite: Whether to replace an output that is there.
    """

    source: Path
    target: Path
    columns: Mapping[str, str]
    result: str
    options: Mapping[str, object]
    window_rows: int = 256
    resume: bool = False
    overwrite: bool = False


def map_file(pipe: Pipeline, job: Job) -> Journal:
    """Answer every row of a file.

    A row that can't be answered goes to a file beside the output, with the reason. The output appears when all rows
    are done; until then what there is of it is beside it, and a journal says how far it has come.

    Returns:
        How many rows were answered and rejected.

    Raises:
        MissingFileError: There is no input, or no folder for the output.
        ConfigError: An output that is there already or is the input, a format that can't be read or written, or a run
            that can't go on since something changed.
        InvalidInputError: The input has no header, lacks a column, or can't be read.
        InferenceError: The model failed.
    """
    files = Files.of(job.target)
    form = format_of(job.target)
    check_paths(job.source, files)
    source = _open(job, form)
    if source.columns is not None:
        check_columns(job.columns, source.columns, job.result)
    look = survey(job.source, has_quotes=format_of(job.source) == "csv")
    num_rows = source.num_rows if isinstance(source, Parquet) else look.lines - (source.columns is not None)
    try:
        journal = _begin(files, job, _settings(pipe, job, look.sha256, form))
        if not journal.is_complete:
            with closing(_Run(pipe, job, files, source, form, journal)) as run:
                journal = run.to_the_end(num_rows)
        _finish(files, source, job.result, form)
    except OSError as error:
        raise ConfigError(
            f"'{job.target}' requested", f"it cannot be written ({error})", "make room, then go on with --resume"
        ) from error
    return journal


def _open(job: Job, form: str) -> Source:
    if form != "parquet":
        return open_source(job.source)
    check_installed()
    if format_of(job.source) == "parquet":  # the other columns go from file to file as they are
        return Parquet(job.source, only=tuple(job.columns.values()))
    return open_source(job.source)


def _settings(pipe: Pipeline, job: Job, sha256: str, form: str) -> dict[str, Any]:
    """All that the output depends on."""
    manifest = json.dumps(pipe.model.artifact.manifest.to_json(), sort_keys=True).encode()
    found = {
        "ortolan": __version__,
        "input": sha256,
        "format": form,
        "task": pipe.task,
        "model": hashlib.sha256(manifest).hexdigest(),
        "precision": pipe.model.precision,
        "provider": pipe.model.provider,
        "options": dict(job.options),
        "columns": dict(job.columns),
        "result": job.result,
        "window": [job.window_rows, MAX_WINDOW_CHARS],
    }
    return dict(json.loads(to_json(found)))  # as it is read again


def _begin(files: Files, job: Job, settings: Mapping[str, Any]) -> Journal:
    """Take the journal of an interrupted run, or make a new one."""
    if job.resume and (journal := read_journal(files.journal)) is not None:
        check_settings(journal, settings)
        return journal
    there = [path for path in (files.target, files.journal, files.rejected) if path.exists()]
    if there and not job.overwrite:
        if files.journal in there:
            found, remedy = "a run that was interrupted has left its journal", "go on with --resume"
        elif job.resume:
            found = f"'{there[0]}' is there, and no journal: it is complete, or of another run"
            remedy = "name another"
        else:
            found, remedy = f"'{there[0]}' is there already", "name another"
        raise ConfigError(f"'{files.target}' requested", found, f"{remedy}, or begin anew with --overwrite")
    files.remove()
    journal = Journal(settings=settings)
    write_journal(files.journal, journal)
    return journal


def _finish(files: Files, source: Source, result: str, form: str) -> None:
    """Let the output appear. Each step may have been done by a run that was interrupted here."""
    if files.partial.exists():
        if form == "parquet":
            write_parquet(source, files.partial, result, files.joined)
            with files.joined.open("r+b") as file:
                sync(file)
            files.joined.replace(files.target)
            files.partial.unlink()
        else:
            files.partial.replace(files.target)
    elif not files.target.exists():
        raise ConfigError(
            "--resume requested", f"'{files.partial}' is gone", "bring it back, or begin anew with --overwrite"
        )
    files.journal.unlink()


@dataclass(frozen=True, slots=True)
class _Item:
    """A row, and what the pipeline is asked; or why it is not asked."""

    row: Row
    input: Any
    fault: str | None


class _Run:
    """One process's share of a run."""

    def __init__(self, pipe: Pipeline, job: Job, files: Files, source: Source, form: str, journal: Journal) -> None:
        self._pipe = pipe
        self._job = job
        self._files = files
        self._source = source
        self._form = form
        self._journal = journal
        self._columns = journal.columns if source.columns is None else (*source.columns, job.result)
        self._rows = open_at(files.partial, journal.written_bytes)
        # there only if a row was rejected
        self._rejected = open_at(files.rejected, journal.rejected_bytes) if files.rejected.exists() else None
        self._said: set[str] = set()

    def to_the_end(self, num_rows: int) -> Journal:
        """Answer the rows that are left."""
        self._write_header()
        begun = self._journal.number
        committed = time.monotonic()
        with closing(Bar(num_rows, self._job.source.name, " rows", begun=min(begun, num_rows), shows_rate=True)) as bar:
            for window in self._windows():
                self._answer(window)
                bar.show(self._journal.number)
                if time.monotonic() - committed >= COMMIT_SECONDS:
                    self._commit()
                    committed = time.monotonic()
        self._journal = replace(self._journal, is_complete=True)
        self._commit()
        return self._journal

    def close(self) -> None:
        """Close the files."""
        for file in (self._rows, self._rejected):
            if file is not None:
                file.close()

    def _windows(self) -> Iterator[list[_Item]]:
        window: list[_Item] = []
        chars = 0
        for row in self._source.rows(self._journal.place):
            window.append(item := self._item(row))
            chars += weight(item.input)
            if len(window) == self._job.window_rows or chars >= MAX_WINDOW_CHARS:
                yield window
                window, chars = [], 0
        if window:
            yield window

    def _item(self, row: Row) -> _Item:
        if row.fault is not None or isinstance(row.values, str):
            return _Item(row, None, row.fault)
        if self._form == "csv":
            if self._columns is None:
                self._columns = (*row.values, self._job.result)
                self._write_header()
            if unknown := [name for name in row.values if name not in self._columns]:
                return _Item(row, None, f"it has a column '{unknown[0]}', which the first row has not")
        try:
            return _Item(row, input_of(row.values, self._job.columns, self._job.result), None)
        except InvalidInputError as error:
            return _Item(row, None, _reason(error))

    def _answer(self, window: list[_Item]) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcomes = iter(self._pipe.attempt([item.input for item in window if item.fault is None]))
        answered = truncated = 0
        for warning in caught:
            if issubclass(warning.category, TruncatedWarning):
                truncated += 1
            elif (text := str(warning.message)) not in self._said:
                self._said.add(text)
                say(f"warning: {text}")
        for item in window:
            outcome = None if item.fault is not None else next(outcomes)
            fault = _reason(outcome) if isinstance(outcome, OrtolanError) else item.fault
            if fault is None:
                self._rows.write(self._line(item.row, outcome).encode())
                answered += 1
            else:
                self._reject(item.row, fault)
        journal, end = self._journal, window[-1].row.end
        self._journal = replace(
            journal,
            number=end.number,
            offset=end.offset,
            answered=journal.answered + answered,
            rejected=journal.rejected + len(window) - answered,
            truncated=journal.truncated + truncated,
        )

    def _line(self, row: Row, result: object) -> str:
        assert not isinstance(row.values, str), "what can't be read is not answered"
        if self._form == "parquet":  # joined with the rows at the end
            return to_json([row.number, result]) + "\n"
        if self._form == "jsonl":
            return to_json({**row.values, self._job.result: result}) + "\n"
        text = None if result is None else to_json(result)
        values = {**row.values, self._job.result: text}
        return csv_line(values.get(name) for name in self._columns or ())

    def _write_header(self) -> None:
        if self._form == "csv" and self._columns is not None and self._rows.tell() == 0:
            self._rows.write(csv_line(self._columns).encode())

    def _reject(self, row: Row, reason: str) -> None:
        if self._rejected is None:
            self._rejected = open_at(self._files.rejected, 0)
        line = to_json({"row": row.number, "reason": reason, "input": row.values})
        self._rejected.write(line.encode() + b"\n")

    def _commit(self) -> None:
        """Make what was done durable: first the rows, then the journal that counts on them."""
        sync(self._rows)
        if self._rejected is not None:
            sync(self._rejected)
        self._journal = replace(
            self._journal,
            written_bytes=self._rows.tell(),
            rejected_bytes=0 if self._rejected is None else self._rejected.tell(),
            columns=self._columns,
        )
        write_journal(self._files.journal, self._journal)


def _reason(error: OrtolanError) -> str:
    """What an error says, without the position in a window that means nothing to the reader."""
    index = getattr(error, "index", None)
    return str(error) if index is None else str(error).replace(f" at index {index}", "", 1)
