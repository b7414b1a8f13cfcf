"""`ortolan run`: answer what stands on the command line, or comes in on stdin."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ortolan.commands.asking import add_model_flags, add_task, open_pipeline, options_of, without_doubles
from ortolan.commands.flags import add_json, command
from ortolan.commands.shown import shown
from ortolan.errors import ConfigError, InvalidInputError, MissingFileError, OrtolanError
from ortolan.mapping.documents import to_json


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan run`."""
    made = command("run", "Answer texts.")
    add_task(made)
    made.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="texts, questions, queries or prompts; '-' or none reads one a line from stdin, blank lines left out",
    )
    add_model_flags(made)
    made.add_argument("--context", metavar="TEXT|@FILE", help="question-answering: where the answers are")
    made.add_argument("--documents", metavar="FILE|-", help="text-ranking: what to rank, one a line")
    made.add_argument("--top-k", metavar="K", type=int, help="answers to each text; 0 for all")
    add_json(made)
    return made


def act(flags: argparse.Namespace) -> int:
    """Run `ortolan run`."""
    options = options_of(flags)
    if flags.top_k is not None:
        options = without_doubles([*options.items(), ("top_k", flags.top_k or None)])
    pipe = open_pipeline(flags, options)
    texts, inputs = _inputs(flags, pipe.task)
    results = pipe.attempt(inputs)
    for result in results:
        if isinstance(result, OrtolanError):
            raise result
    if flags.json:
        print(to_json(results))
        return 0
    for text, asked, result in zip(texts, inputs, results, strict=True):
        for line in shown(pipe.task, result, text, asked):
            print(line)
    return 0


def _inputs(flags: argparse.Namespace, task: str) -> tuple[list[str], list[Any]]:
    """Find the texts, and what the pipeline is asked for each."""
    for flag, wanted in (("context", "question-answering"), ("documents", "text-ranking")):
        if (getattr(flags, flag) is None) == (task == wanted):
            verb = "needs" if task == wanted else "has no"
            raise ConfigError(f"{task} requested", f"it {verb} --{flag}", "see 'ortolan run --help'")
    reads_stdin = not flags.texts or flags.texts == ["-"]
    if reads_stdin and flags.documents == "-":
        raise ConfigError("--documents - requested", "the queries come from stdin too", "pass the query as TEXT")
    texts = list(_lines(sys.stdin)) if reads_stdin else flags.texts
    if flags.context is not None:
        context = flags.context
        context = _read(Path(context[1:])) if context.startswith("@") else context
        return texts, [{"question": text, "context": context} for text in texts]
    if flags.documents is not None:
        lines = sys.stdin if flags.documents == "-" else _read(Path(flags.documents)).split("\n")
        documents = list(_lines(lines))
        return texts, [{"query": text, "documents": documents} for text in texts]
    return texts, texts


def _lines(lines: Iterable[str]) -> Iterator[str]:
    try:
        for line in lines:
            if line.strip():
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "texts on stdin requested", f"they are not {error.encoding} ({error.reason})", "convert them to UTF-8"
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"'{path}' requested", "it is not UTF-8", "convert it") from error
    except OSError as error:
        raise MissingFileError(f"'{path}' requested", f"it can't be read ({error})", "check the path") from error
