"""Pictures as text: what drawings of tuning and of benchmarks have in common."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

MAX_TICKS = 9
"""More labels than that stand too close."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML has no way to write."""


def escaped(text: str) -> str:
    """Make text harmless between tags and within quotes, in HTML and in SVG."""
    return html.escape(_FORBIDDEN.sub("\ufffd", text), quote=True)


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """Draw a line of text.

    Args:
        x: Where its anchor is, pixels.
        y: Of its base line.
        content: What it says; escaped here.
        kind: Its CSS class.
        anchor: "start", "middle" or "end".
    """
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escaped(content)}</text>'


class Scale:
    """Numbers to pixels, linear or logarithmic.

    Attributes:
        low: The number at the start.
        high: The number at the end.
    """

    def __init__(self, low: float, high: float, start: float, end: float, *, is_log: bool) -> None:
        """Fix both ends.

        Args:
            low: As above; more than 0 on a logarithmic scale.
            high: More than `low`.
            start: Pixels of `low`.
            end: Pixels of `high`; may be less than `start`.
            is_log: Whether equal distances are equal factors.
        """
        self.low, self.high, self.is_log = low, high, is_log
        self._start, self._end = start, end

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, *, room: float = 1.15) -> Scale:
        """Make a logarithmic scale for values above 0, with some room at both ends."""
        return cls(min(values) / room, max(values) * room, start, end, is_log=True)

    def __call__(self, value: float) -> float:
        """Say at which pixel a number stands."""
        if self.is_log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round numbers in the range: 1, 2, 5, 10 and so on where it is logarithmic; three to nine as a rule."""
        found = self._round_factors() if self.is_log else self._round_steps()
        return found[:: math.ceil(len(found) / MAX_TICKS)]

    def _round_factors(self) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1.0,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), [n / 10 for n in range(10, 100)]):
            found = [digit * 10.0**power for power in powers for digit in digits]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) >= 3 and (len(digits) > 1 or len(found) > 3):
                break
        return found

    def _round_steps(self) -> list[float]:
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]
