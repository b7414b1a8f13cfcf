"""How a folder of sentence-transformers says that hidden states become an embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ortolan import Artifact, ArtifactError
from ortolan.foreign import read_pooling
from ortolan.postprocess.pooling import Pooling
from tests.engine.damage import GOLDEN


def write(folder: Path, settings: object, *kinds: str, place: str = "1_Pooling") -> Path:
    """Write a module list with a Transformer first, and the settings of its pooling."""
    rows = [
        {"idx": n, "path": place if kind == "Pooling" else "", "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(["Transformer", *kinds])
    ]
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"word_embedding_dimension": 8}, "mean"),
    ],
    ids=str,
)
def test_the_settings_say_how_to_pool(tmp_path: Path, settings: dict[str, Any], mode: str):
    assert read_pooling(write(tmp_path, settings, "Pooling")) == Pooling(mode)


def test_vectors_are_scaled_where_the_list_says_so(tmp_path: Path):
    settings = {"pooling_mode_cls_token": True}
    assert read_pooling(write(tmp_path, settings, "Pooling", "Normalize")) == Pooling("cls", normalizes=True)


def test_without_a_list_the_mean_is_taken(tmp_path: Path):
    assert read_pooling(tmp_path) == Pooling("mean")


def test_a_list_without_pooling_means_the_mean(tmp_path: Path):
    assert read_pooling(write(tmp_path, {})) == Pooling("mean")
    assert read_pooling(write(tmp_path, {}, "Normalize")) == Pooling("mean", normalizes=True)


def test_an_artifact_pools_in_its_graph_and_has_no_say():
    assert Artifact.open(GOLDEN).pooling == Pooling()


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean.*cls"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode": "median"}, "median"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode": None}, "None"),
    ],
    ids=str,
)
def test_a_pooling_that_is_not_known_is_an_error(tmp_path: Path, settings: dict[str, Any], found: str):
    with pytest.raises(ArtifactError, match=f"embeddings of .* requested, they are pooled as .*{found}"):
        read_pooling(write(tmp_path, settings, "Pooling"))


def test_a_step_that_is_not_known_is_an_error(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"modules\.json lists Transformer, Pooling, Dense"):
        read_pooling(write(tmp_path, {"pooling_mode": "mean"}, "Pooling", "Dense"))


@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "C:\\elsewhere", "1_Pooling/../../x"])
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, place: str):
    with pytest.raises(ArtifactError, match="names a path outside the folder"):
        read_pooling(write(tmp_path, {}, "Pooling", place=place))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "5", "[1, 2]", "null"])
def test_a_damaged_list_is_an_artifact_error(tmp_path: Path, content: str):
    (tmp_path / "modules.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError):
        read_pooling(tmp_path)


@pytest.mark.parametrize("settings", [[], 5, "mean"], ids=str)
def test_damaged_settings_are_an_artifact_error(tmp_path: Path, settings: object):
    with pytest.raises(ArtifactError):
        read_pooling(write(tmp_path, settings, "Pooling"))


def test_missing_settings_are_an_artifact_error(tmp_path: Path):
    write(tmp_path, {}, "Pooling")
    (tmp_path / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ArtifactError):
        read_pooling(tmp_path)
