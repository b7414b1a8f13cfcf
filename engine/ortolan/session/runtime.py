"""Finding the one installed ONNX Runtime."""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ortolan.errors import ProviderError

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
"""All install a package of the same name, `onnxruntime`: two of them overwrite each other's files."""


def installed() -> dict[str, str]:
    """Name and version of every ONNX Runtime distribution that is installed here."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@functools.cache
def onnxruntime() -> Any:
    """Import ONNX Runtime, at its first use, so that `import ortolan` stays quick and works without it.

    Returns:
        The module.

    Raises:
        ProviderError: None is installed, two are, or the one there cannot be imported.
    """
    found = installed()
    if len(found) > 1:
        names = ", ".join(f"{name} {number}" for name, number in found.items())
        raise ProviderError(
            "ONNX Runtime requested",
            f"several are installed over each other: {names}",
            f"run: pip uninstall -y {' '.join(found)} && pip install {_preferred(found)}",
        )
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        if not found:
            raise ProviderError(
                "ONNX Runtime requested",
                "none is installed",
                "run: pip install 'ortolan[cpu]' (or [gpu] for NVIDIA, [openvino] for Intel)",
            ) from error
        raise ProviderError(
            "ONNX Runtime requested",
            f"{next(iter(found))} is installed and cannot be imported ({error})",
            f"run: pip install --force-reinstall {next(iter(found))}",
        ) from error


def _preferred(found: dict[str, str]) -> str:
    return next(name for name in found if name != "onnxruntime")
