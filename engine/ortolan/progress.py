"""How far long work has come: a bar on a terminal, plain lines elsewhere, always on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

CELLS = 20
"""Width of a bar, in characters."""

REFRESH_SECONDS = 0.1
"""A bar is not drawn more often than this."""


def say(message: str) -> None:
    """Tell the user what happens now."""
    _wipe()
    print(message, file=sys.stderr, flush=True)


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through `items`, showing how many are done.

    Args:
        items: What to go through.
        what: What is done with them, in a few words.
    """
    bar = Bar(len(items), what)
    try:
        for done, item in enumerate(items, start=1):
            yield item
            bar.show(done)
    finally:
        bar.close()


class Bar:
    """How much of something is done: a bar on a terminal, which `close` removes; elsewhere a line for each quarter."""

    def __init__(self, total: int, what: str, unit: str = "") -> None:
        """Begin with nothing done.

        Args:
            total: How much there is to do.
            what: What is done, in a few words.
            unit: Of what is counted, shown after the numbers.
        """
        self._total = max(1, total)
        self._what = what
        self._unit = unit
        self._start = self._drawn = time.monotonic()
        self._quarters = 0
        if sys.stderr.isatty():
            self._draw(0)

    def show(self, done: int) -> None:
        """Say that so much is done; more than all counts as all."""
        done = min(done, self._total)
        if sys.stderr.isatty():
            if time.monotonic() - self._drawn >= REFRESH_SECONDS:
                self._draw(done)
        elif 4 * done // self._total > self._quarters:
            self._quarters = 4 * done // self._total
            say(f"{self._what}: {done} of {self._total}{self._unit}")

    def close(self) -> None:
        """Remove the bar."""
        _wipe()

    def _draw(self, done: int) -> None:
        self._drawn = time.monotonic()
        line = bar_line(self._what, done, self._total, self._drawn - self._start, self._unit)
        # a line that fills the terminal would wrap, and stay there
        print("\r" + line[: _columns()].ljust(_columns()), end="\r", file=sys.stderr, flush=True)


def bar_line(what: str, done: int, total: int, seconds: float, unit: str = "") -> str:
    """Draw a bar.

    Args:
        what: What is done.
        done: How much of it.
        total: Of how much, at least 1.
        seconds: Time it has taken so far.
        unit: Of what is counted.

    Returns:
        Such as "timing: [#####.....] 5 of 10, 3 s left"; no time as long as nothing is done.
    """
    filled = CELLS * done // total
    left = f", {_duration(seconds * (total - done) / done)} left" if done else ""
    return f"{what}: [{'#' * filled}{'.' * (CELLS - filled)}] {done} of {total}{unit}{left}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _columns() -> int:
    return shutil.get_terminal_size().columns - 1


def _wipe() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * _columns(), end="\r", file=sys.stderr, flush=True)
