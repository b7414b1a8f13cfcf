"""From the `model` that a user names to an artifact folder: given, downloaded, or exported once into the cache."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from ortolan.errors import ArtifactError, ConfigError, MissingFileError
from ortolan.hub import ARTIFACT_FILES, CHECKPOINT_FILES, cached_snapshot, download, is_hub_id, list_files
from ortolan.layouts import check_is_whole, files_in, files_to_fetch, graphs_among, has_weights
from ortolan.manifest import MANIFEST_NAME
from ortolan.version import __version__

DEFAULT_MODELS: dict[str, tuple[str | None, str]] = {
    "text-classification": ("sentiment-minilm", "distilbert/distilbert-base-uncased-finetuned-sst-2-english"),
    "token-classification": (None, "dbmdz/bert-large-cased-finetuned-conll03-english"),
    "question-answering": (None, "distilbert/distilbert-base-cased-distilled-squad"),
    "fill-mask": (None, "distilbert/distilroberta-base"),
    "feature-extraction": (None, "distilbert/distilbert-base-cased"),
    "zero-shot-classification": (None, "facebook/bart-large-mnli"),
    "text-generation": (None, "openai-community/gpt2"),
    "text2text-generation": (None, "google-t5/t5-base"),
    "summarization": (None, "sshleifer/distilbart-cnn-12-6"),
    "translation": (None, "google-t5/t5-base"),
    "sentence-embedding": (None, "sentence-transformers/all-MiniLM-L6-v2"),
    "text-ranking": (None, "cross-encoder/ms-marco-MiniLM-L6-v2"),
}
"""For each task, the model used when none is named: a folder of models/ in a checkout, else a Hub id. It is that of
transformers where it has one; for text-generation that of its version 4, since that of 5 has 3 billion parameters."""

_MODELS = Path(__file__).resolve().parents[2] / "models"
EXPORT_NEEDS = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "tqdm")
"""What the exporter imports, and the `export` extra installs."""


def locate(
    model: str | Path | None,
    task: str,
    *,
    default_for: str | None = None,
    revision: str | None = None,
    cache_dir: Path | None = None,
    precision: str = "auto",
) -> Path:
    """Find or make the artifact for a model.

    A folder with weights is a checkpoint, and is exported. If there are no weights, or the `export` extra is not
    installed, and another tool has put graphs there, then these are the answer.

    Args:
        model: An artifact folder, a checkpoint folder, a Hub id, or None for the default of the task.
        task: Name of the task, for a checkpoint that has to be exported.
        default_for: Name of the task whose default is meant, where that is another one: pipelines may share a head.
        revision: Branch, tag or commit on the Hub.
        cache_dir: Where exports are kept; by default ORTOLAN_CACHE, else the user's cache folder.
        precision: Which graphs of another tool to bring from the Hub; artifacts come whole.

    Returns:
        A folder that `Model.load` reads: with a manifest, or with graphs of another tool.

    Raises:
        MissingFileError: Nothing of that name is to be had.
        ArtifactError: A checkpoint that has to be exported and can't be.
        ConfigError: A revision of a folder.
    """
    name = default_model(default_for or task) if model is None else model
    cache = cache_folder(cache_dir)
    folder = Path(name)
    checkpoint = [str(name)]
    if not is_folder(folder):
        folder = _from_hub(str(name), revision, task, cache, precision)
        # its id and commit, not the snapshot's path: they go into the manifest
        checkpoint += ["--revision", folder.name]
    elif revision is not None:
        raise ConfigError(
            f"revision '{revision}' requested", f"'{name}' is a folder, which has no revisions", "leave it out"
        )
    names = files_in(folder)
    if MANIFEST_NAME in names:
        return folder
    if "config.json" not in names:
        raise MissingFileError(
            f"model '{name}' requested",
            f"the folder has neither {MANIFEST_NAME} nor config.json",
            "pass an artifact, a checkpoint or a Hub id",
        )
    if (exported := _target(folder, str(name), task, cache)).joinpath(MANIFEST_NAME).is_file():
        return exported
    return folder if _runs_as_it_is(names, str(name)) else _exported(exported, checkpoint, task)


def default_model(task: str) -> str | Path:
    """Name the model that serves a task when the user names none.

    Raises:
        MissingFileError: The task has no default.
    """
    # translation_en_to_de and the like have the default of translation, as in transformers
    name = "translation" if task.startswith("translation_") else task
    if name not in DEFAULT_MODELS:
        raise MissingFileError(f"a model for '{task}' requested", "this task has no default", "pass model=")
    local, hub_id = DEFAULT_MODELS[name]
    folder = None if local is None else _MODELS / local
    return folder if folder is not None and (folder / "config.json").is_file() else hub_id


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


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False, and no error, for what is too long or too odd to be a path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def missing_for_export() -> list[str]:
    """Packages that the exporter needs and that are not installed."""
    return [need for need in EXPORT_NEEDS if importlib.util.find_spec(need) is None]


def _runs_as_it_is(names: list[str], name: str) -> bool:
    """Whether the graphs of another tool are the best there is."""
    if has_weights(names) and not missing_for_export():
        return False
    check_is_whole(names, f"model '{name}' requested")
    return bool(graphs_among(names))


def _from_hub(name: str, revision: str | None, task: str, cache: Path, precision: str) -> Path:
    if not is_hub_id(name):
        raise MissingFileError(f"model '{name}' requested", "there is no such folder", "check the path")
    names = list_files(name, revision=revision)
    if MANIFEST_NAME in names:
        return download(name, revision=revision, patterns=ARTIFACT_FILES)
    if not _runs_as_it_is(names, name):
        return download(name, revision=revision, patterns=CHECKPOINT_FILES)
    cached = cached_snapshot(name, revision=revision)
    if cached is not None and (_target(cached, name, task, cache) / MANIFEST_NAME).is_file():
        return cached
    return download(name, revision=revision, patterns=files_to_fetch(names, precision))


def _target(folder: Path, name: str, task: str, cache: Path) -> Path:
    """Where the export of a checkpoint is kept, whether it is there or not."""
    return cache / "artifacts" / f"{Path(name).resolve().name}-{_fingerprint(folder, task)}"


def _exported(target: Path, checkpoint: list[str], task: str) -> Path:
    """Export a checkpoint into the cache.

    Args:
        target: Where to.
        checkpoint: How the exporter is told of it: a folder, or a Hub id with its revision.
        task: Name of the task.
    """
    name = checkpoint[0]
    missing = missing_for_export()
    if missing:
        raise ArtifactError(
            f"model '{name}' requested",
            f"it is a checkpoint, and exporting it needs {', '.join(missing)}",
            "run: pip install 'ortolan[export]', or pass a folder that 'ortolan export' made",
        )
    # A process of its own: this one stays free of torch, which would cost it 300 MB and seconds for good.
    # --wait: another process may be at it already, and then its export serves
    words = [*checkpoint, "-o", str(target), "--task", task, "--wait", "--json"]
    stdout, status = _run_exporter(words, is_downloaded=len(checkpoint) > 1)
    if not (target / MANIFEST_NAME).is_file():  # it fails too where another process was quicker by a moment
        raise ArtifactError(
            f"model '{name}' requested",
            f"exporting it failed: {_reason(stdout, status)}",
            f"run: ortolan export {' '.join(checkpoint)} -o DIR",
        )
    return target


def _run_exporter(words: list[str], *, is_downloaded: bool) -> tuple[bytes, int]:
    """Run the exporter to its end, also when this process is interrupted: it then removes its unfinished folder.

    `subprocess.run` would kill it a quarter of a second after ctrl-C. In a session of its own, ctrl-C reaches this
    process alone, which hands it on, once.
    """
    # PYTHONSAFEPATH: with -m, the working folder would come first on sys.path (Python 3.11 and later heed it)
    env = {**os.environ, "PYTHONSAFEPATH": "1"} | ({"HF_HUB_OFFLINE": "1"} if is_downloaded else {})
    command = [sys.executable, "-m", "ortolan_exporters", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=env, start_new_session=True)
    try:
        stdout, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return stdout, process.returncode


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
