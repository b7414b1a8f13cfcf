"""What a precision costs in quality, and whether that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortolan.postprocess.activations import FloatArray, sigmoid, softmax

MAX_MEAN_SHIFT = 0.02
"""Most that a probability may move on average. A shift of this size is seen by who sets a threshold on scores,
though it changes few labels."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a precision's choices differ from torch's, on texts without labels.

    Attributes:
        texts: How many were compared.
        decisions: How many choices they hold: one a text, a token or a mask, two a question.
        label_agreement: Share of decisions that are the same.
        mean_probability_difference: How far the probability of torch's choice moved, on average (for regression, the
            value).
        max_probability_difference: Largest one.
        expected_drop: Mean probability, by torch's own account, given up by the decisions that differ:
            p(torch's label) - p(this label). The accuracy this precision would lose if torch's probabilities were
            right; near ties cost nearly nothing. For regression: mean difference over torch's standard deviation.
    """

    texts: int
    decisions: int
    label_agreement: float
    mean_probability_difference: float
    max_probability_difference: float
    expected_drop: float

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return {"measure": "labels", **asdict(self)}

    def __str__(self) -> str:
        return f"same label {self.label_agreement:.2%} of {self.decisions} ({self.texts} texts)"


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a precision's vectors differ from torch's.

    Attributes:
        texts: How many texts were compared.
        decisions: How many vectors they gave.
        mean_cosine: Mean cosine of a vector with torch's.
        min_cosine: The smallest one.
    """

    texts: int
    decisions: int
    mean_cosine: float
    min_cosine: float

    @property
    def expected_drop(self) -> float:
        """What a mean cosine falls short of 1."""
        return 1.0 - self.mean_cosine

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return {"measure": "cosine", **asdict(self), "expected_drop": self.expected_drop}

    def __str__(self) -> str:
        return f"cosine {self.mean_cosine:.5f} on average, {self.min_cosine:.5f} at least ({self.texts} texts)"


@dataclass(frozen=True, slots=True)
class Metric:
    """A score on labelled texts.

    Attributes:
        name: What is measured.
        texts: On how many examples.
        torch: Of the torch module.
        this: Of the precision.
    """

    name: str
    texts: int
    torch: float
    this: float

    @property
    def drop(self) -> float:
        """How much is lost; negative for a gain."""
        return self.torch - self.this

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return {**asdict(self), "drop": self.drop}


def agreement(wanted: Sequence[FloatArray], got: Sequence[FloatArray], measure: str) -> Agreement | Alignment:
    """Compare answers.

    Args:
        wanted: torch's decisions, float32 [D, C] for each text; C may differ from text to text.
        got: Those of a graph.
        measure: "softmax", "sigmoid", "none" or "cosine", as the head says.
    """
    if measure == "cosine":
        cosines = np.concatenate([_cosines(one, other) for one, other in zip(wanted, got, strict=True)])
        return Alignment(len(wanted), len(cosines), float(cosines.mean()), float(cosines.min()))
    if measure == "none":
        theirs = np.concatenate(list(wanted))
        moved = np.abs(np.concatenate(list(got)) - theirs)
        spread = float(theirs.std()) or 1.0
        mean = float(moved.mean())
        return Agreement(len(wanted), len(theirs), 1.0, mean, float(moved.max()), mean / spread)
    pairs = [(decisions(one, measure), decisions(other, measure)) for one, other in zip(wanted, got, strict=True)]
    same, dropped, moved = np.concatenate([_choices(*pair) for pair in pairs], axis=1)
    return Agreement(
        texts=len(wanted),
        decisions=len(same),
        label_agreement=float(same.mean()),
        mean_probability_difference=float(moved.mean()),
        max_probability_difference=float(moved.max()),
        expected_drop=float(dropped.mean()),
    )


def _choices(wanted: FloatArray, got: FloatArray) -> FloatArray:
    """For each of D decisions: is it the same, what it gives up, how far torch's choice moved; float32 [3, D]."""
    best, chosen, rows = wanted.argmax(-1), got.argmax(-1), np.arange(len(wanted))
    dropped = wanted[rows, best] - wanted[rows, chosen]
    moved = np.abs(wanted[rows, best] - got[rows, best])
    return np.stack([(best == chosen).astype(np.float32), dropped, moved])


def _cosines(wanted: FloatArray, got: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(wanted, axis=-1) * np.linalg.norm(got, axis=-1)
    return np.asarray((wanted * got).sum(-1) / np.maximum(lengths, 1e-12), np.float32)


def mean_squared_difference(answers: Sequence[FloatArray], expected: Sequence[FloatArray]) -> float:
    """Average over all numbers of all answers, float32 [D, C] for each text."""
    squares = [float(np.square(one - other).sum()) for one, other in zip(answers, expected, strict=True)]
    return sum(squares) / sum(one.size for one in expected)


def spearman(values: NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> float:
    """Rank correlation, ties sharing their mean rank; 0 where one side is constant.

    Args:
        values: float [n].
        others: float [n].
    """
    ranks = [_ranks(one) - (len(one) - 1) / 2 for one in (values, others)]
    scale = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / scale if scale else 0.0


def _ranks(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts + 1) / 2)[inverse], np.float64)


def decisions(logits: FloatArray, activation: str) -> FloatArray:
    """Probabilities of the choices that are made: one row for each.

    Args:
        logits: float32 [n, V].
        activation: With "softmax" a text is one choice among V; with "sigmoid" V choices between no and yes.

    Returns:
        float32 [n, V], or [n * V, 2].
    """
    if activation == "softmax":
        return softmax(logits)
    yes = sigmoid(logits).reshape(-1)
    return np.stack([1 - yes, yes], axis=-1)


def faults(
    found: Agreement | Alignment, metric: Metric | None, max_drop: float, least_agreement: float = 0.0
) -> list[str]:
    """Say why a precision must not be published.

    With labelled texts their metric decides, else the expected drop and the share of decisions that stayed. In both
    cases probabilities must not have moved by more than `MAX_MEAN_SHIFT` on average, and vectors not have turned so far
    that their mean cosine falls short of 1 by more than `max_drop`.

    Args:
        found: Differences to torch.
        metric: The score on labelled texts; None if there are none.
        max_drop: Most that the metric may fall, the expected drop be, or a mean cosine fall short of 1.
        least_agreement: Share of decisions that must be the same, as the head says; one may change in any case.

    Returns:
        One sentence for each reason; none if it passes.
    """
    reasons = []
    # "not <=" and not ">": NaN must not pass
    if metric is not None and not metric.drop <= max_drop:
        reasons.append(
            f"{metric.name} falls from {metric.torch:.4f} to {metric.this:.4f}, "
            f"by {metric.drop:.4f} of {max_drop} allowed"
        )
    if isinstance(found, Alignment):
        if not found.expected_drop <= max_drop:
            reasons.append(f"mean cosine {found.mean_cosine:.4f}, {1 - max_drop:.4f} wanted")
        return reasons
    if metric is None and not found.expected_drop <= max_drop:
        reasons.append(f"expected drop {found.expected_drop:.4f} of {max_drop} allowed")
    # of few decisions one is more than its share, and may be a close call
    changed = round((1.0 - found.label_agreement) * found.decisions)
    if metric is None and not changed <= max(1.0, (1.0 - least_agreement) * found.decisions):
        reasons.append(f"same label {found.label_agreement:.2%}, {least_agreement:.0%} wanted")
    if not found.mean_probability_difference <= MAX_MEAN_SHIFT:
        reasons.append(
            f"mean probability difference {found.mean_probability_difference:.4f} of {MAX_MEAN_SHIFT} allowed"
        )
    return reasons
