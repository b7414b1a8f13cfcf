"""What samples amount to: middle and tail of a case, and how two contenders compare, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ortolan.bench.records import Case
from ortolan.errors import ShapeError
from ortolan.timing import Times

RESAMPLES = 2000
"""Draws of a bootstrap; with as many the ends of a 95 % interval stand to about two digits."""

LEVEL = 0.95
"""Share of intervals that should hold what they estimate."""

SEED = 0
"""Of the draws: the same record gives the same report."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the samples of a case amount to, in its unit.

    Attributes:
        median: The middle sample.
        p95: Nineteen of twenty samples were at least as good.
        num_rounds: Rounds.
        num_samples: Samples of all rounds.
    """

    median: float
    p95: float
    num_rounds: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as good as another something is; above 1 is better.

    Attributes:
        middle: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    middle: float
    low: float
    high: float

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves out 1: one of the two is better, beyond the noise of the rounds."""
        return self.low > 1.0 or self.high < 1.0

    def overlaps(self, other: Ratio) -> bool:
        """Whether the two intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


def summarize(case: Case) -> Summary:
    """Take the middle and the tail of a case.

    The tail is on the bad side: the slow calls of a latency, the low ones of a rate.
    """
    sign = 1.0 if case.better == "less" else -1.0
    times = Times([[sign * sample for sample in taken] for taken in case.rounds])
    return Summary(sign * times.median, sign * times.p95, len(case.rounds), len(times.runs))


def ratio(own: Case, other: Case) -> Ratio:
    """Compare two contenders that took turns in the same rounds.

    The estimate is the median over the rounds of the ratio within a round, each of medians: a shared machine has slow
    minutes, and a round is short enough for both to be in the same one. The interval is the expanded percentile
    interval of a bootstrap over the rounds, not over samples: those of one round share its minute. Of one round it has
    no width, and of fewer than six it is narrower than its level says, as no interval between samples of a median can
    be wider than their range.

    Args:
        own: The contender that the ratio speaks of.
        other: The one that it is compared with; same unit, same rounds.

    Returns:
        More than 1 where `own` is better: it takes less time, or does more.

    Raises:
        ShapeError: Units or numbers of rounds differ.

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3 (percentile interval); Hesterberg
        (2015), "What Teachers Should Know About the Bootstrap", The American Statistician 69(4) (expanded).
    """
    if (own.unit, own.better, len(own.rounds)) != (other.unit, other.better, len(other.rounds)):
        raise ShapeError(
            f"'{own.contender}' beside '{other.contender}' in {own.case} requested",
            f"there are {len(own.rounds)} rounds in {own.unit} and {len(other.rounds)} in {other.unit}",
            "compare cases that were measured side by side",
        )
    ratios = divided(round_medians(own), round_medians(other))
    if own.better == "less":
        ratios = divided(round_medians(other), round_medians(own))
    estimates = np.median(resampled(ratios, np.random.default_rng(SEED)), axis=1)
    return interval(float(np.median(ratios)), estimates, expanded(LEVEL, len(ratios)))


def expanded(level: float, count: int) -> float:
    """Say at which level a percentile interval of few values is as wide as it should be at another one.

    Resamples of N values spread less than samples would, by the root of (N - 1) / N, and have tails of a normal
    distribution where Student's has heavier ones. Six values want 0.995 for 0.95.

    Args:
        level: Share of intervals that should hold what they estimate.
        count: Values that are resampled, N.

    Source:
        Hesterberg (2015), as above; Student's quantile by Abramowitz and Stegun (1964), 26.7.5.
    """
    if count < 2:
        return level
    normal, freedom = NormalDist(), count - 1
    z = normal.inv_cdf((1.0 + level) / 2.0)
    student = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return 2.0 * normal.cdf((count / freedom) ** 0.5 * student) - 1.0


def round_medians(case: Case) -> Floats:
    """Take the middle sample of each round, float64 [rounds]."""
    return np.array([np.median(taken) for taken in case.rounds])


def resampled(values: Floats, draw: np.random.Generator) -> Floats:
    """Draw as many of the values as there are, with replacement, again and again.

    Args:
        values: float64 [N].
        draw: Makes the choice.

    Returns:
        float64 [RESAMPLES, N].
    """
    return values[draw.integers(0, len(values), (RESAMPLES, len(values)))]


def interval(middle: float, estimates: Floats, level: float = LEVEL) -> Ratio:
    """Put an estimate beside the percentile interval of its resamples.

    Args:
        middle: The estimate.
        estimates: Those of the resamples, float64 [RESAMPLES]; infinity is allowed.
        level: Share of intervals that should hold what they estimate.
    """
    tail = (1.0 - level) / 2.0
    # drawn values, never a mean of two: between a number and infinity there is none
    low, high = np.quantile(estimates, [tail, 1.0 - tail], method="inverted_cdf")
    return Ratio(middle, min(float(low), middle), max(float(high), middle))


def divided(above: Floats, below: Floats) -> Floats:
    """Divide; by zero gives infinity, and nothing by nothing 1: neither does anything."""
    both = (above == 0.0) & (below == 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(both, 1.0, above / below)
