"""What a caller receives who asks how long it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of a request went.

    Attributes:
        tokenize_ms: Reading the input and tokenizing it, milliseconds.
        queue_ms: Waiting until its first text ran.
        run_ms: The runs that its texts were in, padding included.
        postprocess_ms: Making a result of the outputs.
        batch_size: Texts of the largest of these runs.
        padding_share: Which part of the tokens of these runs was padding, 0 to 1.
    """

    tokenize_ms: float
    queue_ms: float
    run_ms: float
    postprocess_ms: float
    batch_size: int
    padding_share: float


@dataclass(frozen=True, slots=True)
class Response:
    """A result, and how it came about.

    Attributes:
        result: What the pipeline would have returned.
        timing: Where the time went.
    """

    result: Any
    timing: Timing
