"""One copy of the weights for several sessions of a graph: ONNX Runtime packs them into a file, which all map.

Each session would otherwise hold the weights for itself, in the form that its kernels want. The file is removed as
soon as the sessions have mapped it; where the system keeps files that are mapped, when the process ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ortolan.config import SessionConfig
from ortolan.errors import SessionError
from ortolan.session.ort import OrtSession
from ortolan.session.providers import Provider


def open_shared(
    path: Path, provider: Provider, config: SessionConfig, disabled_optimizers: Sequence[str], widths: Iterable[int]
) -> dict[int, OrtSession]:
    """Load a graph for several numbers of threads.

    Args:
        path: The ONNX file.
        provider: Where it shall run: one that runs on the CPU in ONNX Runtime's own kernels.
        config: Everything but the number of threads.
        disabled_optimizers: As for `OrtSession`.
        widths: The numbers of threads.

    Returns:
        A session for each number of threads. They answer what a session of the graph itself answers.

    Raises:
        SessionError: The graph can't be loaded, or there is no room for the file.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ortolan-", ignore_cleanup_errors=True) as folder:
            packed = Path(folder) / "model.onnx"
            OrtSession(path, provider, config, disabled_optimizers, pack_to=packed)
            return {
                width: OrtSession(packed, provider, replace(config, num_threads=width), (), is_packed=True)
                for width in widths
            }
    except OSError as error:
        raise SessionError(
            f"'{path.name}' with shared weights requested",
            f"the folder for temporary files can't be used ({error})",
            "set TMPDIR to one with room for the weights",
        ) from error
