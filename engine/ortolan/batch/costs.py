"""What a run costs on this machine: seconds for a number of rows of a length, measured, interpolated, refined."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ortolan.errors import ConfigError

Shape = tuple[int, int]
"""Rows and length of a batch, B and S."""

SHORTEST = 8
"""Lengths below it cost as much as it does."""

RATE = 0.03
"""An observation moves what is expected by this share of the difference, so that it follows the mean."""

WILDEST = 3.0
"""A run that took more than so many times what was expected met a hiccup, and counts as if it had taken that."""

NOTICEABLE = 0.04
"""What is expected is worked out anew when observations have moved it by so much."""

COMMON = 0.25
"""This part of it moves the whole table: what slows one shape down, a busy machine or a cooler one, does so to all."""

KNOWN_AFTER = 2
"""A batch was observed often enough, at the points around it, to be believed that it saves nothing."""

HOPE = 0.8
"""Until then it is taken to cost at most this share of its texts alone: what is never tried is never learned."""

PRIOR: tuple[float, float, float] = (16.0, 1.0, 1 / 2048)
"""Cost of a run, of a token, and of a pair of tokens of one row, in proportion, where too little was measured to tell.
Running a graph at all costs as much as a few tokens; attention over S tokens meets the rest of the layers near S = 2048
(for H = 384 to 1024)."""

PRIOR_WEIGHT = 0.05
"""How much the prior counts beside one measured point."""


class CostTable:
    """Seconds of a run, by rows and length of the batch.

    The table has a value at powers of two of both, interpolated between them in logarithms. Values that were not
    measured come from a fit of `a + b * B * S + c * B * S * S` to those that were. Not safe to call from several
    threads: its owner locks it.

    Attributes:
        max_rows: Most rows it is asked for.
        max_length: Most tokens of a row it is asked for.
        fitted: `a, b, c` of the fit, seconds.
    """

    def __init__(self, measured: Mapping[Shape, float], *, max_rows: int, max_length: int) -> None:
        """Fill the table.

        Args:
            measured: Seconds by rows and length, one at least.
            max_rows: Most rows of a batch.
            max_length: Most tokens of a row.

        Raises:
            ConfigError: Nothing was measured, or something that is no time.
        """
        if not measured or not all(math.isfinite(taken) and taken > 0 for taken in measured.values()):
            raise ConfigError("a cost table requested", f"measured {dict(measured)!r}", "pass seconds above zero")
        self.max_rows = max_rows
        self.max_length = max(max_length, SHORTEST)
        self._rows = _powers(1, max_rows)
        self._lengths = _powers(SHORTEST, self.max_length)
        # shares of the points in the value of each number of rows: [max_rows, points]
        self._row_shares = np.array([_shares(self._rows, rows) for rows in range(1, max_rows + 1)])
        self._column_shares: dict[int, NDArray[np.float64]] = {}
        self.fitted = fit(measured)
        self._values = np.array([[math.log(_estimate(self.fitted, (b, s))) for s in self._lengths] for b in self._rows])
        self._seen = np.zeros_like(self._values)
        for (rows, length), seconds in measured.items():
            if rows <= max_rows and length <= self.max_length:
                self._move(rows, length, math.log(seconds) - self._value(rows, length))
                self._seen += KNOWN_AFTER * self._shares(rows, length)
        self._moved = 0.0
        self._by_rows: dict[int, list[float]] = {}
        self._prices: dict[int, float] = {}

    def seconds(self, rows: int, length: int) -> float:
        """How long a run of `rows` texts takes, the longest of which has `length` tokens, padding counted."""
        if rows <= self.max_rows:
            return self.by_rows(length)[rows]
        return self.by_rows(length)[self.max_rows] * rows / self.max_rows

    def by_rows(self, length: int) -> list[float]:
        """Seconds of runs of 0, 1, ... `max_rows` texts, the longest of which has `length` tokens.

        The list is the table's own: it must not be changed.
        """
        length = min(max(length, SHORTEST), self.max_length)
        if (known := self._by_rows.get(length)) is None:
            column = self._column(length)
            seconds = np.exp(self._row_shares @ (self._values @ column))
            is_unknown = self._row_shares @ (self._seen @ column) < KNOWN_AFTER
            is_unknown[0] = False
            hoped = HOPE * seconds[0] * np.arange(1, self.max_rows + 1)
            known = [0.0, *np.where(is_unknown, np.minimum(seconds, hoped), seconds).tolist()]
            self._by_rows[length] = known
        return known

    def price(self, length: int) -> float:
        """Least seconds that a text of this length costs in company of its like: what it adds to the work waiting."""
        length = min(max(length, SHORTEST), self.max_length)
        if (known := self._prices.get(length)) is None:
            costs = self.by_rows(length)
            known = min(costs[rows] / rows for rows in range(1, self.max_rows + 1))
            self._prices[length] = known
        return known

    def observe(self, rows: int, length: int, seconds: float) -> None:
        """Learn from a run."""
        if not (0 < rows <= self.max_rows and 0 < length <= self.max_length and math.isfinite(seconds) and seconds > 0):
            return
        times = seconds / math.exp(self._value(rows, length))
        step = RATE * (min(times, WILDEST) - 1)
        self._values += COMMON * step
        self._move(rows, length, (1 - COMMON) * step)
        self._seen += self._shares(rows, length)
        self._moved += abs(step) + NOTICEABLE / 16  # the last so that shapes come to be known
        if self._moved > NOTICEABLE:
            self._moved = 0.0
            self._by_rows.clear()
            self._prices.clear()

    def points(self) -> dict[Shape, float]:
        """Seconds at all points of the table."""
        return {
            (rows, length): math.exp(value)
            for rows, values in zip(self._rows, self._values, strict=True)
            for length, value in zip(self._lengths, values, strict=True)
        }

    def _column(self, length: int) -> NDArray[np.float64]:
        """Shares of the points in the value of a length."""
        if (known := self._column_shares.get(length)) is None:
            known = self._column_shares[length] = np.array(_shares(self._lengths, length))
        return known

    def _shares(self, rows: int, length: int) -> NDArray[np.float64]:
        """Shares of all points of the table in the value of a shape."""
        return np.outer(self._row_shares[rows - 1], self._column(length))

    def _value(self, rows: int, length: int) -> float:
        return float(np.sum(self._shares(rows, length) * self._values))

    def _move(self, rows: int, length: int, by: float) -> None:
        """Change the points around a shape so that its own value changes by so much."""
        shares = self._shares(rows, length)
        self._values += by * shares / np.sum(shares * shares)


def fit(measured: Mapping[Shape, float]) -> tuple[float, float, float]:
    """Fit `a + b * B * S + c * B * S * S` to measured seconds, none of the three below zero.

    Errors count in proportion to what was measured. `PRIOR`, scaled to it, fills in for what the points don't tell.

    Args:
        measured: Seconds by rows and length, one at least.
    """
    shapes, taken = list(measured), np.array(list(measured.values()))
    features = np.array([_features(shape) for shape in shapes]) / taken[:, None]
    scale = 1 / float(np.median(features @ np.array(PRIOR)))
    prior = np.diag(PRIOR_WEIGHT / (np.array(PRIOR) * scale))
    matrix, target = np.vstack([features, prior]), np.append(np.ones(len(shapes)), np.full(3, PRIOR_WEIGHT))
    a, b, c = _non_negative_least_squares(matrix, target)
    return a, b, c


def _non_negative_least_squares(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> list[float]:
    """Solve for few unknowns by trying which of them are zero."""
    best, found = math.inf, [0.0] * matrix.shape[1]
    for chosen in range(1, 1 << matrix.shape[1]):
        columns = [column for column in range(matrix.shape[1]) if chosen >> column & 1]
        solution = np.linalg.lstsq(matrix[:, columns], target, rcond=None)[0]
        error = float(np.sum((matrix[:, columns] @ solution - target) ** 2))
        if (solution >= 0).all() and error < best:
            best, found = error, [0.0] * matrix.shape[1]
            for column, value in zip(columns, solution, strict=True):
                found[column] = float(value)
    return found


def _features(shape: Shape) -> tuple[float, float, float]:
    rows, length = shape
    return 1.0, rows * length, rows * length * length


def _estimate(fitted: tuple[float, float, float], shape: Shape) -> float:
    return max(sum(part * feature for part, feature in zip(fitted, _features(shape), strict=True)), 1e-9)


def _powers(first: int, last: int) -> list[int]:
    powers = [first]
    while powers[-1] * 2 < last:
        powers.append(powers[-1] * 2)
    return powers if powers[-1] >= last else [*powers, last]


def _shares(points: Sequence[int], value: int) -> list[float]:
    """Share of each point in what lies at a value, by distance in logarithms to the points on either side of it."""
    shares = [0.0] * len(points)
    value = min(max(value, points[0]), points[-1])
    above = next(index for index, point in enumerate(points) if point >= value)
    below = max(0, above - 1)
    share = 1.0 if above == below else math.log(value / points[below]) / math.log(points[above] / points[below])
    shares[below] += 1.0 - share
    shares[above] += share
    return shares
