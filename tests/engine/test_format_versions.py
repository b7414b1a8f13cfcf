"""Artifacts of every format version that was ever written are read for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ortolan import pipeline, verify
from ortolan.manifest import FORMAT_VERSION

GOLDENS = Path(__file__).parents[1] / "goldens"
VERSIONS = list(range(1, FORMAT_VERSION + 1))


@pytest.mark.parametrize("version", VERSIONS)
def test_there_is_an_artifact_of_each_version(version: int):
    document = json.loads((GOLDENS / f"artifact-v{version}" / "ortolan.json").read_text(encoding="utf-8"))
    assert document["format_version"] == version


@pytest.mark.parametrize("version", VERSIONS)
def test_an_artifact_of_each_version_verifies(version: int):
    assert [check.detail for check in verify(GOLDENS / f"artifact-v{version}") if not check.passed] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_an_artifact_of_each_version_answers(version: int):
    if version == 3:  # it writes
        [answer] = pipeline("text2text-generation", GOLDENS / "artifact-v3", provider="cpu")("rain", max_new_tokens=3)
        assert answer["generated_text"]
        return
    [answer] = pipeline("text-classification", GOLDENS / f"artifact-v{version}", provider="cpu")("the film was good")
    assert answer["label"] in ("NEGATIVE", "POSITIVE")
