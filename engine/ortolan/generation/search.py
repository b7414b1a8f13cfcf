"""What a search for texts is: logits go in, and what to read next comes out, until the texts are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ortolan.errors import ConfigError, InputTooLongError
from ortolan.generation.config import GenerationConfig
from ortolan.generation.logits import processed
from ortolan.generation.sampling import best
from ortolan.generation.stopping import Decode, Reason, ending
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array

if TYPE_CHECKING:
    from ortolan.generation.constraint import Constraint

Alternatives = tuple[tuple[int, float], ...]
"""Tokens and their log-probabilities, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Step:
    """What goes on: one entry for each row of the next run.

    Attributes:
        tokens: What each row reads next: the token that was written last and, where there are guesses at what follows
            it, these; all rows have as many. Empty if the search is done.
        parents: Which of the present rows each of them continues, counted from 0. Rows that are not named are dropped.
        kept: How many of the places that logits were given for stay in the cache; fewer than there were where guesses
            were wrong.
    """

    tokens: tuple[tuple[int, ...], ...]
    parents: tuple[int, ...]
    kept: int


@dataclass(frozen=True, slots=True)
class Written:
    """One text that is done.

    Attributes:
        ids: What was written, behind the prompt or the start token; the token that ends a text is among them.
        reason: Why it is done.
        score: What it is ranked by: its log-likelihood over its length to the power of the penalty. None where there
            are no beams.
        logprobs: Log-probability of each token, among those that it was chosen from: after all rules, and where tokens
            are drawn, after the temperature and without those that are too unlikely. None where nobody asked.
        top_logprobs: For each token the likeliest ones at its place, fewer than asked for where fewer could be
            written. None where nobody asked.
    """

    ids: tuple[int, ...]
    reason: Reason
    score: float | None = None
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[Alternatives, ...] | None = None


class Search(Protocol):
    """The search for the texts of one request. It knows no cache and no graph."""

    max_rows: int
    """Rows that it may come to."""

    def advance(self, logits: FloatArray) -> Step:
        """Take the next tokens.

        Args:
            logits: float32 [rows, places, V], for the rows and tokens that the step before named; at first, for the
                token behind the prompt, [1, 1, V]. Not modified.

        Raises:
            NonFiniteError: NaN or infinity among the logits.
            ConfigError: The rules, or the form that a text must have, leave no token.
        """

    @property
    def written(self) -> Sequence[Written]:
        """Texts that are done, the best first; all of them when a step has no tokens."""

    @property
    def ids(self) -> Sequence[int]:
        """What the first row has written so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for all texts of a request.

    Attributes:
        config: How they are written.
        prompt: What they begin with; of a model with a decoder, its start token.
        source: What its encoder read.
        longest: How many tokens they may have, the prompt included.
        decode: Tokens to text, special ones included.
    """

    config: GenerationConfig
    prompt: tuple[int, ...]
    source: tuple[int, ...]
    longest: int
    decode: Decode

    def scores(self, logits: FloatArray, ids: Sequence[int]) -> FloatArray:
        """Apply the rules to logits, float32 [V], for the token behind `ids`, prompt included."""
        return processed(logits, ids, len(self.prompt), self.longest, self.config, self.source)

    def ending(self, ids: Sequence[int]) -> Reason | None:
        """Say why a text, prompt included, is done; None if it is not."""
        return ending(ids, self.longest, self.config, self.decode)


def begin(
    config: GenerationConfig,
    prompt: Sequence[int],
    *,
    room: int,
    decode: Callable[[Sequence[int]], str],
    vocabulary: int,
    source: Sequence[int] = (),
    constraint: Constraint | None = None,
) -> Search:
    """Begin a search.

    Args:
        config: How the texts are written.
        prompt: What is there already: the prompt, or for a model with a decoder what that begins with.
        room: Most tokens, prompt included, that the model has positions for; one more than it reads.
        decode: Tokens to text, special ones included; asked where there are stop strings.
        vocabulary: How many tokens the graph gives logits for.
        source: What an encoder read.
        constraint: The form that a text must have; taken over, and copied where there are several texts.

    Raises:
        InputTooLongError: There is no room behind the prompt.
        ConfigError: A bias for a token that the model does not have, or a form with beams.
    """
    # they make what is defined here
    from ortolan.generation.beams import BeamSearch
    from ortolan.generation.greedy import RowSearch

    longest = min(config.longest(len(prompt)), room)
    if longest <= len(prompt):
        raise InputTooLongError(
            "a text requested",
            f"the prompt alone has {len(prompt)} tokens, and there is room for {longest} in all",
            "shorten it",
            length=len(prompt),
            max_length=longest - 1,
        )
    _check_biases(config, vocabulary)
    terms = Terms(config=config, prompt=tuple(prompt), source=tuple(source), longest=longest, decode=decode)
    if config.num_beams == 1:
        return RowSearch(terms, constraint)
    if constraint is not None:
        raise ConfigError("a text of a form requested", f"num_beams is {config.num_beams}", "use num_beams=1")
    return BeamSearch(terms)


def outputs(prompt: Sequence[int], text: Written) -> dict[str, Array]:
    """Say what was written as outputs of a row.

    Returns:
        `sequences`, int64 [T], the prompt and what was written behind it. Where likelihoods were asked for, also
        `logprobs`, float32 [W], one for each token that was written, `top_ids`, int64 [W, K], and `top_logprobs`,
        float32 [W, K], with -1 and -inf where there are fewer than K.
    """
    found: dict[str, Array] = {"sequences": np.array([*prompt, *text.ids], np.int64)}
    if text.logprobs is None or text.top_logprobs is None:
        return found
    width = max((len(one) for one in text.top_logprobs), default=0)
    ids = np.full((len(text.ids), width), -1, np.int64)
    likelihoods = np.full((len(text.ids), width), -np.inf, np.float32)
    for row, alternatives in enumerate(text.top_logprobs):
        for column, (token, logprob) in enumerate(alternatives):
            ids[row, column], likelihoods[row, column] = token, logprob
    found["logprobs"] = np.array(text.logprobs, np.float32)
    return {**found, "top_ids": ids, "top_logprobs": likelihoods}


def measured(scores: FloatArray, place: int, count: int) -> tuple[float, Alternatives]:
    """Tell how likely a choice was.

    Args:
        scores: What was chosen from: logits, float32 [K]; -inf for what could not be.
        place: What was chosen.
        count: How many of the best are told beside it.

    Returns:
        Its log-probability, and the places and log-probabilities of the best; what could not be chosen is left out.
    """
    highest = float(scores.max())
    if highest == -np.inf:
        return highest, ()
    total = highest + float(np.log(np.exp(scores - highest).sum(dtype=np.float64)))
    places = [int(one) for one in best(scores, count)] if count else []
    return float(scores[place]) - total, tuple(
        (one, float(scores[one]) - total) for one in places if np.isfinite(scores[one])
    )


def check_choice(scores: FloatArray, place: int) -> None:
    """Refuse the best of no choice.

    Args:
        scores: After all rules, float32 [V].
        place: Of the highest.

    Raises:
        ConfigError: Nothing is left.
    """
    if not np.isfinite(scores[place]):
        raise ConfigError(
            "a text requested", "its rules leave no token that can be written next", "ask for fewer or milder rules"
        )


def _check_biases(config: GenerationConfig, vocabulary: int) -> None:
    named = {token for ids, _ in (*config.sequence_bias, *config.logit_bias) for token in ids}
    if unknown := sorted(token for token in named if token >= vocabulary):
        raise ConfigError(
            f"a bias for {', '.join(map(str, unknown[:10]))} requested",
            f"the model has {vocabulary} tokens",
            f"use ids from 0 to {vocabulary - 1}",
        )
