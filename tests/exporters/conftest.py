"""Artifacts that several tests read, exported once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ortolan import Artifact
from ortolan_exporters import choose, export
from tests import tiny


@pytest.fixture(scope="session", autouse=True)
def _measure_once() -> Iterator[None]:
    """Time each attention form once: which one is quickest is of no interest here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "ROUNDS", 1)
        yield


@pytest.fixture(scope="session")
def bert_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as save_pretrained writes it. Not to be changed."""
    return tiny.save_checkpoint(tmp_path_factory.mktemp("bert") / "tiny-bert", tiny.bert())


@pytest.fixture(scope="session")
def distilbert_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DistilBERT. Not to be changed."""
    return tiny.save_checkpoint(tmp_path_factory.mktemp("distilbert") / "tiny-distilbert", tiny.distilbert())


@pytest.fixture(scope="session")
def exported_bert(bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The tiny BERT, exported with everything at its default. Not to be changed."""
    return export(bert_checkpoint, tmp_path_factory.mktemp("exported") / "bert")
