"""Fixtures that several test files share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from hypothesis import settings

# No deadline: a machine that is busy is not a failure. Derandomized: a gate answers the same twice.
settings.register_profile("ortolan", deadline=None, derandomize=True, database=None, max_examples=100)
settings.load_profile("ortolan")

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A copy of the checked-in artifact: tiny BERT, fp32 and int8. Free to be damaged."""
    return Path(shutil.copytree(GOLDENS / "artifact-v2", tmp_path / "artifact"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the cache of the person who runs it, or asks the network."""
    monkeypatch.setenv("ORTOLAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    # the client reads these once, when it is imported; the variables are for child processes
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
