"""Ortolan's exporter: a transformers checkpoint becomes a verified ONNX artifact.

from ortolan_exporters import export

artifact = export("models/sentiment-minilm", "sentiment")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan_exporters.errors import (
    CheckpointError,
    ExportError,
    ExportWarning,
    PassError,
    PublishError,
    QuantizeError,
    ToleranceError,
    TraceError,
    UnsupportedArchitectureError,
)

if TYPE_CHECKING:
    from ortolan_exporters.recipe import export

__all__ = [
    "CheckpointError",
    "ExportError",
    "ExportWarning",
    "PassError",
    "PublishError",
    "QuantizeError",
    "ToleranceError",
    "TraceError",
    "UnsupportedArchitectureError",
    "export",
]


def __getattr__(name: str) -> Any:
    # `export` needs torch; the command line must be able to say so when there is none
    if name == "export":
        from ortolan_exporters.recipe import export

        return export
    raise AttributeError(name)
