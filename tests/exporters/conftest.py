"""Checkpoints, graphs and artifacts that several tests read, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from ortolan import Artifact, timing
from ortolan_exporters import choose, export, recipe
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace
from tests import tiny


@pytest.fixture(scope="session", autouse=True)
def _measure_once() -> Iterator[None]:
    """Time each attention form once, without rest: which one is quickest is of no interest here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "ROUNDS", 1)
        patch.setattr(timing, "REST_SECONDS", 0)
        patch.setattr(timing, "WARM_UP_SECONDS", 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: models as small as these gain nothing by a second one, and lose by waiting for it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


@pytest.fixture(scope="session")
def bert(bert_checkpoint: Path) -> Checkpoint:
    """The tiny BERT, resolved. Not to be changed."""
    return resolve(bert_checkpoint, None, ExportConfig())


@pytest.fixture(scope="session")
def bert_graph(bert: Checkpoint) -> ir.Model:
    """The tiny BERT as the tracer leaves it. Not to be changed: take a clone."""
    return trace(bert)["model"]


@pytest.fixture
def traced_before(bert_graph: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of the tiny BERT take the graph of it that is there, in place of seconds of tracing."""
    monkeypatch.setattr(recipe, "trace", lambda _: {"model": bert_graph.clone()})


@pytest.fixture(scope="session")
def exported_in_all_precisions(
    bert_checkpoint: Path, bert_graph: ir.Model, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    """The tiny BERT in all five precisions, every attention form kept. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "trace", lambda _: {"model": bert_graph.clone()})
        return export(
            bert_checkpoint,
            tmp_path_factory.mktemp("precisions") / "bert",
            precisions=("fp32", "int8", "int8-static", "int4", "fp16"),
            max_drop=0.5,
            keep_forms=True,
        )
