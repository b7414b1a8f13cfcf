"""`ortolan map`: answer every row of a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ortolan.commands.asking import add_model_flags, add_task, open_pipeline, options_of, without_doubles
from ortolan.commands.flags import add_json, command
from ortolan.mapping.documents import to_json
from ortolan.mapping.fields import columns_of
from ortolan.mapping.files import Files
from ortolan.mapping.run import Job, map_file
from ortolan.tasks.base import Writes
from ortolan.tasks.registry import task_named

WINDOW_ROWS = 256
"""Rows that are sorted into batches together."""

WRITING_ROWS = 16
"""The same where each row takes a model seconds."""


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan map`."""
    made = command(
        "map",
        "Answer every row of a file, and write the rows with their results to another: .jsonl, .csv or .parquet. Rows "
        "without an answer go to OUT.rejected.jsonl, with the reason.",
    )
    add_task(made)
    made.add_argument("source", metavar="IN", type=Path, help="the rows")
    made.add_argument("target", metavar="OUT", type=Path, help="where they go, with their results")
    add_model_flags(made)
    made.add_argument(
        "--column",
        metavar="NAME",
        action="append",
        default=[],
        help="which column holds the text (default: text), or FIELD=NAME for tasks that read several",
    )
    made.add_argument("--result", metavar="NAME", help="column for the results (default: the task's name, with _)")
    made.add_argument("--batch-size", metavar="N", type=int, help="rows of a batch; by default as many as are quick")
    made.add_argument("--resume", action="store_true", help="go on with a run that was interrupted, if there is one")
    made.add_argument("--overwrite", action="store_true", help="replace OUT, or begin anew")
    add_json(made)
    return made


def act(flags: argparse.Namespace) -> int:
    """Run `ortolan map`."""
    options = options_of(flags)
    if flags.batch_size is not None:
        options = without_doubles([*options.items(), ("batch_size", flags.batch_size)])
    task = task_named(flags.task)
    columns = columns_of(task.name, flags.column)
    if task.name == "feature-extraction":  # a list of floats takes eight times as much memory as an array
        options = {"return_tensors": "np", **options}
    pipe = open_pipeline(flags, options)
    rows = WRITING_ROWS if isinstance(task, Writes) else WINDOW_ROWS
    size = options.get("batch_size") or 1
    job = Job(
        source=flags.source,
        target=flags.target,
        columns=columns,
        result=flags.result or task.name.replace("-", "_"),
        options=options,
        window_rows=max(1, rows // size) * size,
        resume=flags.resume,
        overwrite=flags.overwrite,
    )
    try:
        done = map_file(pipe, job)
    except KeyboardInterrupt:
        print("ortolan map: interrupted; what was done is kept, and --resume goes on with it", file=sys.stderr)
        return 1
    if flags.json:
        print(to_json({name: getattr(done, name) for name in ("answered", "rejected", "truncated")}))
        return 0
    cut = f", {done.truncated} texts cut" if done.truncated else ""
    side = f", {done.rejected} rejected: see {Files.of(flags.target).rejected}" if done.rejected else ""
    print(f"{done.answered} rows answered{cut}{side}", file=sys.stderr)
    return 0
