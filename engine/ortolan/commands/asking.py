"""What `ortolan run` and `ortolan map` have in common: which model answers, and with which options."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from ortolan.config import PRECISIONS
from ortolan.errors import ConfigError
from ortolan.pipeline import Pipeline, pipeline
from ortolan.session.providers import PROVIDERS
from ortolan.tasks.registry import ALIASES, TASKS


def add_task(made: argparse.ArgumentParser) -> None:
    """Add the argument TASK."""
    made.add_argument("task", metavar="TASK", help=", ".join([*TASKS, *ALIASES]))


def add_model_flags(made: argparse.ArgumentParser) -> None:
    """Add the flags that say which model answers, and with which options."""
    made.add_argument("--model", metavar="M", help="artifact, checkpoint or Hub id; by default that of the task")
    made.add_argument("--revision", metavar="REV", help="branch, tag or commit on the Hub")
    made.add_argument("--provider", metavar="P", default="auto", help=f"auto, {', '.join(PROVIDERS)} (default: auto)")
    made.add_argument("--precision", metavar="P", default="auto", help=f"auto, {', '.join(PRECISIONS)} (default: auto)")
    made.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an option of the task, its value in JSON, or else a text; may be repeated",
    )
    made.add_argument("--labels", metavar="A,B,C", help="zero-shot-classification: what to choose from")
    made.add_argument("--truncation", action="store_true", help="cut texts that are too long, instead of refusing them")
    made.add_argument("--max-length", metavar="N", type=int, help="most tokens of a text")


def options_of(flags: argparse.Namespace) -> dict[str, Any]:
    """Collect the options of a pipeline from its flags.

    Raises:
        ConfigError: One that is there twice, or no NAME=VALUE.
    """
    pairs: list[tuple[str, Any]] = [_parse_option(word) for word in flags.option]
    if flags.labels is not None:
        pairs.append(("candidate_labels", [label.strip() for label in flags.labels.split(",")]))
    if flags.truncation:
        pairs.append(("truncation", True))
    if flags.max_length is not None:
        pairs.append(("max_length", flags.max_length))
    return without_doubles(pairs)


def without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of options.

    Raises:
        ConfigError: One is there twice.
    """
    names = [name for name, _ in pairs]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"option {doubles[0]} requested", "it is there twice", "pass it once")
    return dict(pairs)


def open_pipeline(flags: argparse.Namespace, options: dict[str, Any]) -> Pipeline:
    """Load the model, and say on stderr what runs."""
    pipe = pipeline(
        flags.task,
        flags.model,
        revision=flags.revision,
        provider=flags.provider,
        precision=flags.precision,
        **options,
    )
    print(f"{pipe.model.precision} on {pipe.model.provider}: {pipe.model.reason}", file=sys.stderr)
    return pipe


def _parse_option(word: str) -> tuple[str, Any]:
    name, is_pair, value = word.partition("=")
    if not is_pair or not name:
        raise ConfigError(f"option '{word}' requested", "it is no NAME=VALUE", "write it so: --option top_k=3")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
