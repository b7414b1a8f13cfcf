"""float16."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper

from ortolan_exporters import QuantizeError
from ortolan_exporters.quantize.half import half_of, to_half, unmark
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, INT32, INT64, graph, kinds, run

SMALL = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-60000, 60000, width=32))
LOWEST = float(np.finfo(np.float32).min)


@given(array=SMALL)
def test_rounding_to_float16_loses_eleven_bits_of_precision_at_most(array: np.ndarray) -> None:
    rounded = half_of(array)
    assert rounded is not None
    assert rounded.dtype == np.float16
    assert (np.abs(rounded - array) <= np.maximum(np.abs(array) * 2**-11, 2**-25)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 70000.0, -70000.0])
def test_numbers_that_float16_cannot_hold_are_not_rounded(bad: float) -> None:
    assert half_of(np.array([1.0, bad], np.float32)) is None


def test_marks_of_a_mask_become_a_number_that_sums_without_overflow() -> None:
    np.testing.assert_array_equal(unmark(np.array([0, LOWEST, -np.inf], np.float32)), [0, -10000, -np.inf])


def test_a_single_infinity_stays_one() -> None:
    assert half_of(np.array(-np.inf, np.float32)) == -np.inf


def types(model: ir.Model) -> dict[str, ir.DataType]:
    """Type of each value that a node makes, by name."""
    return {value.name: value.dtype for node in model.graph for value in node.outputs}


def inside(model: ir.Model) -> dict[str, ir.DataType]:
    """Type that each operator computes in, by the name of its node."""
    return {node.name: node.outputs[0].dtype for node in model.graph if node.op_type != "Cast"}


def check(model: ir.Model, *, atol: float, **feed: np.ndarray) -> np.ndarray:
    """The graph is valid, takes and gives what it did, and says about the same in float16."""
    before = run(model, **feed)
    interface = [(value.name, value.dtype) for value in (*model.graph.inputs, *model.graph.outputs)]
    to_half(model)
    assert [(value.name, value.dtype) for value in (*model.graph.inputs, *model.graph.outputs)] == interface
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    after = run(model, **feed)
    for old, new in zip(before, after, strict=True):
        assert new.dtype == np.float32
        np.testing.assert_allclose(new, old, atol=atol)
    return after[0]


def layers() -> ir.Model:
    """x [n, 16] through two matrices, one after the other."""
    draw = np.random.default_rng(0)
    constants = {name: draw.normal(size=(16, 16)).astype(np.float32) for name in ("w1", "w2")}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "w2"], ["y"], name="second"),
    ]
    return graph(nodes, {"x": (FLOAT, ["n", 16])}, {"y": (FLOAT, ["n", 16])}, constants)


X = np.random.default_rng(2).normal(size=(3, 16)).astype(np.float32)


def test_weights_take_half_of_their_bytes() -> None:
    model = layers()
    before = traced.weight_bytes(model)
    check(model, atol=0.05, x=X)
    assert traced.weight_bytes(model) == before // 2
    assert inside(model) == {"first": ir.DataType.FLOAT16, "second": ir.DataType.FLOAT16}


def test_layer_that_is_kept_computes_in_float32() -> None:
    model = layers()
    assert to_half(model, keep_fp32=["second"]) == 1
    assert inside(model) == {"first": ir.DataType.FLOAT16, "second": ir.DataType.FLOAT}
    assert model.graph.initializers["w2"].dtype == ir.DataType.FLOAT


@pytest.mark.parametrize("value", [1e5, -1e5, -1e9])
def test_weight_beyond_float16_is_refused_by_the_name_of_its_layer_unless_it_is_kept(value: float) -> None:
    model = layers()
    model.graph.initializers["w2"].const_value = ir.tensor(np.full((16, 16), value, np.float32))
    with pytest.raises(QuantizeError, match="fp16 requested, layer 'second' holds numbers.*; keep it in fp32"):
        to_half(model.clone())
    assert to_half(model, keep_fp32=["second"]) == 1


def test_weight_that_is_not_finite_is_refused() -> None:
    model = layers()
    model.graph.initializers["w1"].const_value = ir.tensor(np.full((16, 16), np.nan, np.float32))
    with pytest.raises(QuantizeError, match="layer 'first'.*check the checkpoint"):
        to_half(model)


def test_graph_without_a_constant_matrix_cannot_be_float16() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(QuantizeError, match="fp16 requested, the graph has no matrix product"):
        to_half(graph([node], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])}, {}))


def test_table_and_the_head_tied_to_it_are_stored_once() -> None:
    model = traced.bert()
    check(model, atol=0.02, **traced.FEED)
    sizes = [value.const_value.nbytes for value in model.graph.initializers.values()]
    assert sizes.count(traced.VOCABULARY * traced.HIDDEN * 2) == 1
    assert max(sizes) == traced.VOCABULARY * traced.HIDDEN * 2


def test_softmax_computes_in_float32_and_fused_attention_does_so_by_itself() -> None:
    fused, apart = traced.bert(), traced.unfused(traced.bert())
    to_half(fused)
    to_half(apart)
    kinds_in_float32 = {
        node.op_type
        for node in apart.graph
        if node.op_type != "Cast" and any(value.dtype == ir.DataType.FLOAT for value in node.outputs)
    }
    assert kinds_in_float32 == {"Softmax"}
    assert kinds(fused)["Cast"] == 3, "of the mask twice, and of the logits"


def normalized(*steps: tuple) -> ir.Model:
    """x [n, 16] through a norm that is spelled out, then through a product. Each step: op, inputs, output."""
    constants = {
        "two": np.array(2.0, np.float32),
        "eps": np.array(1e-6, np.float32),
        "axes": np.array([-1]),
        "g": np.ones(16, np.float32),
        "w": np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32),
    }
    nodes = [helper.make_node(op, inputs, [output], name=output) for op, inputs, output in steps]
    nodes += [
        helper.make_node("Mul", ["n", "g"], ["scaled"], name="scaled"),
        helper.make_node("MatMul", ["scaled", "w"], ["y"], name="layer"),
    ]
    return graph(nodes, {"x": (FLOAT, ["n", 16])}, {"y": (FLOAT, ["n", 4])}, constants)


RMS_NORM = (
    ("Mul", ["x", "g"], "h"),
    ("Pow", ["h", "two"], "squares"),
    ("ReduceMean", ["squares", "axes"], "mean"),
    ("Add", ["mean", "eps"], "safe"),
    ("Sqrt", ["safe"], "root"),
    ("Reciprocal", ["root"], "inverse"),
    ("Mul", ["h", "inverse"], "n"),
)
LAYER_NORM = (
    ("Mul", ["x", "g"], "h"),
    ("ReduceMean", ["h", "axes"], "centre"),
    ("Sub", ["h", "centre"], "off"),
    ("Mul", ["off", "off"], "squares"),
    ("ReduceMean", ["squares", "axes"], "mean"),
    ("Add", ["mean", "eps"], "safe"),
    ("Sqrt", ["safe"], "root"),
    ("Div", ["off", "root"], "n"),
)


@pytest.mark.parametrize("steps", [RMS_NORM, LAYER_NORM], ids=["rms", "layer"])
def test_norm_of_numbers_whose_squares_overflow_float16_is_right(steps: tuple) -> None:
    model = normalized(*steps)
    check(model, atol=0.03, x=1000 * X)
    found = inside(model)
    assert {name for name, kind in found.items() if kind == ir.DataType.FLOAT} == {one[2] for one in steps[1:]}


def test_layer_normalization_takes_float16_and_gives_its_statistics_in_float32() -> None:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "g"], ["n", "mean"], name="norm"),
        helper.make_node("MatMul", ["n", "w"], ["h"], name="layer"),
        helper.make_node("Add", ["h", "mean"], ["y"], name="sum"),
    ]
    constants = {"g": np.ones(16, np.float32), "w": np.eye(16, dtype=np.float32)}
    model = graph(nodes, {"x": (FLOAT, ["n", 16])}, {"y": (FLOAT, ["n", 16])}, constants)
    check(model, atol=0.01, x=X)
    found = types(model)
    assert (found["n"], found["mean"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT)


def test_positions_stay_exact_where_float16_could_not_tell_them_apart() -> None:
    """As T5 does: distances become floats, and floats become rows of a table."""
    nodes = [
        helper.make_node("Cast", ["distance"], ["float"], name="float", to=FLOAT),
        helper.make_node("Div", ["float", "three"], ["third"], name="third"),
        helper.make_node("Cast", ["third"], ["row"], name="row", to=INT64),
        helper.make_node("Gather", ["table", "row"], ["e"], name="words"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="layer"),
    ]
    table = np.arange(2000, dtype=np.float32)[:, None] % 7
    constants = {"three": np.array(3.0, np.float32), "table": table, "w": np.ones((1, 2), np.float32)}
    model = graph(nodes, {"distance": (INT64, ["n"])}, {"y": (FLOAT, ["n", 2])}, constants)
    check(model, atol=0, distance=np.arange(5997))


def test_angles_of_positions_are_computed_in_float32() -> None:
    nodes = [
        helper.make_node("Cast", ["position"], ["float"], name="float", to=FLOAT),
        helper.make_node("MatMul", ["float", "frequency"], ["angle"], name="angle"),
        helper.make_node("Cos", ["angle"], ["cosine"], name="cosine"),
        helper.make_node("MatMul", ["cosine", "w"], ["y"], name="layer"),
    ]
    constants = {"frequency": np.array([[0.1, 1.0]], np.float32), "w": np.eye(2, dtype=np.float32)}
    model = graph(nodes, {"position": (INT64, ["n", 1])}, {"y": (FLOAT, ["n", 2])}, constants)
    check(model, atol=1e-3, position=np.arange(4000, 4100)[:, None])


def masked(value: float) -> ir.Model:
    """Scores of x with itself, softmax over what a mask lets through, then a product."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["scores"], name="scores"),
        helper.make_node("Cast", ["mask"], ["allowed"], to=onnx.TensorProto.BOOL),
        helper.make_node("Where", ["allowed", "zero", "masked"], ["bias"], name="bias"),
        helper.make_node("Add", ["scores", "bias"], ["sum"], name="sum"),
        helper.make_node("Softmax", ["sum"], ["p"], name="p"),
        helper.make_node("MatMul", ["p", "x"], ["context"], name="context"),
        helper.make_node("MatMul", ["context", "w"], ["y"], name="layer"),
    ]
    constants = {
        "zero": np.array(0.0, np.float32),
        "masked": np.array(value, np.float32),
        "w": np.eye(16, dtype=np.float32),
    }
    inputs = {"x": (FLOAT, ["n", 16]), "mask": (INT32, ["m", "n"])}
    return graph(nodes, inputs, {"y": (FLOAT, ["n", 16])}, constants)


@pytest.mark.parametrize("value", [LOWEST, -1e9], ids=["lowest", "a round number"])
def test_mask_made_of_a_huge_number_leaves_no_nan(value: float) -> None:
    mask = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]], np.int32)
    after = check_rows(masked(value), mask)
    assert np.isfinite(after).all(), "not even where everything is masked"


def check_rows(model: ir.Model, mask: np.ndarray) -> np.ndarray:
    """Rows that see something keep their result."""
    before = run(model, x=X, mask=mask)[0]
    to_half(model)
    after = run(model, x=X, mask=mask)[0]
    sees = mask.any(axis=1)
    np.testing.assert_allclose(after[sees], before[sees], atol=0.01)
    return after


def test_number_that_fills_a_computed_shape_is_converted_too() -> None:
    fill = helper.make_tensor("value", FLOAT, [1], [LOWEST])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=fill),
        helper.make_node("Max", ["filled", "x"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"], name="layer"),
    ]
    constants = {"w": np.eye(16, dtype=np.float32)}
    model = graph(nodes, {"x": (FLOAT, ["n", 16])}, {"y": (FLOAT, ["n", 16])}, constants)
    check(model, atol=0.01, x=X)
    assert types(model)["filled"] == ir.DataType.FLOAT16
