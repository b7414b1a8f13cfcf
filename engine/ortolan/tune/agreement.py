"""Does a precision answer a user's own texts as fp32 does?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ortolan.session.base import Array

Outputs = Mapping[str, Array]


def agreement(expected: Outputs, found: Outputs, measure: str, *, is_multi_label: bool) -> float:
    """Compare the answers to one text.

    Args:
        expected: Outputs of fp32, of any names and shapes; the last axis is the one of the choices.
        found: Those of another precision.
        measure: "cosine" compares directions of vectors; all else compares decisions.
        is_multi_label: Whether each logit is a decision of its own, and not the largest one of a row.

    Returns:
        Cosine of the outputs, or the share of decisions that are the same. NaN agrees with nothing.
    """
    if measure == "cosine":
        return _cosine(_flat(expected), _flat(found))
    if is_multi_label:
        wanted, got = _flat(expected), _flat(found)
        return float((((wanted > 0) == (got > 0)) & np.isfinite(got)).mean())
    same = [
        ((wanted.argmax(-1) == found[name].argmax(-1)) & np.isfinite(found[name]).all(-1)).reshape(-1)
        for name, wanted in expected.items()
    ]
    return float(np.concatenate(same).mean())


def _flat(outputs: Outputs) -> Array:
    return np.concatenate([output.reshape(-1) for output in outputs.values()])


def _cosine(a: Array, b: Array) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if np.isfinite(lengths) and lengths > 0 else 0.0
