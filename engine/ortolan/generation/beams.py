"""The likeliest texts rather than the likeliest tokens: several are followed up at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ortolan.generation.logits import NEVER, check_finite
from ortolan.generation.sampling import IntArray, best, candidates, draw_several, log_softmax
from ortolan.generation.search import Alternatives, Step, Terms, Written, check_choice, measured
from ortolan.generation.stopping import Reason
from ortolan.postprocess.activations import FloatArray

OUT = np.float32(-1e9)
"""Added to the score of a beam that is not to go on: the number that transformers has."""


@dataclass(frozen=True, slots=True)
class _Beam:
    """One text among those that are followed up.

    Attributes:
        ids: The prompt, and what was written behind it.
        score: Its log-likelihood; when it is done, over its length to the power of the penalty.
        parent: The row that it continues.
        reason: Why it is done; None if it is not.
        logprobs: Of what was written, where they were asked for.
        top_logprobs: Of the best tokens at each place.
    """

    ids: tuple[int, ...]
    score: np.float32
    parent: int = 0
    reason: Reason | None = None
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[Alternatives, ...] = ()


class BeamSearch:
    """Follow up the best beams until none can get better; see `Search`.

    Args:
        terms: Of the request.

    Source:
        `GenerationMixin._beam_search` of transformers 5, for a batch of one: the same texts, in the same order.
    """

    def __init__(self, terms: Terms) -> None:
        config = terms.config
        self._terms = terms
        self.max_rows = config.num_beams
        # enough go on, even if all those end that can
        self._num_candidates = max(2, 1 + len(config.eos_token_id)) * config.num_beams
        self._generator = np.random.default_rng(config.seed)
        # all but the first are out: they are the same text
        scores = [np.float32(0), *[OUT] * (config.num_beams - 1)]
        self._going = [_Beam(terms.prompt, score) for score in scores]
        self._done: list[_Beam] = []
        self._is_begun = False

    def advance(self, logits: FloatArray) -> Step:
        """Follow each beam up by a token, and go on with the best ones; see `Search.advance`."""
        check_finite(logits)
        found = self._followed(logits[:, -1])
        is_out = np.array([one.reason is not None for one in found])
        scores = np.array([one.score for one in found], np.float32) + is_out * OUT
        self._done = self._ranked(found)
        self._going = [replace(found[place], score=scores[place]) for place in best(scores, self.max_rows)]
        self._is_begun = True
        if is_out.all() or not self._may_improve():
            self._going = []
        return Step(
            tuple((one.ids[-1],) for one in self._going), tuple(one.parent for one in self._going), logits.shape[1]
        )

    @property
    def written(self) -> Sequence[Written]:
        """The best texts that are done; there may be better ones as long as a step has tokens."""
        return [self._told(one) for one in self._done[: self._terms.config.num_return_sequences]]

    @property
    def ids(self) -> Sequence[int]:
        """What the best beam has written so far."""
        return (self._going or self._done)[0].ids[len(self._terms.prompt) :]

    def _followed(self, logits: FloatArray) -> list[_Beam]:
        """Find the best continuations of all beams, or draw some; the first so many of them count as the best."""
        rows = [self._scores(one, row) for one, row in zip(self._going, log_softmax(logits), strict=False)]
        # at first all beams are one row
        parents = range(self.max_rows) if self._is_begun else [0] * self.max_rows
        scores = np.concatenate([rows[parent] + one.score for parent, one in zip(parents, self._going, strict=True)])
        check_choice(scores, int(scores.argmax()))
        found = []
        for place in self._chosen(scores):
            beam, token = divmod(int(place), logits.shape[1])
            found.append(self._continued(self._going[beam], parents[beam], rows[parents[beam]], token, scores[place]))
        return found

    def _scores(self, beam: _Beam, log_probs: FloatArray) -> FloatArray:
        """Apply the rules, to log-probabilities and not to logits, as transformers does."""
        config = self._terms.config
        scores = self._terms.scores(log_probs, beam.ids)
        if scores.max() == NEVER:
            return scores  # it ends here, unless no beam goes on
        if config.do_sample:
            ids, left = candidates(scores, config, at_least=1 + max(1, len(config.eos_token_id)))
            scores = np.full_like(scores, NEVER)
            scores[ids] = left
        return log_softmax(scores) if config.renormalize_logits else scores

    def _chosen(self, scores: FloatArray) -> IntArray:
        if self._terms.config.do_sample:
            return draw_several(scores, self._num_candidates, self._generator)
        return best(scores, self._num_candidates)

    def _continued(self, beam: _Beam, parent: int, row: FloatArray, token: int, score: np.float32) -> _Beam:
        ids = (*beam.ids, token)
        reason, count = self._terms.ending(ids), self._terms.config.logprobs
        if count is None:
            return _Beam(ids, score, parent, reason)
        logprob, others = measured(row, token, count)
        return _Beam(ids, score, parent, reason, (*beam.logprobs, logprob), (*beam.top_logprobs, others))

    def _ranked(self, found: Sequence[_Beam]) -> list[_Beam]:
        """Put those that are done among the best before; of the new ones, those that would have gone on."""
        done = [
            *self._done,
            *(
                replace(one, score=self._worth(one.score, len(one.ids)))
                for one in found[: self.max_rows]
                if one.reason is not None
            ),
        ]
        return [done[place] for place in best(np.array([one.score for one in done], np.float32), self.max_rows)]

    def _may_improve(self) -> bool:
        """Whether the best beam that goes on may become better than the worst that is done."""
        config, first = self._terms.config, self._going[0]
        if len(self._done) < self.max_rows:
            return True
        if config.early_stopping is True:
            return False
        reaches_end = config.early_stopping == "never" and config.length_penalty > 0.0
        length = self._terms.longest if reaches_end else len(first.ids)
        return bool(self._worth(first.score, length) > self._done[-1].score)

    def _worth(self, score: np.float32, length: int) -> np.float32:
        """Compare texts of different length: Wu et al. (2016), arXiv:1609.08144, section 7, with the length alone."""
        written = length - len(self._terms.prompt)
        worth: np.float32 = score / np.float32(written**self._terms.config.length_penalty)
        return worth

    def _told(self, beam: _Beam) -> Written:
        ids, reason = beam.ids[len(self._terms.prompt) :], beam.reason or "length"
        if self._terms.config.logprobs is None:
            return Written(ids, reason, float(beam.score))
        return Written(ids, reason, float(beam.score), beam.logprobs, beam.top_logprobs)
