"""Texts that do not know of each other, a row for each: the best next token, or one that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ortolan.generation.logits import NEVER, check_finite
from ortolan.generation.sampling import candidates, draw
from ortolan.generation.search import Alternatives, Step, Terms, Written, check_choice, measured
from ortolan.generation.stopping import Reason
from ortolan.postprocess.activations import FloatArray

if TYPE_CHECKING:
    from ortolan.generation.constraint import Constraint


@dataclass(slots=True)
class _Row:
    """One text as it grows.

    Attributes:
        ids: The prompt, and what was written behind it.
        generator: Draws its tokens, and those of no other text.
        constraint: The form that it must have.
        logprobs: Of what was written.
        top_logprobs: Of the best tokens at each place.
        reason: Why it is done; None if it is not.
    """

    ids: list[int]
    generator: np.random.Generator
    constraint: Constraint | None
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[Alternatives] = field(default_factory=list)
    reason: Reason | None = None


class RowSearch:
    """Write one text or several, each row for itself; see `Search`.

    Of the best next tokens there is one text. The generator of each other text comes from the seed and its number, so
    the first of three texts is the one that would be written alone.

    Args:
        terms: Of the request.
        constraint: The form that the texts must have.
    """

    def __init__(self, terms: Terms, constraint: Constraint | None = None) -> None:
        self._terms = terms
        self.max_rows = terms.config.num_return_sequences
        seeds = np.random.SeedSequence(terms.config.seed).spawn(self.max_rows)
        forks = [None if constraint is None else constraint.fork() for _ in seeds]
        self._rows = [
            _Row(list(terms.prompt), np.random.default_rng(seed), fork) for seed, fork in zip(seeds, forks, strict=True)
        ]
        self._going = self._rows
        self._guessed: list[int] = []
        self._is_begun = False

    def advance(self, logits: FloatArray) -> Step:
        """Write a token of each text, or several where they were guessed right; see `Search.advance`."""
        check_finite(logits)
        going, parents, kept = [], [], logits.shape[1]
        for place, row in enumerate(self._going):
            parent = place if self._is_begun else 0  # at first all rows are one
            kept = self._write(row, logits[parent])
            if row.reason is None:
                going.append(row)
                parents.append(parent)
        self._going, self._is_begun = going, True
        self._guessed = self._guess() if going else []
        tokens = tuple((row.ids[-1], *self._guessed) for row in going)
        return Step(tokens, tuple(parents), kept)

    @property
    def written(self) -> Sequence[Written]:
        """Texts that are done, in the order of their rows."""
        return [self._told(row) for row in self._rows if row.reason is not None]

    @property
    def ids(self) -> Sequence[int]:
        """What the first row has written so far."""
        return self._rows[0].ids[len(self._terms.prompt) :]

    def _write(self, row: _Row, logits: FloatArray) -> int:
        """Go on as long as what was guessed is what is written; say how many places were read rightly."""
        for place, scores in enumerate(logits):
            token = self._next(row, scores)
            row.ids.append(token)
            row.reason = self._terms.ending(row.ids)
            if row.constraint is not None and row.reason is None:
                row.constraint.accept(token)
            if row.reason is not None or self._guessed[place : place + 1] != [token]:
                return place + 1
        return len(logits)

    def _next(self, row: _Row, logits: FloatArray) -> int:
        config = self._terms.config
        scores = self._terms.scores(logits, row.ids)
        if row.constraint is not None:
            scores = _formed(scores, logits, row.constraint)
        place = int(scores.argmax())
        check_choice(scores, place)
        ids = None
        if config.do_sample:
            ids, scores = candidates(scores, config)
            place = draw(scores, row.generator)
        if config.logprobs is not None:
            logprob, others = measured(scores, place, config.logprobs)
            row.logprobs.append(logprob)
            row.top_logprobs.append(others if ids is None else tuple((int(ids[one]), value) for one, value in others))
        return place if ids is None else int(ids[place])

    def _guess(self) -> list[int]:
        """Look up what may follow; no more than there is room for behind it."""
        config, ids = self._terms.config, self._going[0].ids
        most = min(config.prompt_lookup_num_tokens or 0, self._terms.longest - len(ids) - 1)
        if most < 1 or self.max_rows > 1:
            return []
        from ortolan.generation.lookup import draft

        return draft(ids, most, config.max_matching_ngram_size, eos=config.eos_token_id)

    def _told(self, row: _Row) -> Written:
        ids = tuple(row.ids[len(self._terms.prompt) :])
        if self._terms.config.logprobs is None:
            return Written(ids, row.reason or "length")
        return Written(ids, row.reason or "length", None, tuple(row.logprobs), tuple(row.top_logprobs))


def _formed(scores: FloatArray, logits: FloatArray, constraint: Constraint) -> FloatArray:
    """Leave out what the form of a text does not allow.

    Where the rules leave nothing of what it allows, they give way: a text that breaks its form is of no use.
    """
    allowed = constraint.allowed()
    if allowed is None:
        return scores
    for left in (scores, logits):
        formed = np.where(allowed, left, NEVER)
        if formed.max() > NEVER:
            break
    return formed
