"""Ortolan's exporter: a transformers checkpoint becomes a verified ONNX artifact.

from ortolan_exporters import export

artifact = export("models/sentiment-minilm", "sentiment")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan.errors import ConfigError
from ortolan.locate import missing_for_export
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
    """Import `export` at its first use: it needs torch, and the command line must be able to say so without it.

    Raises:
        ConfigError: The `export` extra is not installed.
    """
    if name != "export":
        raise AttributeError(name)
    if missing := missing_for_export():
        raise ConfigError(
            "an export requested", f"{', '.join(missing)} are not installed", "run: pip install 'ortolan[export]'"
        )
    from ortolan_exporters.recipe import export

    return export
