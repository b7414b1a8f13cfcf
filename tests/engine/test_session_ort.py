from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortolan import ProviderError, SessionError
from ortolan.config import SessionConfig
from ortolan.session import ort, providers
from ortolan.session.base import Signature, TensorSpec
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS
from tests.engine.damage import GOLDEN
from tests.engine.fakes import IDS, LOGITS, MASK, TYPES, FakeOnnxRuntime

GRAPH = GOLDEN / "onnx" / "model.onnx"


@pytest.fixture(scope="module")
def session() -> OrtSession:
    return OrtSession(GRAPH, PROVIDERS["cpu"], SessionConfig(num_threads=1), ["SkipLayerNormFusion"])


class CpuOnlyRuntime(FakeOnnxRuntime):
    """An ONNX Runtime that is asked for another provider, and silently comes up with the CPU."""

    class InferenceSession:
        def __init__(self, *_: object, **__: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    class SessionOptions:
        def add_session_config_entry(self, *_: str) -> None: ...


class FailingRuntime(CpuOnlyRuntime):
    """An ONNX Runtime that raises when it makes a session."""

    class InferenceSession:
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError("CUDA failure 35: driver is too old\n at some/file.cc:12")


def on(monkeypatch: pytest.MonkeyPatch, runtime: FakeOnnxRuntime) -> None:
    monkeypatch.setattr(ort, "onnxruntime", lambda: runtime)
    monkeypatch.setattr(providers, "onnxruntime", lambda: runtime)


def feed(*rows: list[int]) -> dict[str, Any]:
    ids = np.array(rows, np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def test_the_signature_is_read_from_the_graph(session: OrtSession):
    assert session.signature == Signature((IDS, MASK, TYPES), (LOGITS,))


def test_the_provider_is_named_as_users_write_it(session: OrtSession):
    assert session.provider == "cpu"


def test_a_run_answers_each_output_by_name(session: OrtSession):
    # the first golden text of ortolan.json, and its logits
    outputs = session.run(feed([2, 5, 7, 8, 9, 3]))
    assert outputs["logits"].tolist() == [pytest.approx([-2.005749, 0.328487], abs=1e-4)]


def test_an_id_outside_the_vocabulary_is_a_session_error_with_the_shapes(session: OrtSession):
    with pytest.raises(SessionError, match=r"a run with \{'input_ids': \[1, 3\], .*\} requested, ONNX Runtime failed"):
        session.run(feed([2, 9_999, 3]))


def test_a_file_that_is_no_graph_is_a_session_error(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(SessionError, match=r"'model.onnx' on provider 'CPUExecutionProvider' requested") as caught:
        OrtSession(tmp_path / "model.onnx", PROVIDERS["cpu"], SessionConfig(), [])
    assert "\n" not in str(caught.value)


def test_the_error_of_a_run_can_be_pickled(session: OrtSession):
    with pytest.raises(SessionError) as caught:
        session.run(feed([2, 9_999, 3]))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_provider_that_gives_way_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    on(monkeypatch, CpuOnlyRuntime(folder=tmp_path))
    with pytest.raises(ProviderError) as caught:
        OrtSession(GRAPH, PROVIDERS["cuda"], SessionConfig(), [])
    assert str(caught.value) == (
        "provider 'CUDAExecutionProvider' requested, it does not come up here: ONNX Runtime started without it; "
        "its log on stderr says why; install what is missing, or choose 'cpu'"
    )


def test_a_provider_that_raises_gives_its_reason_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    on(monkeypatch, FailingRuntime(folder=tmp_path))
    with pytest.raises(ProviderError) as caught:
        OrtSession(GRAPH, PROVIDERS["cuda"], SessionConfig(), [])
    assert caught.value.found == "it does not come up here: CUDA failure 35: driver is too old"


def test_a_provider_whose_library_does_not_load_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    on(monkeypatch, CpuOnlyRuntime(folder=tmp_path))
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_text("no library")
    with pytest.raises(ProviderError, match="it does not come up here: .*libonnxruntime_providers"):
        OrtSession(GRAPH, PROVIDERS["cuda"], SessionConfig(), [])


def test_an_axis_without_a_name_has_the_empty_name():
    class Node:
        name, type, shape = "logits", "tensor(float)", [None, 2]

    assert ort._specs([Node()]) == (TensorSpec("logits", "float32", ("", 2)),)
