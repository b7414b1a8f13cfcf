from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ortolan import ArtifactError
from ortolan.config import SessionConfig
from ortolan.graph_file import read_graph_file
from ortolan.session.base import Signature, TensorSpec
from ortolan.session.ort import OrtSession
from ortolan.session.providers import provider_named
from tests.engine.damage import GOLDEN

FP32 = GOLDEN / "onnx" / "model.onnx"
INT8 = GOLDEN / "onnx" / "model_quantized.onnx"

NAMES = st.text(min_size=1, max_size=12)
AXES = st.lists(st.one_of(st.integers(0, 2**40), NAMES), max_size=4)
SPECS = st.lists(st.tuples(NAMES, AXES), max_size=4, unique_by=lambda spec: spec[0])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a graph may be written, over and over."""
    return tmp_path_factory.mktemp("graph") / "model.onnx"


def save(path: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto] | None = None) -> Path:
    """Write a graph without inputs and outputs."""
    graph = helper.make_graph(nodes, "g", [], [], weights or [])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("file", [FP32, INT8], ids=["fp32", "int8"])
def test_a_signature_is_the_one_that_onnx_runtime_reads(file: Path):
    session = OrtSession(file, provider_named("cpu"), SessionConfig(), ())
    assert read_graph_file(file).signature == session.signature


@given(inputs=SPECS, outputs=SPECS)
def test_a_signature_is_the_one_that_was_written(
    path: Path, inputs: list[tuple[str, list[int | str]]], outputs: list[tuple[str, list[int | str]]]
):
    made = [
        [helper.make_tensor_value_info(n, TensorProto.INT64, axes) for n, axes in side] for side in (inputs, outputs)
    ]
    path.write_bytes(helper.make_model(helper.make_graph([], "g", made[0], made[1])).SerializeToString())
    expected = [tuple(TensorSpec(name, "int64", tuple(axes)) for name, axes in side) for side in (inputs, outputs)]
    assert read_graph_file(path).signature == Signature(expected[0], expected[1])


def test_an_axis_without_name_is_an_empty_text(path: Path):
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [None, 3])
    path.write_bytes(helper.make_model(helper.make_graph([], "g", [info], [])).SerializeToString())
    assert read_graph_file(path).signature.inputs == (TensorSpec("x", "float16", ("", 3)),)


def test_a_weight_that_is_listed_as_an_input_is_none(path: Path):
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "weight")]
    weight = numpy_helper.from_array(np.zeros(2, np.float32), "weight")
    path.write_bytes(helper.make_model(helper.make_graph([], "g", infos, [], [weight])).SerializeToString())
    assert [spec.name for spec in read_graph_file(path).signature.inputs] == ["x"]


def test_operators_of_inner_graphs_are_found(path: Path):
    inner = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "inner", [], [])
    save(path, [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)])
    assert read_graph_file(path).operators == {"If", "Neg"}


def test_operators_of_functions_are_found(path: Path):
    function = helper.make_function(
        "mine", "Half", ["x"], ["y"], [helper.make_node("Div", ["x", "two"], ["y"])], [helper.make_opsetid("", 18)]
    )
    graph = helper.make_graph([helper.make_node("Half", ["x"], ["y"], domain="mine")], "g", [], [])
    path.write_bytes(helper.make_model(graph, functions=[function]).SerializeToString())
    assert read_graph_file(path).operators == {"Half", "Div"}


def test_weights_are_counted_by_their_type_constants_too(path: Path):
    weights = [numpy_helper.from_array(np.zeros(3, dtype), dtype) for dtype in ("float32", "int8")]
    half = numpy_helper.from_array(np.zeros(3, np.float16), "h")
    save(path, [helper.make_node("Constant", [], ["h"], value=half)], weights)
    assert read_graph_file(path).weight_dtypes == {"float32": 1, "int8": 1, "float16": 1}


def test_the_bits_of_packed_weights_are_found(path: Path):
    save(path, [helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], bits=4, block_size=32, K=64, N=8)])
    assert read_graph_file(path).weight_bits == {4}


def test_files_of_weights_are_named_once(path: Path):
    weights = []
    for name in ("a", "b"):
        weight = numpy_helper.from_array(np.zeros(300, np.float32), name)
        onnx.external_data_helper.set_external_data(weight, "model.onnx_data")
        weight.ClearField("raw_data")
        weights.append(weight)
    save(path, [], weights)
    assert read_graph_file(path).external_files == ("model.onnx_data",)


# Files that are no graph


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a text, not a graph", id="text"),
        pytest.param(b"\x08\x08", id="no-graph"),
        pytest.param(b"\x3a\x00\x3a\x00", id="two-graphs"),
        pytest.param(b"\x3a\xff\xff\xff\xff\x0f", id="longer-than-the-file"),
        pytest.param(b"\xff" * 20, id="number-without-end"),
        pytest.param(b"\x3a\x06\x5a\x04\x0a\x02\xff\xfe", id="name-that-is-no-text"),
        pytest.param(FP32.read_bytes()[:1000], id="cut-off"),
    ],
)
def test_a_file_that_is_no_graph_says_so(tmp_path: Path, content: bytes):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(
        ArtifactError, match=r"model\.onnx' requested, it is no ONNX graph \(.*copy or download it again"
    ):
        read_graph_file(tmp_path / "model.onnx")


def test_a_missing_file_is_no_graph_either(tmp_path: Path):
    with pytest.raises(ArtifactError, match="it is no ONNX graph"):
        read_graph_file(tmp_path / "model.onnx")


def test_graphs_nested_without_end_are_no_graph(path: Path):
    def nested(tag: bytes, message: bytes) -> bytes:
        length, size = len(message), b""
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return tag + size + bytes([length]) + message

    graph = b""
    for _ in range(2000):
        graph = nested(b"\x0a", nested(b"\x2a", nested(b"\x32", graph)))  # node, attribute, graph
    path.write_bytes(nested(b"\x3a", graph))
    with pytest.raises(ArtifactError, match="it is no ONNX graph"):
        read_graph_file(path)


def test_a_pointer_of_git_lfs_says_how_to_get_the_file(path: Path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ArtifactError) as caught:
        read_graph_file(path)
    assert str(caught.value) == (
        f"graph '{path}' requested, it is a pointer of Git LFS, not the file itself; run: git lfs pull"
    )


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_graph_or_an_artifact_error(path: Path, content: bytes):
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        read_graph_file(path)


@given(position=st.integers(0, INT8.stat().st_size - 1), byte=st.integers(0, 255))
def test_a_damaged_byte_leaves_a_graph_or_an_artifact_error(path: Path, position: int, byte: int):
    content = bytearray(INT8.read_bytes())
    content[position] = byte
    path.write_bytes(content)
    with contextlib.suppress(ArtifactError):
        read_graph_file(path)
