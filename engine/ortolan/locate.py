"""From the `model` that a user names to an artifact folder: given, downloaded, or exported once into the cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from ortolan.artifact import MANIFEST_NAME
from ortolan.errors import ArtifactError, MissingFileError
from ortolan.hub import ARTIFACT_FILES, CHECKPOINT_FILES, download
from ortolan.version import __version__

DEFAULT_MODELS = {
    "text-classification": ("sentiment-minilm", "distilbert/distilbert-base-uncased-finetuned-sst-2-english")
}
"""For each task, the model used when none is named: a folder of models/ in a checkout, else a Hub id."""

_MODELS = Path(__file__).resolve().parents[2] / "models"
_EXPORT_NEEDS = ("torch", "transformers", "onnx", "onnxscript")


def locate(model: str | Path | None, task: str, *, revision: str | None = None, cache_dir: Path | None = None) -> Path:
    """Find or make the artifact for a model.

    Args:
        model: An artifact folder, a checkpoint folder, a Hub id, or None for the default of the task.
        task: Name of the task, for a checkpoint that has to be exported.
        revision: Branch, tag or commit on the Hub.
        cache_dir: Where exports are kept; by default ORTOLAN_CACHE, else the user's cache folder.

    Returns:
        A folder with a manifest.

    Raises:
        MissingFileError: Nothing of that name is to be had.
        ArtifactError: A checkpoint that has to be exported and can't be.
    """
    name = default_model(task) if model is None else model
    folder = Path(name)
    if not folder.is_dir():
        folder = _from_hub(str(name), revision)
    if (folder / MANIFEST_NAME).is_file():
        return folder
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"model '{name}' requested",
            f"the folder has neither {MANIFEST_NAME} nor config.json",
            "pass an artifact, a checkpoint or a Hub id",
        )
    return _exported(folder, str(name), task, cache_folder(cache_dir))


def default_model(task: str) -> str | Path:
    """Name the model that serves a task when the user names none.

    Raises:
        MissingFileError: The task has no default.
    """
    if task not in DEFAULT_MODELS:
        raise MissingFileError(f"a model for '{task}' requested", "this task has no default", "pass model=")
    local, hub_id = DEFAULT_MODELS[task]
    return _MODELS / local if (_MODELS / local / "config.json").is_file() else hub_id


def cache_folder(cache_dir: Path | None = None) -> Path:
    """Where exports are kept: the argument, else ORTOLAN_CACHE, else `ortolan` in the user's cache folder."""
    if cache_dir is not None:
        return Path(cache_dir)
    if os.environ.get("ORTOLAN_CACHE"):
        return Path(os.environ["ORTOLAN_CACHE"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ortolan"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "ortolan"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ortolan"


def _from_hub(name: str, revision: str | None) -> Path:
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise MissingFileError(f"model '{name}' requested", "there is no such folder", "check the path")
    folder = download(name, revision=revision, patterns=CHECKPOINT_FILES)
    if (folder / MANIFEST_NAME).is_file():
        return download(name, revision=revision, patterns=ARTIFACT_FILES)
    return folder


def _exported(checkpoint: Path, name: str, task: str, cache: Path) -> Path:
    """Export a checkpoint into the cache, unless it is there already."""
    target = cache / "artifacts" / f"{checkpoint.resolve().name}-{_fingerprint(checkpoint, task)}"
    if (target / MANIFEST_NAME).is_file():
        return target
    missing = [need for need in _EXPORT_NEEDS if importlib.util.find_spec(need) is None]
    if missing:
        raise ArtifactError(
            f"model '{name}' requested",
            f"it is a checkpoint, and exporting it needs {', '.join(missing)}",
            "run: pip install 'ortolan[export]', or pass a folder that 'ortolan export' made",
        )
    # A process of its own: this one stays free of torch, which would cost it 300 MB and seconds for good.
    command = [sys.executable, "-m", "ortolan_exporters", str(checkpoint), "-o", str(target), "--task", task, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if not (target / MANIFEST_NAME).is_file():  # perhaps another process was quicker, then its export serves
        raise ArtifactError(
            f"model '{name}' requested",
            f"exporting it failed: {_reason(done.stdout, done.returncode)}",
            f"run: ortolan export {checkpoint} -o DIR",
        )
    return target


def _fingerprint(checkpoint: Path, task: str) -> str:
    """Tell one state of a checkpoint folder from another without reading its weights."""
    files = sorted(path for path in checkpoint.iterdir() if path.is_file())
    state = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    document = json.dumps([str(checkpoint.resolve()), state, task, __version__])
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def _reason(stdout: bytes, returncode: int) -> str:
    try:
        return str(json.loads(stdout)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the exporter ended with status {returncode}"
