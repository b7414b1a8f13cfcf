"""Flags and environment to calls into the library; no logic of its own."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from ortolan.artifact import Artifact
from ortolan.config import PRECISIONS
from ortolan.errors import InvalidInputError, OrtolanError
from ortolan.manifest import PrecisionRecord
from ortolan.pipeline import pipeline
from ortolan.session.providers import PROVIDERS
from ortolan.tasks.registry import ALIASES, TASKS
from ortolan.tune.api import tune
from ortolan.tune.options import parse_budget
from ortolan.tune.pareto import PREFERENCES
from ortolan.tune.texts import read_texts
from ortolan.verify import verify
from ortolan.version import __version__

DESCRIPTION = "Export transformers models to verified ONNX artifacts and run them without torch."

MAX_LABELS_SHOWN = 20

EXAMPLES = """\
examples:
  ortolan export models/sentiment-minilm -o sentiment
  ortolan run sentiment-analysis "What a day!" "It rained again."
  cat reviews.txt | ortolan run sentiment-analysis --model sentiment - --json
  ortolan inspect sentiment
  ortolan verify sentiment
  ortolan tune sentiment --budget 2m --report sentiment-tuned
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `ortolan`.

    Returns:
        0 done, 1 failed (one line on stderr says what was asked, found, and to be done). Wrong usage exits with 2.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = parser().parse_args(words[:1]).command
    if command == "export":
        # The exporter is the other package, which this one does not import: `ortolan run` needs none of it.
        return int(importlib.import_module("ortolan_exporters.cli").main(words[1:]))
    describe, act = COMMANDS[command]
    # intermixed: `ortolan run TASK --model M TEXT`, options between positional arguments
    flags = describe().parse_intermixed_args(words[1:])
    try:
        return act(flags)
    except OrtolanError as error:
        if flags.json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
        print(f"ortolan {command}: error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"ortolan {command}: interrupted", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan` itself, which reads no more than the command."""
    made = argparse.ArgumentParser(
        prog="ortolan",
        usage="ortolan COMMAND ...",
        description=DESCRIPTION + " 'ortolan COMMAND --help' says more.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"ortolan {__version__}")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("export", help="make an artifact of a checkpoint", add_help=False)
    commands.add_parser("run", help="answer texts", add_help=False)
    commands.add_parser("inspect", help="show what an artifact holds and the evidence for it", add_help=False)
    commands.add_parser("verify", help="check every hash and replay the golden inputs", add_help=False)
    commands.add_parser("tune", help="find the best way to run an artifact on this machine", add_help=False)
    return made


def run_parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan run`."""
    run = _command("run", "Answer texts.")
    run.add_argument("task", metavar="TASK", help=", ".join([*TASKS, *ALIASES]))
    run.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="texts; '-' or none reads one text a line from stdin, blank lines left out",
    )
    run.add_argument("--model", metavar="M", help="artifact, checkpoint or Hub id; by default that of the task")
    run.add_argument("--revision", metavar="REV", help="branch, tag or commit on the Hub")
    run.add_argument("--provider", metavar="P", default="auto", help=f"auto, {', '.join(PROVIDERS)} (default: auto)")
    run.add_argument("--precision", metavar="P", default="auto", help=f"auto, {', '.join(PRECISIONS)} (default: auto)")
    run.add_argument("--top-k", metavar="K", type=int, help="labels for each text; 0 for all")
    run.add_argument("--truncation", action="store_true", help="cut texts that are too long, instead of refusing them")
    run.add_argument("--max-length", metavar="N", type=int, help="most tokens of a text")
    _add_json(run)
    return run


def inspect_parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan inspect`."""
    return _folder_command("inspect", "Show what an artifact holds and the evidence for it.")


def verify_parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan verify`."""
    return _folder_command("verify", "Check every hash of an artifact, and replay its golden inputs on the CPU.")


def tune_parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan tune`."""
    made = _folder_command(
        "tune",
        "Measure the ways to run an artifact on this machine, show them, and keep the best one for --precision auto. "
        "What was measured is kept too: another run goes on with it.",
    )
    made.add_argument(
        "--budget", metavar="T", default="60s", help="how long to measure: 60s, 2m (default: %(default)s)"
    )
    made.add_argument(
        "--prefer", choices=PREFERENCES, default=PREFERENCES[0], help="what to be best at (default: %(default)s)"
    )
    made.add_argument("--provider", metavar="P", default="auto", help=f"auto, {', '.join(PROVIDERS)} (default: auto)")
    made.add_argument(
        "--texts", metavar="FILE", type=Path, help="compare precisions on these: a text a line, or jsonl with text"
    )
    made.add_argument("--report", metavar="DIR", type=Path, help="write tune.txt, tune.json and tune.svg there")
    made.add_argument("--fresh", action="store_true", help="forget what was measured before")
    return made


def _command(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"ortolan {name}",
        description=description,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _folder_command(name: str, description: str) -> argparse.ArgumentParser:
    made = _command(name, description)
    made.add_argument("folder", metavar="DIR", help="artifact")
    _add_json(made)
    return made


def _add_json(made: argparse.ArgumentParser) -> None:
    made.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")


def _run(flags: argparse.Namespace) -> int:
    options: dict[str, Any] = {"truncation": flags.truncation, "max_length": flags.max_length}
    if flags.top_k is not None:
        options["top_k"] = flags.top_k or None
    pipe = pipeline(
        flags.task,
        flags.model,
        revision=flags.revision,
        provider=flags.provider,
        precision=flags.precision,
        **options,
    )
    print(f"{pipe.model.precision} on {pipe.model.provider}: {pipe.model.reason}", file=sys.stderr)
    texts = flags.texts if flags.texts and flags.texts != ["-"] else list(_lines())
    results = pipe(texts)
    if flags.json:
        print(json.dumps(results, ensure_ascii=False))
        return 0
    for text, result in zip(texts, results, strict=True):
        labels = result if isinstance(result, list) else [result]
        print("  ".join(f"{one['label']} {one['score']:.4f}" for one in labels), text, sep="\t")
    return 0


def _lines() -> Iterator[str]:
    try:
        for line in sys.stdin:
            if line.strip():
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            "texts on stdin requested", f"they are not {error.encoding} ({error.reason})", "convert them to UTF-8"
        ) from error


def _inspect(flags: argparse.Namespace) -> int:
    artifact = Artifact.open(flags.folder)
    manifest = artifact.manifest
    if flags.json:
        note = {"is_foreign": True} if artifact.is_foreign else {}
        print(json.dumps({**manifest.to_json(), **note}, ensure_ascii=False))
        return 0
    size = sum(record.bytes for record in manifest.files.values())
    print(f"{manifest.source['name']}: {manifest.architecture}, {manifest.task}, up to {manifest.max_length} tokens")
    maker = "another tool: its quality is unverified" if artifact.is_foreign else f"ortolan {manifest.ortolan}"
    print(f"{len(manifest.files)} files, {size / 1e6:.1f} MB, exported by {maker}")
    if manifest.task.endswith("classification"):
        if len(labels := list(artifact.id2label.values())) > MAX_LABELS_SHOWN:
            labels = [*labels[:MAX_LABELS_SHOWN], f"and {len(labels) - MAX_LABELS_SHOWN} more"]
        print("labels: " + ", ".join(labels))
    for precision, record in manifest.precisions.items():
        graph = record.graphs["model"]
        size = sum(manifest.files[name].bytes for name in artifact.files_of(graph))
        print(f"\n{precision}: {graph.file}, {size / 1e6:.1f} MB")
        for spec in (*graph.signature.inputs, *graph.signature.outputs):
            print(f"  {spec.name}: {spec.dtype}[{', '.join(str(axis) for axis in spec.shape)}]")
        if not artifact.is_foreign:
            _print_evidence(precision, record)
    if left_out := manifest.source.get("left_out"):
        print(
            "\nnot used: "
            + ", ".join(f"{name} ({other or 'of no known precision'})" for name, other in left_out.items())
        )
    return 0


def _print_evidence(precision: str, record: PrecisionRecord) -> None:
    for provider, choice in record.providers.items():
        without = ", ".join(choice["disabled_optimizers"]) or "none"
        print(f"  {provider}: {choice['attention']} attention, disabled optimizers: {without}")
    print(f"  outputs within {record.parity['max_difference']:.2g} of torch in {record.parity['batches']} batches")
    print(f"  {_quality(record.quality)}")
    if metric := record.quality.get("metric"):
        print(
            f"  {metric['name']} on {metric['texts']} examples: torch {metric['torch']:.4f}, "
            f"{precision} {metric['this']:.4f}"
        )
    if record.kept_fp32:
        print(f"  kept in fp32: {', '.join(record.kept_fp32)}")


def _quality(quality: Mapping[str, Any]) -> str:
    if quality["measure"] == "cosine":
        return (
            f"cosine with torch's {quality['mean_cosine']:.5f} on average, {quality['min_cosine']:.5f} at least, "
            f"of {quality['texts']} texts"
        )
    return (
        f"same label {quality['label_agreement']:.2%} of {quality['texts']} texts, probabilities differ by "
        f"{quality['mean_probability_difference']:.2g} on average, {quality['max_probability_difference']:.2g} at most"
    )


def _verify(flags: argparse.Namespace) -> int:
    checks = verify(Path(flags.folder))
    if flags.json:
        document = [{"check": c.name, "passed": c.passed, "detail": c.detail} for c in checks]
        print(json.dumps(document, ensure_ascii=False))
    else:
        for check in checks:
            print(f"{'ok' if check.passed else 'FAILED':<7} {check.name}: {check.detail}")
    failed = [check.name for check in checks if not check.passed]
    if failed:
        print(f"ortolan verify: error: {flags.folder} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _tune(flags: argparse.Namespace) -> int:
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        report = tune(
            flags.folder,
            budget_seconds=parse_budget(flags.budget),
            prefer=flags.prefer,
            provider=flags.provider,
            texts=() if flags.texts is None else read_texts(flags.texts),
            fresh=flags.fresh,
        )
    except KeyboardInterrupt:
        print("ortolan tune: interrupted; what was measured is kept, and another run goes on with it", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    if flags.report is not None:
        from ortolan.tune.files import write_report  # here, so that the other commands start quickly

        write_report(report, flags.report)
    print(json.dumps(report.to_json(), ensure_ascii=False) if flags.json else report.to_text(), end="")
    return 0


def _interrupt(_: int, __: FrameType | None) -> None:
    """Turn SIGTERM into what ctrl-C does."""
    raise KeyboardInterrupt


COMMANDS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], int]]] = {
    "run": (run_parser, _run),
    "inspect": (inspect_parser, _inspect),
    "verify": (verify_parser, _verify),
    "tune": (tune_parser, _tune),
}


if __name__ == "__main__":
    sys.exit(main())
