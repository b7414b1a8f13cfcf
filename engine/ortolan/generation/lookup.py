"""Guesses at the next tokens, taken from the text itself: what followed the same words before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import numpy as np


def draft(ids: Sequence[int], max_draft: int, max_ngram: int, *, eos: Sequence[int] = ()) -> list[int]:
    """Guess how a text goes on.

    The last tokens are looked for further up in the text: as many of them as are found there, and of several places
    the first, which has the most tokens behind it. A guess changes no text, for the model is asked about each of its
    tokens; it only says how many it can be asked about in one run.

    Args:
        ids: The text so far, prompt included.
        max_draft: Most tokens that are guessed.
        max_ngram: Most tokens at the end of the text that are looked for.
        eos: Tokens that end a text; nothing is guessed from the first of them on.

    Returns:
        Tokens that may follow; empty where the last token stands nowhere else. It takes time in proportion to the
        length of the text.

    Source:
        Saxena (2023), prompt lookup decoding, as transformers' PromptLookupCandidateGenerator has it.
    """
    if len(ids) < 2:
        return []
    text = np.asarray(ids, np.int64)
    places = np.flatnonzero(text[:-1] == text[-1])
    for more in range(1, min(max_ngram, len(text) - 1)):
        longer = places[places >= more]
        longer = longer[text[longer - more] == text[-1 - more]]
        if not longer.size:
            break
        places = longer
    if not places.size:
        return []
    after = int(places[0]) + 1
    return list(takewhile(lambda token: token not in eos, ids[after : after + max_draft]))
