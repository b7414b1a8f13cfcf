"""Decoders over a cache: whole texts, chunks and single tokens give what torch gives for the text at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks import zoo
from ortolan.config import SessionConfig
from ortolan.model import Model
from ortolan.positions import Buckets
from ortolan.session.ort import OrtSession
from ortolan.session.providers import provider_named
from ortolan.teacher_forcing import TeacherForced, is_cached
from ortolan_exporters import export
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.graph_files import save_graph
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.registry import CLEAN_UP
from ortolan_exporters.reference import torch_run
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace

pytestmark = pytest.mark.parity

TASKS = {
    "gpt2": "text-generation",
    "llama": "text-generation",
    "mistral": "text-generation",
    "qwen2": "text-generation",
    "qwen3": "text-generation",
    "t5": "text2text-generation",
    "mt5": "text2text-generation",
    "bart": "text2text-generation",
    "mbart": "text2text-generation",
    "marian": "text2text-generation",
}

LIKE_OTHERS = ("qwen2", "mt5", "mbart", "marian")
"""Left out of the quick tests: what they do is done by others too."""

types = pytest.mark.parametrize(
    "model_type", [pytest.param(one, marks=[pytest.mark.slow] if one in LIKE_OTHERS else []) for one in TASKS]
)

Traced = Callable[[str], tuple[Checkpoint, dict[str, ir.Model], dict[str, OrtSession]]]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    @functools.cache
    def once(model_type: str) -> tuple[Checkpoint, dict[str, ir.Model], dict[str, OrtSession]]:
        folder = zoo.save(tmp_path_factory.mktemp(model_type) / "checkpoint", model_type, TASKS[model_type])
        checkpoint = resolve(folder, None, ExportConfig(task=TASKS[model_type]))
        graphs = trace(checkpoint)
        for graph in graphs.values():
            run_passes(graph, CLEAN_UP)
        sessions = {role: load(save_graph(graph, folder / f"{role}.onnx")) for role, graph in graphs.items()}
        return checkpoint, graphs, sessions

    return once


def load(path: Path) -> OrtSession:
    return OrtSession(path, provider_named("cpu"), SessionConfig(provider="cpu"), ())


@types
@pytest.mark.parametrize("chunk", [None, 1, 5], ids=["at once", "token by token", "in chunks"])
def test_cache_changes_no_logits(traced: Traced, model_type: str, chunk: int | None) -> None:
    checkpoint, _, sessions = traced(model_type)
    session = TeacherForced(sessions, checkpoint.config.to_dict(), chunk=chunk)
    for rows, length in ((1, 1), (1, 33), (4, 33)):
        feed = example_batch(checkpoint.inputs, rows, length, vocabulary=checkpoint.vocabulary, seed=length)
        wanted = torch_run(checkpoint)(feed)["logits"]
        got = session.run(feed)["logits"]
        real = feed["attention_mask"].astype(bool) if "decoder_input_ids" not in feed else slice(None)
        allowed = 1e-5 * max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(got[real], wanted[real], atol=allowed, rtol=0)


def test_padding_on_the_left_changes_no_logits(traced: Traced) -> None:
    _checkpoint, _, sessions = traced("gpt2")
    session = TeacherForced(sessions, {})
    ids = np.array([[7, 8, 9], [4, 5, 0]])
    right = session.run({"input_ids": ids, "attention_mask": np.array([[1, 1, 1], [1, 1, 0]])})["logits"]
    ids[1] = [0, 4, 5]
    left = session.run({"input_ids": ids, "attention_mask": np.array([[1, 1, 1], [0, 1, 1]])})["logits"]
    np.testing.assert_allclose(left[1, 1:], right[1, :2], atol=1e-5)
    assert not left[1, 0].any()


@types
def test_every_layer_attends_by_one_operator(traced: Traced, model_type: str) -> None:
    _checkpoint, graphs, sessions = traced(model_type)
    decoder = graphs["model"] if "model" in graphs else graphs["decoder"]
    layers = sum(spec.name.endswith(".key") for spec in sessions[next(reversed(sessions))].signature.outputs)
    assert layers == 2
    assert sum(node.op_type == "GroupQueryAttention" for node in decoder.graph) == layers
    assert sum(node.op_type == "Softmax" for node in decoder.graph) == 0
    assert is_cached(sessions[next(reversed(sessions))].signature)


@pytest.mark.parametrize("model_type", ["gpt2", "t5"])
def test_tables_of_tied_words_are_stored_once(traced: Traced, model_type: str) -> None:
    checkpoint, graphs, _ = traced(model_type)
    for graph in graphs.values():
        tables = [one for one in graph.graph.initializers.values() if checkpoint.vocabulary.size in (one.shape or ())]
        assert len(tables) == 1


@pytest.mark.parametrize(
    ("model_type", "precision"),
    [("gpt2", "int8"), ("llama", "int8"), ("bart", "int8-static"), ("t5", "int8")],
)
def test_artifact_answers_whole_texts_at_every_precision(tmp_path: Path, model_type: str, precision: str) -> None:
    folder = zoo.save(tmp_path / "checkpoint", model_type, TASKS[model_type])
    artifact = export(folder, tmp_path / "artifact", task=TASKS[model_type], precisions=("fp32", precision))
    roles = {"model"} if TASKS[model_type] == "text-generation" else {"encoder", "decoder"}
    assert {role for record in artifact.manifest.precisions.values() for role in record.graphs} == roles
    exact, reduced = (Model.load(artifact.folder, "cpu", one) for one in ("fp32", precision))
    encoded = exact.tokenizer(["the film was good", "rain"], padding=True)
    wanted, got = exact(**encoded).logits, reduced(**encoded).logits
    assert wanted.shape == got.shape
    assert 0 < np.abs(wanted - got).mean() < 0.2 * np.abs(wanted).mean()


def test_near_distances_have_buckets_of_their_own_and_far_ones_share() -> None:
    assert Buckets(8, 16).of(np.array([-3, 0, 1, 3, 4, 5, 6, 8, 11, 16, 500])).tolist() == [
        0,
        0,
        1,
        3,
        4,
        4,
        5,
        6,
        6,
        7,
        7,
    ]
