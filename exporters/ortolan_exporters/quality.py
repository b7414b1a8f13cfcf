"""What a precision costs in quality, and whether that is too much."""

from __future__ import annotations

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
    """How a precision's answers differ from torch's, on texts without labels.

    Attributes:
        texts: How many were compared.
        label_agreement: Share of decisions that are the same.
        mean_probability_difference: Mean absolute difference of the probabilities (of the values, for regression).
        max_probability_difference: Largest one.
        expected_drop: Mean probability, by torch's own account, given up by the decisions that differ:
            p(torch's label) - p(this label). The accuracy this precision would lose if torch's probabilities were
            right; near ties cost nearly nothing. For regression: mean difference over torch's standard deviation.
    """

    texts: int
    label_agreement: float
    mean_probability_difference: float
    max_probability_difference: float
    expected_drop: float

    def to_json(self) -> dict[str, Any]:
        """Turn it into what a manifest holds."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Metric:
    """Accuracy on labelled texts.

    Attributes:
        name: What is measured.
        texts: On how many texts.
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


def agreement(torch_logits: FloatArray, logits: FloatArray, activation: str) -> Agreement:
    """Compare answers.

    Args:
        torch_logits: float32 [n, V].
        logits: float32 [n, V].
        activation: "softmax", "sigmoid" or "none", as the task chooses it for the model.
    """
    if activation == "none":
        differences = np.abs(logits - torch_logits)
        spread = float(torch_logits.std()) or 1.0
        mean = float(differences.mean())
        return Agreement(len(logits), 1.0, mean, float(differences.max()), mean / spread)
    wanted, got = decisions(torch_logits, activation), decisions(logits, activation)
    best, chosen = wanted.argmax(-1), got.argmax(-1)
    rows = np.arange(len(wanted))
    return Agreement(
        texts=len(logits),
        label_agreement=float((best == chosen).mean()),
        mean_probability_difference=float(np.abs(wanted - got).mean()),
        max_probability_difference=float(np.abs(wanted - got).max()),
        expected_drop=float((wanted[rows, best] - wanted[rows, chosen]).mean()),
    )


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


def accuracy(logits: FloatArray, labels: NDArray[np.int64]) -> float:
    """Share of texts whose best label is the right one. logits: float32 [n, V]; labels: int64 [n]."""
    return float((logits.argmax(-1) == labels).mean())


def faults(found: Agreement, metric: Metric | None, max_drop: float) -> list[str]:
    """Say why a precision must not be published.

    With labelled texts their metric decides, else the expected drop; in both cases probabilities must not have moved
    by more than `MAX_MEAN_SHIFT` on average.

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
    if metric is None and not found.expected_drop <= max_drop:
        reasons.append(f"expected drop {found.expected_drop:.4f} of {max_drop} allowed")
    if not found.mean_probability_difference <= MAX_MEAN_SHIFT:
        reasons.append(
            f"mean probability difference {found.mean_probability_difference:.4f} of {MAX_MEAN_SHIFT} allowed"
        )
    return reasons
