"""Two answers to one input: equal but for rounding."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TOLERANCE = 1e-4
"""Of every number that is no count."""

TIE = 1e-5
"""Scores nearer to each other than this are equal but for rounding; what has them may stand in either order."""

CHANCE = 1e-6
"""How unlikely counts must be under what is expected, for a test to fail; seeds are fixed, so none comes and goes."""

compared: Counter[str] = Counter()
"""How many cases were compared, by task."""


def assert_same(ours: Any, theirs: Any, task: str, what: object = "") -> None:
    """Compare what this project answers with what transformers answers, and count the case.

    Numbers may differ by `TOLERANCE`, and neighbours in a list that transformers scores within `TIE` may have changed
    places. All else is equal: nesting, keys and their order, texts, whole numbers, and types. Where transformers has
    numbers of numpy, ours are Python's.
    """
    compared[task] += 1
    _same(ours, theirs, f"{task}, {what}: ")


def _same(ours: Any, theirs: Any, where: str) -> None:
    if isinstance(theirs, np.generic):
        theirs = theirs.item()
    assert type(ours) is type(theirs), f"{where}{type(ours).__name__} and not {type(theirs).__name__}"
    if isinstance(theirs, float):
        assert abs(ours - theirs) <= TOLERANCE, f"{where}{ours} and not {theirs}"
    elif isinstance(theirs, (np.ndarray, torch.Tensor)):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), where
        assert abs(ours - theirs).max() <= TOLERANCE, where
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        if "labels" in theirs:  # of zero-shot classification
            _same(_in_rows(ours), _in_rows(theirs), where)
        for key in theirs.keys() - {"labels"}:
            _same(ours[key], theirs[key], f"{where}{key}: ")
    elif isinstance(theirs, list) and theirs and isinstance(theirs[0], float):
        # lists of features are long: compared at once
        assert len(ours) == len(theirs), where
        assert {type(one) for one in ours} == {float}, where
        assert np.abs(np.array(ours) - np.array(theirs)).max() <= TOLERANCE, where
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), f"{where}{len(ours)} and not {len(theirs)}: {ours!r:.300}\n{theirs!r:.300}"
        for index, (one, other) in enumerate(zip(_reordered(ours, theirs), theirs, strict=True)):
            _same(one, other, f"{where}[{index}]")
    else:
        assert ours == theirs, f"{where}{ours!r} and not {theirs!r}"


def _in_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"label": a, "score": b} for a, b in zip(answer["labels"], answer["scores"], strict=True)]


def _reordered(ours: list[Any], theirs: list[Any]) -> list[Any]:
    """Put ours in the order of theirs, as far as ties allow."""
    if not all(isinstance(one, dict) and "score" in one for one in [*ours, *theirs]):
        return ours
    rest, found = list(ours), []
    for other in theirs:
        near = [one for one in rest if abs(one["score"] - other["score"]) <= TIE and _key(one) == _key(other)]
        # only over others that tie with it
        reachable = [one for one in near if all(abs(x["score"] - one["score"]) <= TIE for x in rest[: rest.index(one)])]
        chosen = reachable[0] if reachable else rest[0]
        rest.remove(chosen)
        found.append(chosen)
    return found


def _key(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "score"}


def likelihood(counts: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """How likely counts this far from what is expected are: Pearson's chi-square, rare cases taken together."""
    wanted = expected / expected.sum() * counts.sum()
    common = wanted >= 5
    counts = np.append(counts[common], counts[~common].sum())
    wanted = np.append(wanted[common], wanted[~common].sum())
    counts, wanted = counts[wanted > 0], wanted[wanted > 0]
    statistic = torch.tensor(((counts - wanted) ** 2 / wanted).sum())
    freedom = torch.tensor((len(counts) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic.double() / 2))
