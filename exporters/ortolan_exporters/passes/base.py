"""What a pass is, and how several run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir

from ortolan_exporters.errors import PassError


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass did.

    Attributes:
        model: The rewritten model; the same object, changed in place.
        modified: How many places were rewritten.
    """

    model: ir.Model
    modified: int


class Pass(Protocol):
    """A rewrite that keeps inputs, outputs and their values, and finds nothing to do the second time."""

    name: str

    def __call__(self, model: ir.Model) -> PassResult:
        """Rewrite `model` in place."""


def run_passes(model: ir.Model, passes: Sequence[Pass]) -> dict[str, int]:
    """Run passes in order.

    Returns:
        For each pass, by name, how many places it rewrote, all times together.

    Raises:
        PassError: A pass changed the inputs or outputs of the graph, or raised.
    """
    before = _interface(model)
    counts: dict[str, int] = {}
    for one in passes:
        try:
            counts[one.name] = counts.get(one.name, 0) + one(model).modified
        except (ValueError, KeyError, TypeError) as error:
            raise PassError(f"pass '{one.name}' requested", f"it failed ({error})", "please report this") from error
        if _interface(model) != before:
            raise PassError(f"pass '{one.name}' requested", "it changed the graph's interface", "please report this")
    return counts


def _interface(model: ir.Model) -> tuple[list[str | None], list[str | None]]:
    return [value.name for value in model.graph.inputs], [value.name for value in model.graph.outputs]
