"""Errors of the exporter.

OrtolanError
  ExportError
    CheckpointError                what was given is not a checkpoint that can be read safely
    UnsupportedArchitectureError   no exporter for this model_type or head
    TraceError                     torch's exporter failed
    PassError                      a graph pass broke its contract
    QuantizeError                  nothing to quantize, or weights that can't be
    ToleranceError                 the gate: too far from torch; nothing was published
    PublishError                   the folder could not be written
"""

from __future__ import annotations

from ortolan.errors import OrtolanError


class ExportError(OrtolanError):
    """Base of the errors of the exporter."""


class CheckpointError(ExportError):
    """What was given is not a checkpoint that can be read, or not one that can be read safely."""


class UnsupportedArchitectureError(ExportError):
    """No exporter is registered for this `model_type`, or not with this head."""


class TraceError(ExportError):
    """torch could not turn the module into a graph."""


class PassError(ExportError):
    """A graph pass broke its contract."""


class QuantizeError(ExportError):
    """A graph that can't be quantized."""


class ToleranceError(ExportError):
    """A precision is too far from torch, or lost too much quality. Nothing was published."""


class ExportWarning(UserWarning):
    """An export that went well, of which the user should know something: a head that needs training."""


class PublishError(ExportError):
    """The artifact could not be written. What was there before is untouched."""


def brief(error: Exception) -> str:
    """First line of a foreign error, short enough to stand within one of ours."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
