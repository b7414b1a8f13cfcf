"""What was made, of what, with which versions: in the types that `ortolan.artifact` reads."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ortolan.artifact import hash_file
from ortolan.config import Precision
from ortolan.manifest import MANIFEST_NAME, FileRecord, GoldenInput, Manifest, PrecisionRecord
from ortolan.request import TextInput
from ortolan.tokenize import Encoding
from ortolan.version import __version__
from ortolan_exporters.resolve import Checkpoint

RECORDED = ("torch", "transformers", "tokenizers", "onnxruntime", "onnx", "onnx-ir", "onnxscript", "numpy")


def write_manifest(
    folder: Path,
    checkpoint: Checkpoint,
    precisions: Mapping[Precision, PrecisionRecord],
    golden: Sequence[tuple[TextInput, Encoding]],
) -> Manifest:
    """Hash every file of a folder and write its manifest.

    Args:
        folder: Everything but the manifest is in it already.
        checkpoint: What was exported.
        precisions: The record of each.
        golden: Inputs that every precision was run on.
    """
    manifest = Manifest(
        task=checkpoint.task,
        architecture=checkpoint.architecture.model_type,
        source=checkpoint.source,
        max_length=checkpoint.max_length,
        versions=installed_versions(),
        precisions=precisions,
        golden_inputs=tuple(GoldenInput(item.text, item.text_pair, encoding.ids) for item, encoding in golden),
        files=hash_files(folder),
        ortolan=__version__,
        layout=checkpoint.layout,
    )
    document = json.dumps(manifest.to_json(), indent=1, ensure_ascii=False)
    (folder / MANIFEST_NAME).write_text(document + "\n", encoding="utf-8")
    return manifest


def hash_files(folder: Path) -> dict[str, FileRecord]:
    """Hash and size of every file in a folder and below, by its path inside."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
