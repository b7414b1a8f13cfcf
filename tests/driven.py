"""What drives a search in tests: a model without a cache, asked about all ids of each row anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ortolan.generation.config import GenerationConfig
from ortolan.generation.search import Search, Step, begin

Logits = NDArray[np.float32]
LogitsOf = Callable[[list[list[int]]], Logits]
"""Rows of equal length, [rows, T], to logits for the token behind each place, float32 [rows, T, V]."""


def started(config: GenerationConfig, prompt: Sequence[int], vocabulary: int, **more: object) -> Search:
    """A search with room enough, whose texts are read as letters: 0 is a."""
    given = {"room": 1000, "decode": letters, "vocabulary": vocabulary, **more}
    return begin(config, prompt, **given)  # type: ignore[arg-type]


def letters(ids: Sequence[int]) -> str:
    return "".join(chr(ord("a") + one) for one in ids)


def drive(search: Search, logits_of: LogitsOf, prompt: Sequence[int]) -> list[Step]:
    """Run a search to its end, and say what it asked for."""
    rows, steps, places = [list(prompt)], [], 1
    while not steps or steps[-1].tokens:
        step = search.advance(logits_of(rows)[:, -places:])
        steps.append(step)
        assert len(step.tokens) == len(step.parents) <= search.max_rows
        assert 1 <= step.kept <= places
        gone = places - step.kept
        rows = [
            rows[parent][: len(rows[parent]) - gone] + list(tokens)
            for parent, tokens in zip(step.parents, step.tokens, strict=True)
        ]
        places = len(step.tokens[0]) if step.tokens else 0
    return steps


def table(size: int, seed: int = 0, spread: float = 2.0) -> LogitsOf:
    """A model whose logits depend on the last two tokens."""
    known = np.random.default_rng(seed).normal(0, spread, (size, size, size)).astype(np.float32)

    def logits_of(rows: list[list[int]]) -> Logits:
        ids = np.array(rows)
        return known[np.concatenate([ids[:, :1], ids[:, :-1]], axis=1), ids]

    return logits_of
