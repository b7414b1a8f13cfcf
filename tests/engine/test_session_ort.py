from __future__ import annotations

import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, ProviderError, SessionError
from ortolan.config import SessionConfig
from ortolan.session import ort, providers
from ortolan.session.base import Signature, Stop, TensorSpec
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


def test_an_option_that_the_provider_does_not_take_is_refused():
    with pytest.raises(ConfigError, match="there is no 'stream'"):
        OrtSession(GRAPH, PROVIDERS["cpu"], SessionConfig(provider="cpu", provider_options={"stream": 1}), [])


# Stopped


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> OrtSession:
    """A graph that adds x to itself a thousand million times."""
    import onnx
    from onnx import TensorProto, helper

    def value(name: str, kind: int, shape: list[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["go_on_out"]), helper.make_node("Add", ["now", "now"], ["next"])],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("go_on", TensorProto.BOOL, []),
            value("now", TensorProto.FLOAT, [1]),
        ],
        [value("go_on_out", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [1])],
    )
    turns = helper.make_tensor("turns", TensorProto.INT64, [], [10**9])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)],
        "endless",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
        initializer=[turns],
    )
    path = tmp_path_factory.mktemp("endless") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return OrtSession(path, PROVIDERS["cpu"], SessionConfig(num_threads=1), [])


def test_a_run_under_way_ends_when_another_thread_says_so(endless: OrtSession):
    stop = Stop()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(SessionError) as caught:
        endless.run({"x": np.zeros(1, np.float32)}, stop)
    timer.join()
    assert str(caught.value) == (
        "a run with {'x': [1]} requested, it was stopped before it was done; send it again, or allow it more time"
    )


def test_a_stop_that_is_set_before_ends_the_run_at_once(session: OrtSession):
    stop = Stop()
    stop.set()
    with pytest.raises(SessionError, match="it was stopped before it was done"):
        session.run(feed([2, 5, 3]), stop)


def test_a_session_goes_on_after_a_run_that_was_stopped(session: OrtSession):
    stop = Stop()
    stop.set()
    with pytest.raises(SessionError):
        session.run(feed([2, 5, 3]), stop)
    assert session.run(feed([2, 5, 3]))["logits"].shape == (1, 2)


def test_a_stop_that_is_never_set_changes_nothing(session: OrtSession):
    same = feed([2, 5, 7, 8, 9, 3])
    assert session.run(same, Stop())["logits"].tolist() == session.run(same)["logits"].tolist()


def test_a_failure_under_a_stop_that_is_not_set_is_told_as_a_failure(session: OrtSession):
    with pytest.raises(SessionError, match="ONNX Runtime failed"):
        session.run(feed([2, 9_999, 3]), Stop())


# Forked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12 on: that is what is tested
def test_a_forked_child_may_load_in_the_place_of_what_its_parent_loaded():
    session = OrtSession(GRAPH, PROVIDERS["cpu"], SessionConfig(num_threads=2), [])
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that waits for threads which it has not
        session = OrtSession(GRAPH, PROVIDERS["cpu"], SessionConfig(num_threads=2), [])
        os._exit(0 if session.run(feed([2, 5, 3]))["logits"].shape == (1, 2) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12 on: that is what is tested
def test_a_forked_child_is_told_to_load_for_itself(session: OrtSession):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            session.run(feed([2, 5, 3]))
        except SessionError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        message = told.read()
    os.waitpid(child, 0)
    assert message == (
        f"a run in process {child} requested, the session was loaded in process {os.getpid()}, whose threads a fork "
        "does not bring along; load the model, or create the engine, in the child"
    )
    assert session.run(feed([2, 5, 3]))["logits"].shape == (1, 2), "the parent goes on"


def test_a_graph_reads_and_writes_arrays_where_they_are(session: OrtSession):
    given, logits = feed([2, 5, 3]), np.zeros((1, 2), np.float32)
    bound = session.bind(given, {"logits": logits})
    for ids in ([2, 5, 3], [2, 9, 3]):
        given["input_ids"][0] = ids
        bound.run()
        np.testing.assert_allclose(logits, session.run(feed(ids))["logits"], atol=1e-6)
    bound.put("input_ids", np.array([[2, 7, 3]], np.int64))
    bound.run(Stop())
    np.testing.assert_allclose(logits, session.run(feed([2, 7, 3]))["logits"], atol=1e-6)


def test_a_bound_run_that_fails_or_is_stopped_says_so(session: OrtSession):
    bound = session.bind(feed([2, 5, 3]), {"logits": np.zeros((4, 2), np.float32)})
    with pytest.raises(SessionError, match=r"a run with \{'input_ids': \[1, 3\].*ONNX Runtime failed"):
        bound.run()
    stop = Stop()
    stop.set()
    with pytest.raises(SessionError, match="it was stopped before it was done"):
        session.bind(feed([2, 5, 3]), {"logits": np.zeros((1, 2), np.float32)}).run(stop)
