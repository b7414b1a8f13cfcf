from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.utils import filter_repo_objects

import ortolan
from ortolan import MissingFileError, UnverifiedWarning
from ortolan.hub import ARTIFACT_FILES, CHECKPOINT_FILES, cached_snapshot, download, list_files
from ortolan.locate import locate
from tests.engine.damage import as_hub_snapshot, as_transformers_js

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    """The Hub's cache of this test."""
    return tmp_path / "hub"


def test_a_repository_in_the_cache_is_found_offline(artifact: Path, hub_cache: Path):
    snapshot = as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    assert download("org/name", revision=None, patterns=ARTIFACT_FILES) == snapshot


def test_a_commit_in_the_cache_is_found_offline(artifact: Path, hub_cache: Path):
    snapshot = as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    assert download("org/name", revision=COMMIT, patterns=ARTIFACT_FILES) == snapshot


def test_another_cache_may_be_named(artifact: Path, tmp_path: Path):
    snapshot = as_hub_snapshot(artifact, tmp_path / "other" / "models--org--name", COMMIT)
    assert download("org/name", revision=None, patterns=ARTIFACT_FILES, cache_dir=tmp_path / "other") == snapshot


def test_a_hub_id_in_the_cache_makes_a_pipeline_offline(artifact: Path, hub_cache: Path):
    as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    pipe = ortolan.pipeline("text-classification", "org/name", provider="cpu", precision="fp32")
    assert pipe("the film was good")[0]["label"] == "POSITIVE"


def test_a_repository_that_cannot_be_had_offline_says_why():
    with pytest.raises(MissingFileError) as caught:
        download("org/name", revision=None, patterns=CHECKPOINT_FILES)
    assert caught.value.asked == "model 'org/name' requested"
    assert caught.value.found.startswith("there is no such folder here, and the Hub gave nothing (")
    assert caught.value.remedy == "check the name, the network and HF_TOKEN, or pass a folder"


def test_a_revision_that_cannot_be_had_is_named(artifact: Path, hub_cache: Path):
    as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    with pytest.raises(MissingFileError, match="model 'org/name' at revision 'v2' requested"):
        download("org/name", revision="v2", patterns=CHECKPOINT_FILES)


def test_a_name_that_the_hub_does_not_allow_is_a_missing_model():
    with pytest.raises(MissingFileError, match="model 'a--b' requested"):
        download("a--b", revision=None, patterns=CHECKPOINT_FILES)


def test_a_message_has_one_line():
    with pytest.raises(MissingFileError) as caught:
        download("org/name", revision=None, patterns=CHECKPOINT_FILES)
    assert "\n" not in str(caught.value)


def test_without_the_client_its_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingFileError) as caught:
        download("org/name", revision=None, patterns=CHECKPOINT_FILES)
    assert str(caught.value) == (
        "model 'org/name' requested, there is no such folder here, and huggingface_hub is not installed; "
        "run: pip install 'ortolan[hub]'"
    )


class Client:
    """Takes what the Hub's client is asked for, and gives a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked: dict[str, Any] = {}

    def snapshot_download(self, repo: str, **asked: Any) -> str:
        self.asked = asked
        return str(self._folder)


@pytest.mark.parametrize(
    ("patterns", "ignored"),
    [(CHECKPOINT_FILES, ["[!0-9]*/*"]), (ARTIFACT_FILES, None)],
    ids=["checkpoint-with-those-of-modules-alone", "artifact-with-all"],
)
def test_subfolders_are_asked_for_only_where_they_are_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patterns: tuple[str, ...], ignored: list[str] | None
):
    client = Client(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", client.snapshot_download)
    download("org/name", revision=None, patterns=patterns)
    assert client.asked["ignore_patterns"] == ignored


def test_settings_of_the_modules_of_sentence_transformers_come_with_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    client = Client(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", client.snapshot_download)
    download("org/name", revision=None, patterns=CHECKPOINT_FILES)
    names = ["config.json", "model.safetensors", "1_Pooling/config.json", "onnx/config.json", "checkpoint-5/a.json"]
    asked = filter_repo_objects(
        names, allow_patterns=client.asked["allow_patterns"], ignore_patterns=client.asked["ignore_patterns"]
    )
    assert list(asked) == ["config.json", "model.safetensors", "1_Pooling/config.json"]


# Lists of files


def add_branch(repo: Path, name: str, commit: str) -> None:
    (repo / "refs" / name).write_text(commit)


def test_files_in_the_cache_are_listed_offline(artifact: Path, hub_cache: Path):
    as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    assert "onnx/model.onnx" in list_files("org/name", revision=None)


def test_files_are_listed_by_the_hub_where_it_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo, revision: [repo, revision])
    assert list_files("org/name", revision="v2") == ["org/name", "v2"]


@pytest.mark.parametrize("revision", ["v2", COMMIT], ids=["branch", "commit"])
def test_a_revision_in_the_cache_is_found_offline(artifact: Path, hub_cache: Path, revision: str):
    snapshot = as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    add_branch(hub_cache / "models--org--name", "v2", COMMIT)
    assert "ortolan.json" in list_files("org/name", revision=revision)
    assert cached_snapshot("org/name", revision=revision) == snapshot
    assert locate("org/name", "text-classification", revision=revision) == snapshot


def test_a_revision_that_is_not_in_the_cache_is_named(artifact: Path, hub_cache: Path):
    as_hub_snapshot(artifact, hub_cache / "models--org--name", COMMIT)
    assert cached_snapshot("org/name", revision="v2") is None
    with pytest.raises(MissingFileError, match="model 'org/name' at revision 'v2' requested"):
        list_files("org/name", revision="v2")


def test_a_private_repository_that_is_not_in_the_cache_says_what_is_off():
    with pytest.raises(MissingFileError) as caught:
        locate("org/private", "text-classification")
    assert caught.value.asked == "model 'org/private' requested"
    assert caught.value.found.startswith(
        "there is no such folder here, and the Hub gave nothing (OfflineModeIsEnabled: "
    )
    assert caught.value.remedy == "check the name, the network and HF_TOKEN, or pass a folder"


def test_a_repository_that_the_hub_hides_says_so_and_shows_no_token(monkeypatch: pytest.MonkeyPatch):
    class RepositoryNotFoundError(Exception):
        pass

    def refuse(repo: str, revision: str | None) -> list[str]:
        raise RepositoryNotFoundError("401 Client Error.\n\nAuthorization: Bearer hf_secret")

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(huggingface_hub, "list_repo_files", refuse)
    with pytest.raises(MissingFileError) as caught:
        list_files("org/private", revision=None)
    assert "(RepositoryNotFoundError: 401 Client Error.)" in str(caught.value)
    assert "hf_secret" not in str(caught.value)


def test_a_name_that_the_hub_does_not_allow_has_no_files():
    with pytest.raises(MissingFileError, match="model 'a--b' requested"):
        list_files("a--b", revision=None)


def test_a_repository_of_graphs_makes_a_pipeline_offline(artifact: Path, hub_cache: Path):
    as_hub_snapshot(as_transformers_js(artifact), hub_cache / "models--org--name", COMMIT)
    with pytest.warns(UnverifiedWarning):
        pipe = ortolan.pipeline("text-classification", "org/name", provider="cpu", precision="int8")
    assert pipe("the film was good")[0]["label"] == "POSITIVE"


@pytest.mark.parametrize("pattern", ["*.bin", "*.pt", "*.pkl", "*.pth", "*.py"])
def test_no_pickle_and_no_code_is_ever_asked_for(pattern: str):
    assert pattern not in {*CHECKPOINT_FILES, *ARTIFACT_FILES}
