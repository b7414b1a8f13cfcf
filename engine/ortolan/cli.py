"""The command `ortolan`: its commands, each a file in commands/, and how failures are told."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence

from ortolan.commands import bench, inspect, map, run, tune, verify
from ortolan.commands.flags import EXAMPLES
from ortolan.errors import OrtolanError
from ortolan.version import __version__

DESCRIPTION = "Export transformers models to verified ONNX artifacts and run them without torch."

COMMANDS: dict[str, tuple[Callable[[], argparse.ArgumentParser], Callable[[argparse.Namespace], int]]] = {
    "run": (run.parser, run.act),
    "map": (map.parser, map.act),
    "inspect": (inspect.parser, inspect.act),
    "verify": (verify.parser, verify.act),
    "tune": (tune.parser, tune.act),
    "bench": (bench.parser, bench.act),
}


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
    commands.add_parser("map", help="answer the rows of a file", add_help=False)
    commands.add_parser("inspect", help="show what an artifact holds and the evidence for it", add_help=False)
    commands.add_parser("verify", help="check every hash and replay the golden inputs", add_help=False)
    commands.add_parser("tune", help="find the best way to run an artifact on this machine", add_help=False)
    commands.add_parser("bench", help="time it beside itself, beside other tools, and beside before", add_help=False)
    return made


if __name__ == "__main__":
    sys.exit(main())
