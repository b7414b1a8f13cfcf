from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from ortolan import Engine, Model, SessionError, pipeline
from ortolan.config import BatchingConfig, SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS
from ortolan.session.shared import open_shared
from tests.engine.damage import GOLDEN

TEXTS = ["the film was good", "i hate rain", "sun"]
GRAPHS = {"fp32": "model.onnx", "int8": "model_quantized.onnx"}


@pytest.mark.parametrize("precision", GRAPHS)
def test_sessions_that_share_weights_answer_what_the_graph_answers(precision: str):
    model = Model.load(GOLDEN, "cpu", precision)
    feed = model.tokenizer(TEXTS)
    alone = OrtSession(GOLDEN / "onnx" / GRAPHS[precision], PROVIDERS["cpu"], SessionConfig(num_threads=1), ())
    feed = {spec.name: feed[spec.name] for spec in alone.signature.inputs}
    shared = open_shared(GOLDEN / "onnx" / GRAPHS[precision], PROVIDERS["cpu"], SessionConfig(), (), [1, 2])
    assert list(shared) == [1, 2]
    for session in shared.values():
        assert session.signature == alone.signature
        np.testing.assert_array_equal(session.run(feed)["logits"], alone.run(feed)["logits"])


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_shared(GOLDEN / "onnx" / "model.onnx", PROVIDERS["cpu"], SessionConfig(), (), [1, 2])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(SessionError, match=r"'model.onnx' with shared weights requested.*set TMPDIR"):
        open_shared(GOLDEN / "onnx" / "model.onnx", PROVIDERS["cpu"], SessionConfig(), (), [1, 2])


def test_without_room_for_it_each_session_has_its_own_weights_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = Model.load(GOLDEN, "cpu", "fp32", num_threads=2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.warns(UserWarning, match="each of the sessions on 2, 1 threads holds its own weights"):
        replicas = model.replicas([2, 1])
    feed = model.tokenizer(TEXTS)
    np.testing.assert_allclose(replicas[1](**feed).logits, replicas[2](**feed).logits, atol=1e-6)


def test_a_model_runs_on_the_copy_that_it_shares():
    model = Model.load(GOLDEN, "cpu", "int8", num_threads=2)
    before = model(**model.tokenizer(TEXTS)).logits
    replicas = model.replicas([2, 1])
    assert replicas[2] is model
    assert {width: one.num_threads for width, one in replicas.items()} == {2: 2, 1: 1}
    np.testing.assert_array_equal(model(**model.tokenizer(TEXTS)).logits, before)


def test_an_engine_answers_on_all_its_widths():
    pipe = pipeline("text-classification", Model.load(GOLDEN, "cpu", "fp32", num_threads=2))
    with Engine(pipe, batching=BatchingConfig(calibration_ms=20)) as engine:
        futures = [engine.submit_nowait(TEXTS[number % 3]) for number in range(200)]
        labels = [future.result(30)[0]["label"] for future in futures]
    assert labels == [row["label"] for row in pipe(TEXTS)] * 66 + labels[-2:]
