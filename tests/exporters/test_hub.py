"""Checkpoints from the Hub's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks import zoo
from ortolan import MissingFileError
from ortolan_exporters import CheckpointError
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import Checkpoint, resolve
from tests import tiny
from tests.engine.damage import as_hub_snapshot

FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def repository(tmp_path: Path, bert_checkpoint: Path) -> Path:
    """A repository in the Hub's cache with two commits: `main` is the first, branch `dev` the second."""
    repo = tmp_path / "hub" / "models--org--name"
    as_hub_snapshot(bert_checkpoint, repo, FIRST)
    other = tiny.save_checkpoint(tmp_path / "other", tiny.bert(num_labels=5))
    as_hub_snapshot(other, tmp_path / "second", SECOND)
    for blob in (tmp_path / "second" / "blobs").iterdir():
        shutil.copy(blob, repo / "blobs" / blob.name)
    shutil.copytree(tmp_path / "second" / "snapshots" / SECOND, repo / "snapshots" / SECOND, symlinks=True)
    (repo / "refs" / "dev").write_text(SECOND)
    return repo


def resolved(name: str = "org/name", **options: object) -> Checkpoint:
    return resolve(name, None, ExportConfig(**options))


@pytest.mark.parametrize(
    ("revision", "commit", "num_labels"),
    [(None, FIRST, 2), ("main", FIRST, 2), ("dev", SECOND, 5), (FIRST, FIRST, 2), (SECOND, SECOND, 5)],
    ids=["no revision", "default branch", "branch", "first commit", "second commit"],
)
@pytest.mark.usefixtures("repository")
def test_revision_is_a_branch_or_a_commit_and_no_network_is_needed(
    revision: str | None, commit: str, num_labels: int
) -> None:
    found = resolved(revision=revision)
    assert (found.source["name"], found.source["revision"]) == ("org/name", commit)
    assert found.config.num_labels == num_labels


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("revision", ["no-such-branch", "c" * 40], ids=["branch", "commit"])
def test_revision_that_is_not_in_the_cache_is_named(revision: str) -> None:
    with pytest.raises(MissingFileError, match=f"model 'org/name' at revision '{revision}' requested"):
        resolved(revision=revision)


@pytest.fixture
def pickled(tmp_path: Path, bert_checkpoint: Path) -> Path:
    """A repository in the Hub's cache that has its weights in a pickle alone."""
    folder = Path(shutil.copytree(bert_checkpoint, tmp_path / "pickled"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return as_hub_snapshot(folder, tmp_path / "hub" / "models--org--old", FIRST)


@pytest.mark.usefixtures("pickled")
def test_pickle_from_the_hub_is_refused_unasked() -> None:
    with pytest.raises(CheckpointError) as caught:
        resolved("org/old")
    assert str(caught.value).startswith("weights of 'org/old' requested, ")
    assert "--allow-pickle" in caught.value.remedy


@pytest.mark.usefixtures("pickled")
def test_pickle_from_the_hub_is_read_when_asked() -> None:
    assert resolved("org/old", allow_pickle=True).config.num_labels == 2


def test_safetensors_go_before_a_pickle(tmp_path: Path, bert_checkpoint: Path) -> None:
    folder = Path(shutil.copytree(bert_checkpoint, tmp_path / "both"))
    (folder / "pytorch_model.bin").write_bytes(b"not to be read")
    as_hub_snapshot(folder, tmp_path / "hub" / "models--org--both", FIRST)
    assert resolved("org/both", allow_pickle=True).source["new_weights"] == []


def test_sentence_transformers_folders_come_along(tmp_path: Path) -> None:
    folder = zoo.save(tmp_path / "embedder", "bert", "sentence-embedding")
    as_hub_snapshot(folder, tmp_path / "hub" / "models--org--embedder", FIRST)
    assert resolved("org/embedder").task == "sentence-embedding"
