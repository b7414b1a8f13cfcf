"""Python code that comes with a checkpoint: run when the user says so, and never else."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import transformers
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.architectures.registry import class_name
from ortolan_exporters.errors import CheckpointError, ExportWarning, brief

TRUST = "read the code, and pass --trust-remote-code (trust_remote_code=True) if you trust it"


def check_no_code_needed(folder: Path, name: str) -> None:
    """Look whether transformers knows a checkpoint without its code, and warn if there is some all the same.

    Args:
        folder: Of the checkpoint.
        name: What the user calls it, for messages.

    Raises:
        CheckpointError: The code would have to run; the message says in which files it is.
    """
    settings = settings_in(folder / "config.json")
    of_tokenizer = settings_in(folder / "tokenizer_config.json").get("auto_map")
    files = ", ".join(files_of([settings.get("auto_map"), of_tokenizer]))
    kind = settings.get("model_type")
    if "auto_map" in settings and (not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING):
        raise CheckpointError(
            f"checkpoint '{name}' requested",
            f"code of its own would have to run ({files}), for transformers does not know model_type {kind!r}",
            TRUST,
        )
    if files:
        message = f"{name}: code of its own ({files}) is not run; the classes of transformers are used"
        warnings.warn(message, ExportWarning, stacklevel=5)


def head_class(architecture: Architecture, task: str, folder: Path, name: str) -> Any:
    """Find the class that has the head for a task: of transformers, or of an architecture with code of its own.

    Args:
        architecture: The architecture, which says whose class it is.
        task: One that it has a head for.
        folder: The checkpoint.
        name: What the user calls it, for messages.

    Raises:
        CheckpointError: The code does not run.
    """
    found = str(class_name(architecture, task))
    if "." not in found:
        return getattr(transformers, found)
    try:
        return get_class_from_dynamic_module(found, str(folder))
    except Exception as error:  # it may do anything
        raise CheckpointError(
            f"checkpoint '{name}' requested", f"its own code cannot be run ({brief(error)})", "install what it imports"
        ) from error


def settings_in(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is none: what is wrong with the file is said where it is needed."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return document if isinstance(document, dict) else {}


def files_of(code: object) -> list[str]:
    """Name the files of an `auto_map`, whose entries are classes or lists of classes, or None: "file.Class"."""
    if isinstance(code, str):
        return [f"{code.rpartition('.')[0]}.py"]
    inner = code.values() if isinstance(code, dict) else code if isinstance(code, list) else ()
    return sorted({file for one in inner for file in files_of(one)})
