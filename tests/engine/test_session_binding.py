from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from ortolan import SessionError
from ortolan.config import SessionConfig
from ortolan.session.base import Array, Stop
from ortolan.session.binding import Binding
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS
from tests.engine.damage import GOLDEN

GRAPH = GOLDEN / "onnx" / "model.onnx"
SHAPES = [(1, 3), (2, 3), (2, 64), (16, 5), (1, 3)]


class Recording:
    """A session that remembers what bindings it gave out, where outputs were, and which CUDA graph was asked for."""

    def __init__(self) -> None:
        self.real = onnxruntime.InferenceSession(str(GRAPH), providers=["CPUExecutionProvider"])
        self.num_bindings = 0
        self.addresses: list[int] = []
        self.graphs: list[str] = []

    def io_binding(self) -> Any:
        self.num_bindings += 1
        return self.real.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        if options is not None:
            self.graphs.append(options.get_run_config_entry("gpu_graph_id"))
        self.real.run_with_iobinding(binding, options)
        self.addresses += [value.data_ptr() for value in binding.get_outputs()]


@pytest.fixture(scope="module")
def plain() -> OrtSession:
    return OrtSession(GRAPH, PROVIDERS["cpu"], SessionConfig(num_threads=1), [])


@pytest.fixture
def session() -> Recording:
    return Recording()


def bind(session: Any, **options: Any) -> Binding:
    return Binding(session, ["logits"], device="cpu", **options)


def feed(rows: int, columns: int, seed: int = 0) -> dict[str, Array]:
    ids = np.random.default_rng(seed).integers(0, 30, (rows, columns))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def in_another_thread(call: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def test_a_bound_run_answers_as_a_plain_one_at_every_shape(plain: OrtSession, session: Recording):
    binding = bind(session)
    for seed, shape in enumerate(SHAPES * 2):
        [logits] = binding.run(feed(*shape, seed))
        np.testing.assert_allclose(logits, plain.run(feed(*shape, seed))["logits"], atol=1e-6)


def test_outputs_that_grow_with_the_inputs_are_bound_at_every_shape(tmp_path: Path):
    import onnx
    from onnx import TensorProto, helper

    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence"])
    graph = helper.make_graph(
        [helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)], "cast", [ids], [logits]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "model.onnx"
    )
    binding = bind(onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]))
    for seed, shape in enumerate(SHAPES * 2):
        only = feed(*shape, seed)["input_ids"]
        assert binding.run({"input_ids": only})[0].tolist() == only.tolist()


def test_a_shape_keeps_its_buffers(session: Recording):
    binding = bind(session)
    for seed in range(4):
        binding.run(feed(2, 3, seed))
    assert session.num_bindings == 1
    assert len(set(session.addresses)) == 1


def test_shapes_have_buffers_of_their_own(session: Recording):
    binding = bind(session)
    for shape in [(1, 3), (3, 1), (1, 3), (3, 1)]:
        binding.run(feed(*shape))
    assert session.num_bindings == 2
    assert session.addresses[:2] == session.addresses[2:]


def test_the_shape_used_longest_ago_gives_up_its_buffers(session: Recording):
    binding = bind(session, max_shapes=2)
    made = []
    for columns in [3, 4, 3, 5, 3, 4]:
        binding.run(feed(1, columns))
        made.append(session.num_bindings)
    assert made == [1, 2, 2, 3, 3, 4]


def test_an_answer_in_hand_is_not_overwritten_by_a_later_run(session: Recording):
    binding = bind(session)
    [first] = binding.run(feed(2, 3, seed=1))
    before = first.copy()
    [second] = binding.run(feed(2, 3, seed=2))
    assert not np.array_equal(first, second)
    assert first.tolist() == before.tolist()


def test_an_answer_in_hand_can_be_changed_without_harm(session: Recording):
    binding = bind(session)
    [first] = binding.run(feed(2, 3))
    before = first.tolist()
    first[:] = 0
    assert binding.run(feed(2, 3))[0].tolist() == before


def test_a_feed_is_neither_kept_nor_changed(session: Recording):
    binding = bind(session)
    [expected] = binding.run(feed(2, 3, seed=2))
    mine = feed(2, 3, seed=1)
    binding.run(mine)
    assert mine["input_ids"].tolist() == feed(2, 3, seed=1)["input_ids"].tolist()
    mine["input_ids"][:] = 0
    assert binding.run(feed(2, 3, seed=2))[0].tolist() == expected.tolist()


def test_threads_get_the_answers_to_what_they_sent(plain: OrtSession, session: Recording):
    binding = bind(session, max_shapes=2)
    feeds = [feed(rows, columns, seed=rows * columns) for rows in (1, 2, 3) for columns in (3, 8)] * 10
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: binding.run(one)[0], feeds))
    for answer, one in zip(answers, feeds, strict=True):
        np.testing.assert_allclose(answer, plain.run(one)["logits"], atol=1e-6)


def test_a_run_that_fails_does_not_hurt_the_next_one_of_its_shape(session: Recording):
    binding = bind(session)
    [expected] = binding.run(feed(1, 3))
    with pytest.raises(Exception, match="9999"):
        binding.run({**feed(1, 3), "input_ids": np.array([[2, 9_999, 3]])})
    assert binding.run(feed(1, 3))[0].tolist() == expected.tolist()
    assert session.num_bindings == 2, "what a failed run wrote to is not used again"


# CUDA graphs, as far as a session on the CPU can tell


def test_the_second_run_of_a_shape_captures_and_later_ones_replay(session: Recording):
    binding = bind(session, cuda_graphs=True)
    for columns in [3, 3, 4, 3, 4]:
        binding.run(feed(1, columns))
    assert session.graphs == ["-1", "1", "-1", "1", "2"]


def test_shapes_beyond_the_limit_run_without_a_graph_and_those_with_one_keep_it(session: Recording):
    binding = bind(session, cuda_graphs=True, max_shapes=1)
    for columns in [3, 3, 4, 4, 5, 3]:
        binding.run(feed(1, columns))
    assert session.graphs == ["-1", "1", "-1", "-1", "-1", "1"]


def test_a_graph_is_replayed_over_the_addresses_it_was_captured_with(session: Recording):
    binding = bind(session, cuda_graphs=True)
    for seed in range(4):
        binding.run(feed(1, 3, seed))
    assert len(set(session.addresses)) == 1


def test_another_thread_captures_a_graph_of_its_own(session: Recording):
    binding = bind(session, cuda_graphs=True)
    for _ in range(2):
        binding.run(feed(1, 3))
    in_another_thread(lambda: [binding.run(feed(1, 3)) for _ in range(2)])
    assert session.graphs == ["-1", "1", "-1", "2"]


def test_a_graph_whose_run_failed_is_not_replayed(session: Recording):
    binding = bind(session, cuda_graphs=True)
    for _ in range(2):
        binding.run(feed(1, 3))
    with pytest.raises(Exception, match="9999"):
        binding.run({**feed(1, 3), "input_ids": np.array([[2, 9_999, 3]])})
    for _ in range(2):
        binding.run(feed(1, 3))
    assert session.graphs == ["-1", "1", "1", "-1", "2"]


# In a session


@pytest.fixture
def bound() -> OrtSession:
    return OrtSession(GRAPH, replace(PROVIDERS["cpu"], bound_device="cpu"), SessionConfig(num_threads=1), [])


def test_a_row_with_a_device_to_bind_answers_alike(plain: OrtSession, bound: OrtSession):
    found = bound.run(feed(2, 5))
    assert list(found) == ["logits"]
    np.testing.assert_allclose(found["logits"], plain.run(feed(2, 5))["logits"], atol=1e-6)


def test_an_error_of_a_bound_run_is_a_session_error(bound: OrtSession):
    with pytest.raises(SessionError, match=r"a run with \{'input_ids': \[1, 3\], .*\} requested, ONNX Runtime failed"):
        bound.run({**feed(1, 3), "input_ids": np.array([[2, 9_999, 3]])})


def test_an_input_of_another_type_is_a_session_error(bound: OrtSession):
    with pytest.raises(SessionError, match="ONNX Runtime failed"):
        bound.run({name: array.astype(np.float32) for name, array in feed(1, 3).items()})


def test_a_stop_ends_a_bound_run_and_the_next_one_goes_well(bound: OrtSession):
    stop = Stop()
    stop.set()
    with pytest.raises(SessionError, match="it was stopped"):
        bound.run(feed(1, 3), stop)
    assert bound.run(feed(1, 3))["logits"].shape == (1, 2)
