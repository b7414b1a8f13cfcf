"""Flags that several commands have."""

from __future__ import annotations

import argparse

EXAMPLES = """\
examples:
  ortolan export models/sentiment-minilm -o sentiment
  ortolan run sentiment-analysis "What a day!" "It rained again."
  cat reviews.txt | ortolan run sentiment-analysis --model sentiment - --json
  ortolan run question-answering --model squad --context @report.txt "Who wrote it?"
  ortolan map sentiment-analysis --model sentiment reviews.csv answered.csv
  ortolan inspect sentiment
  ortolan verify sentiment
  ortolan tune sentiment --budget 2m --report sentiment-tuned
  ortolan bench sentiment --against torch,optimum --report bench.html
"""


def command(name: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of a command."""
    return argparse.ArgumentParser(
        prog=f"ortolan {name}",
        description=description,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def folder_command(name: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of a command on an artifact."""
    made = command(name, description)
    made.add_argument("folder", metavar="DIR", help="artifact")
    add_json(made)
    return made


def add_json(made: argparse.ArgumentParser) -> None:
    """Add the flag `--json`."""
    made.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
