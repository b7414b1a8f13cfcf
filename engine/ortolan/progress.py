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

    def __init__(self, total: int, what: str, unit: str = "", *, begun: int = 0, shows_rate: bool = False) -> None:
        """Begin with nothing done, or where earlier work ended.

        Args:
            total: How much there is to do.
            what: What is done, in a few words.
            unit: Of what is counted, shown after the numbers.
            begun: How much is done already, in no time of this bar's.
            shows_rate: Whether to say how much is done in a second.
        """
        self._total = max(1, total)
        self._begun = begun
        self._shows_rate = shows_rate
        self._what = what
        self._unit = unit
        self._start = self._drawn = time.monotonic()
        self._quarters = 4 * begun // self._total
        if sys.stderr.isatty():
            self._draw(begun)

    def show(self, done: int) -> None:
        """Say that so much is done; more than all counts as all."""
        done = min(done, self._total)
        if sys.stderr.isatty():
            if time.monotonic() - self._drawn >= REFRESH_SECONDS:
                self._draw(done)
        elif 4 * done // self._total > self._quarters:
            self._quarters = 4 * done // self._total
            seconds = time.monotonic() - self._start
            pace = _pace(done - self._begun, self._total - self._begun, seconds, True) if self._shows_rate else ""
            say(f"{self._what}: {done} of {self._total}{self._unit}{pace}")

    def close(self) -> None:
        """Remove the bar."""
        _wipe()

    def _draw(self, done: int) -> None:
        self._drawn = time.monotonic()
        seconds = self._drawn - self._start
        line = bar_line(
            self._what, done, self._total, seconds, self._unit, begun=self._begun, shows_rate=self._shows_rate
        )
        # a line that fills the terminal would wrap, and stay there
        print("\r" + line[: _columns()].ljust(_columns()), end="\r", file=sys.stderr, flush=True)


def bar_line(
    what: str, done: int, total: int, seconds: float, unit: str = "", *, begun: int = 0, shows_rate: bool = False
) -> str:
    """Draw a bar.

    Args:
        what: What is done.
        done: How much of it.
        total: Of how much, at least 1.
        seconds: Time it has taken so far.
        unit: Of what is counted.
        begun: How much of it was done before.
        shows_rate: Whether to say how much is done in a second.

    Returns:
        Such as "timing: [#####.....] 5 of 10, 3 s left"; no time as long as nothing is done.
    """
    filled = CELLS * done // total
    bar = f"[{'#' * filled}{'.' * (CELLS - filled)}]"
    return f"{what}: {bar} {done} of {total}{unit}{_pace(done - begun, total - begun, seconds, shows_rate)}"


def _pace(done: int, total: int, seconds: float, shows_rate: bool) -> str:
    if done <= 0:
        return ""
    rate = f", {_rate(done / max(seconds, 1e-9))} a second" if shows_rate else ""
    return f"{rate}, {_duration(seconds * (total - done) / done)} left"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _columns() -> int:
    return shutil.get_terminal_size().columns - 1


def _wipe() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * _columns(), end="\r", file=sys.stderr, flush=True)
