"""Files from the Hugging Face Hub, through its own client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ortolan.errors import MissingFileError

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
    asked = f"model '{repo}'" + (f" at revision '{revision}'" if revision else "") + " requested"
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingFileError(
            asked,
            "there is no such folder here, and huggingface_hub is not installed",
            "run: pip install 'ortolan[hub]'",
        ) from error
    try:
        path = huggingface_hub.snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=None if any("/" in pattern for pattern in patterns) else ["*/*"],
            cache_dir=cache_dir,
        )
    except Exception as error:  # its HTTP errors are OSErrors, those of its network library (a proxy's) are not
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingFileError(
            asked,
            f"there is no such folder here, and the Hub gave nothing ({reason})",
            "check the name, the network and HF_TOKEN, or pass a folder",
        ) from error
    return Path(path)
