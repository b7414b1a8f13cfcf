"""`ortolan tune`: the best way to run an artifact on this machine."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from ortolan.commands.flags import folder_command
from ortolan.session.providers import PROVIDERS
from ortolan.tune.api import tune
from ortolan.tune.options import parse_budget
from ortolan.tune.pareto import PREFERENCES
from ortolan.tune.texts import read_texts


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan tune`."""
    made = folder_command(
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


def act(flags: argparse.Namespace) -> int:
    """Run `ortolan tune`."""
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
