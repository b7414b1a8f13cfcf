"""Arrays in the form a caller wants them: numpy's own, or torch's where the caller has installed it."""

from __future__ import annotations

import importlib
from typing import Any

from ortolan.errors import ConfigError
from ortolan.session.base import Array

TENSORS = ("np", "pt")
"""What may be asked for; names as in transformers."""


def as_tensor(array: Array, kind: str) -> Any:
    """Give an array as numpy or torch has it.

    Args:
        array: Any shape and dtype; a tensor shares its memory.
        kind: Of `TENSORS`.

    Raises:
        ConfigError: Another kind, or torch is not installed.
    """
    if kind == "np":
        return array
    if kind != "pt":
        raise ConfigError("return_tensors requested", f"got {kind!r}", f"use one of {', '.join(TENSORS)}")
    try:
        # the runtime needs no torch; who asks for its tensors has it
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ConfigError(
            "return_tensors='pt' requested", "torch is not installed", "install it, or use 'np'"
        ) from error
    return torch.from_numpy(array)
