"""Files from the Hugging Face Hub, through its own client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ortolan.errors import MissingFileError
from ortolan.layouts import files_in

CHECKPOINT_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
"""What a checkpoint is read from. Pickles are left on the Hub."""

ARTIFACT_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "onnx/*", "README.md")
"""What an artifact consists of."""


def is_hub_id(name: str) -> bool:
    """Whether a name can be that of a repository on the Hub: `name` or `owner/name`."""
    return re.fullmatch(r"\w[\w.-]{0,95}(/\w[\w.-]{0,95})?", name) is not None


def download(repo: str, *, revision: str | None, patterns: Sequence[str], cache_dir: Path | None = None) -> Path:
    """Bring files of a repository into the Hub's own cache, or find them there.

    Tokens and offline mode are read from the environment by `huggingface_hub` itself (HF_TOKEN, HF_HUB_OFFLINE).

    Args:
        repo: Name on the Hub, such as "distilbert/distilbert-base-uncased".
        revision: Branch, tag or commit; None for the default branch.
        patterns: Which files, as shell patterns. Subfolders of a checkpoint are left out unless a pattern names them.
        cache_dir: Another cache than the Hub's own.

    Returns:
        The folder of the snapshot.

    Raises:
        MissingFileError: The client is not installed, or the repository or revision can't be had.
    """
    hub = _client(repo, revision)
    try:
        path = hub.snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            # sentence-transformers numbers the folders of its modules
            ignore_patterns=None if any("/" in pattern for pattern in patterns) else ["[!0-9]*/*"],
            cache_dir=cache_dir,
        )
    except Exception as error:  # its HTTP errors are OSErrors, those of its network library (a proxy's) are not
        raise _not_had(repo, revision, error) from error
    return Path(path)


def list_files(repo: str, *, revision: str | None) -> list[str]:
    """List the files of a repository, or those of it in the Hub's own cache where the Hub can't be asked.

    Args:
        repo: Name on the Hub.
        revision: Branch, tag or commit; None for the default branch.

    Returns:
        Paths within the repository.

    Raises:
        MissingFileError: The client is not installed, or the repository or revision can't be had.
    """
    hub = _client(repo, revision)
    try:
        return list(hub.list_repo_files(repo, revision=revision))
    except Exception as error:  # as above
        cached = cached_snapshot(repo, revision=revision)
        if cached is None:
            raise _not_had(repo, revision, error) from error
        return files_in(cached)


def cached_snapshot(repo: str, *, revision: str | None) -> Path | None:
    """Find a repository in the Hub's own cache, without asking the Hub; None if its config is not there.

    Raises:
        MissingFileError: The client is not installed, or the Hub does not allow such a name.
    """
    hub = _client(repo, revision)
    try:
        config = hub.try_to_load_from_cache(repo, "config.json", revision=revision)
    except ValueError as error:
        raise _not_had(repo, revision, error) from error
    return Path(config).parent if isinstance(config, str) else None


def _client(repo: str, revision: str | None) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingFileError(
            _asked(repo, revision),
            "there is no such folder here, and huggingface_hub is not installed",
            "run: pip install 'ortolan[hub]'",
        ) from error
    return huggingface_hub


def _not_had(repo: str, revision: str | None, error: Exception) -> MissingFileError:
    lines = str(error).strip().splitlines()
    # the class tells a private repository from a network that is down, where the text is but a status
    reason = ": ".join([type(error).__name__, *lines[:1]])
    return MissingFileError(
        _asked(repo, revision),
        f"there is no such folder here, and the Hub gave nothing ({reason})",
        "check the name, the network and HF_TOKEN, or pass a folder",
    )


def _asked(repo: str, revision: str | None) -> str:
    return f"model '{repo}'" + (f" at revision '{revision}'" if revision else "") + " requested"
