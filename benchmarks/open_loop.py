"""Question: when do requests come, what do they ask, and which rate can a service bear? Pure: draws, and no clock."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

LONG_SHARE = 0.2
LONG_TOKENS = 128
TRIES = 2
"""A rate is too high if it fails so many times in a row: a stall of a shared machine is not the service's."""


def poisson_arrivals(rate: float, count: int, seed: int) -> list[float]:
    """Draw when requests come, whatever became of those before.

    Args:
        rate: Requests a second, in the mean.
        count: How many.
        seed: The same draws the same pattern, stretched to the rate.

    Returns:
        Seconds from the start, ascending.
    """
    gaps = np.random.default_rng(seed).exponential(size=count)
    return [float(moment) for moment in np.cumsum(gaps) / rate]


def draw_texts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw texts so that none comes again before all have come: equal ones that wait are computed once by some."""
    draw = np.random.default_rng(seed)
    order = [place for _ in range(math.ceil(count / len(texts))) for place in draw.permutation(len(texts))]
    return [texts[place] for place in order[:count]]


def lengthen(texts: Sequence[str], num_tokens: Callable[[str], int], seed: int) -> list[str]:
    """Put texts together to long ones, in the place of `LONG_SHARE` of them.

    Args:
        texts: Short ones.
        num_tokens: Counts the tokens of a text, special ones among them.
        seed: Of the draws.

    Returns:
        As many texts, a fifth of them of `LONG_TOKENS` tokens at most, and of nearly as many where the texts allow it.
    """
    draw = np.random.default_rng(seed)
    places = set(draw.choice(len(texts), round(LONG_SHARE * len(texts)), replace=False).tolist())
    return [_joined(text, texts, num_tokens, draw) if place in places else text for place, text in enumerate(texts)]


def read_texts(path: Path) -> list[str]:
    """Read a file with `text` in each line."""
    return [json.loads(line)["text"] for line in path.read_text("utf-8").rstrip("\n").split("\n")]


def one_token_words(folder: Path) -> list[str]:
    """Read from the tokenizer of a checkpoint or artifact the words that are one token each."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and len(word) > 3)


def percentile(values: Sequence[float], share: float) -> float:
    """Least value that at least this share of the values do not exceed; infinity and NaN come last, as infinity."""
    ordered = sorted(math.inf if math.isnan(value) else value for value in values)
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]


def most_late(count: int, share: float) -> int:
    """How many of so many requests may exceed what `percentile` of them does not."""
    return count - math.ceil(round(share * count, 9))


class Search:
    """Looks for the highest rate that a service bears: up or down in steps, and then by halves of what is left.

    Attributes:
        rate: What to try next; None when the search is over.
        borne: The highest rate that was borne; 0 before there is one.
    """

    def __init__(self, start: float, tolerance: float, *, step: float = 1.3, lowest: float = 0.1) -> None:
        """Begin.

        Args:
            start: A guess.
            step: It goes up or down by this factor until it has a rate that is borne and one that is not.
            tolerance: The search is over when what is borne and what is not differ by this factor at most.
            lowest: The search gives up below this rate.
        """
        self.rate: float | None = start
        self.borne = 0.0
        self._tolerance = tolerance
        self._step = step
        self._lowest = lowest
        self._too_high = math.inf
        self._misses = 0

    def learn(self, is_borne: bool) -> None:
        """Say what became of the rate that was tried."""
        assert self.rate is not None, "the search is over"
        if is_borne:
            self.borne = self.rate
        else:
            self._misses += 1
            if self._misses < TRIES:
                return
            self._too_high = self.rate
        self._misses = 0
        self.rate = self._next()

    def _next(self) -> float | None:
        if self._too_high == math.inf:
            return self.borne * self._step
        if self.borne == 0.0:
            lower = self._too_high / self._step
            return lower if lower >= self._lowest else None
        if self._too_high / self.borne <= self._tolerance:
            return None
        return math.sqrt(self._too_high * self.borne)


def _joined(text: str, texts: Sequence[str], num_tokens: Callable[[str], int], draw: np.random.Generator) -> str:
    while True:
        longer = f"{text} {texts[draw.integers(len(texts))]}"
        if num_tokens(longer) > LONG_TOKENS:
            return text
        text = longer
