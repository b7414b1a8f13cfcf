"""Start and end scores to answers: which span of a text is meant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ortolan.postprocess.activations import FloatArray

IMPOSSIBLE = -10000.0
"""Logit of a place where no answer can start or end."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens from `start` to `end`, both included, with the probability that they are the answer."""

    start: int
    end: int
    score: float


def best_spans(
    start_logits: FloatArray, end_logits: FloatArray, may_answer: NDArray[np.bool_], *, top_k: int, max_length: int
) -> tuple[list[Span], float]:
    """Find the most probable answers in one window.

    The score of a span is the product of the probabilities of its ends.

    Args:
        start_logits: float32 [S].
        end_logits: float32 [S].
        may_answer: Whether a token may be part of an answer, bool [S]. The first token may be there to say that
            there is no answer; it is never part of one.
        top_k: Most spans to return.
        max_length: Most tokens of a span.

    Returns:
        Spans by falling score, those of probability zero left out; and the probability that there is no answer: that
        of a span on the first token.

    Source:
        Devlin et al. (2018), arXiv:1810.04805, section 4.2, as transformers 4's pipeline computes it.
    """
    start = _probabilities(np.where(may_answer, start_logits, np.float32(IMPOSSIBLE)))
    end = _probabilities(np.where(may_answer, end_logits, np.float32(IMPOSSIBLE)))
    no_answer = float(start[0] * end[0])
    start[0] = end[0] = 0.0
    # a band of the matrix of all spans: row i holds those that start at i
    width = min(max_length, len(start))
    padded = np.concatenate([end, np.zeros(width, end.dtype)])
    scores = start[:, None] * np.lib.stride_tricks.sliding_window_view(padded, width)[: len(start)]
    flat = scores.reshape(-1)
    count = min(top_k, len(flat))
    best = np.argpartition(-flat, count - 1)[:count]
    best = best[np.lexsort((best, -flat[best]))]
    found = []
    for place in best:
        first, more = divmod(int(place), width)
        last = first + more
        # zero: beyond the window, or a place that can be nothing; where nothing can be an answer all are alike
        if flat[place] > 0 and may_answer[first] and may_answer[last]:
            found.append(Span(first, last, float(flat[place])))
    return found, no_answer


def _probabilities(logits: FloatArray) -> FloatArray:
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum(), dtype=np.float32)
