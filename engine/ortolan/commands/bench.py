"""`ortolan bench`: an artifact's precisions side by side, and beside other tools; and what has become slower."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ortolan.bench.ceilings import limits
from ortolan.bench.compare import Change, compare, comparison_text
from ortolan.bench.profile import profile, sentences
from ortolan.bench.records import Record, RecordWriter, read_record
from ortolan.bench.report import html_page, markdown_table, write_csv
from ortolan.bench.statistics import summarize
from ortolan.commands.flags import folder_command
from ortolan.errors import ConfigError
from ortolan.tune.texts import read_texts

ROUNDS = 15
THRESHOLD = 0.1
CONTENDERS = (
    "torch, torch-bf16, torch-compile, pipeline, onnxruntime, optimum, openvino, ctranslate2, genai, "
    "sentence-transformers, fastembed or all"
)


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan bench`."""
    made = folder_command(
        "bench",
        "Time all precisions of an artifact side by side, in turns, and beside other tools. DIR may also be a record "
        "that was written before (.jsonl): then nothing is measured. Exits with 1 where --compare finds a regression.",
    )
    made.add_argument("--against", metavar="A,B", default="", help=f"race others, too: {CONTENDERS}")
    made.add_argument(
        "--checkpoint", metavar="C", help="what the artifact was made of, for others (default: what its manifest names)"
    )
    made.add_argument("--texts", metavar="FILE", type=Path, help="your texts: one a line, or jsonl with text")
    made.add_argument("--shapes", metavar="BxS,..", help="texts x tokens of bare calls, or of prompts: 1x16,8x128")
    made.add_argument("--rounds", metavar="N", type=int, default=ROUNDS, help="turns of each (default: %(default)s)")
    made.add_argument("--provider", choices=("cpu", "cuda"), default="cpu", help="(default: %(default)s)")
    made.add_argument(
        "--report", metavar="PAGE", type=Path, help="write a page: out.html, with out.md and out.csv beside it"
    )
    made.add_argument("--record", metavar="FILE", type=Path, help="keep every sample: out.jsonl")
    made.add_argument("--compare", metavar="OLD", type=Path, help="record to compare with")
    made.add_argument(
        "--threshold", metavar="T", type=float, default=THRESHOLD, help="0.1: slower by 10 %% (default: %(default)s)"
    )
    made.add_argument("--profile", action="store_true", help="say where the time goes, and what to do about it")
    return made


def act(flags: argparse.Namespace) -> int:
    """Run `ortolan bench`."""
    old = None if flags.compare is None else read_record(flags.compare)  # before minutes are spent
    if not 0.0 < flags.threshold < 10.0:
        raise ConfigError(f"--threshold {flags.threshold} requested", "it is no share", "use 0.1 for 10 %")
    if flags.report is not None and flags.report.suffix != ".html":
        raise ConfigError(f"--report {flags.report} requested", "a report is a page", "name it out.html")
    record, words = _read(flags) if flags.folder.endswith(".jsonl") else _measured(flags)
    if flags.report is not None:
        _write_report(record, flags.report, words)
    changes = [] if old is None else compare(old, record, flags.threshold)
    if flags.json:
        print(json.dumps(_document(record, changes, words), ensure_ascii=False))
    else:
        print("\n".join([markdown_table(record), *words]))
        if old is not None:
            print(comparison_text(changes, flags.threshold), end="")
    slower = [change for change in changes if change.is_regression]
    if slower:
        print(f"ortolan bench: {len(slower)} of {len(changes)} cases are slower than before", file=sys.stderr)
    return 1 if slower else 0


def _read(flags: argparse.Namespace) -> tuple[Record, Sequence[str]]:
    """Read a record that was written before."""
    if flags.profile or flags.against or flags.record:
        raise ConfigError(
            f"'{flags.folder}' requested", "it is a record, and nothing is measured", "pass an artifact's folder"
        )
    return read_record(Path(flags.folder)), ()


def _measured(flags: argparse.Namespace) -> tuple[Record, Sequence[str]]:
    # The contenders are the other package's, which this one does not import; by name, as for `ortolan export`.
    bench = importlib.import_module("ortolan_exporters.contenders.bench")
    shapes = importlib.import_module("ortolan_exporters.contenders.subject").parse_shapes
    options = bench.Options(
        folder=Path(flags.folder),
        against=tuple(word.strip() for word in flags.against.split(",") if word.strip()),
        texts=() if flags.texts is None else tuple(read_texts(flags.texts)),
        shapes=() if flags.shapes is None else tuple(shapes(flags.shapes)),
        rounds=flags.rounds,
        provider=flags.provider,
        checkpoint=flags.checkpoint,
    )
    planned = bench.plan(options)
    found = profile(flags.folder, planned.inputs, provider=flags.provider) if flags.profile else None
    with tempfile.TemporaryDirectory() as place:
        path = flags.record or Path(place) / "record.jsonl"
        with RecordWriter(path) as writer:
            bench.race(planned, writer.write)
        record = read_record(path)
    return record, () if found is None else sentences(found, limits(record.ceilings))


def _write_report(record: Record, page: Path, words: Sequence[str]) -> None:
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html_page(record, words), encoding="utf-8")
        page.with_suffix(".md").write_text(markdown_table(record), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"--report {page} requested", f"it cannot be written ({error})", "choose another folder"
        ) from error
    write_csv(record, page.with_suffix(".csv"))


def _document(record: Record, changes: Sequence[Change], words: Sequence[str]) -> dict[str, Any]:
    cases = []
    for case in record.cases:
        found = summarize(case)
        place = {"group": case.group, "subject": case.subject, "case": case.case, "contender": case.contender}
        cases.append({**place, "unit": case.unit, "median": found.median, "p95": found.p95})
    return {
        "cases": cases,
        "missing": [{"contender": one.contender, "reason": one.reason} for one in record.missing],
        "changes": [_change(one) for one in changes],
        "profile": list(words),
    }


def _change(one: Change) -> dict[str, Any]:
    ratio = None if one.ratio is None else [one.ratio.low, one.ratio.middle, one.ratio.high]
    place = {"group": one.group, "subject": one.subject, "case": one.case, "contender": one.contender}
    return {**place, "verdict": one.verdict, "basis": one.basis, "ratio": ratio}
