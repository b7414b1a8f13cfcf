"""Graph passes: each fires on its pattern, leaves near misses alone, is idempotent and keeps what a graph computes."""

from __future__ import annotations

import collections

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ortolan_exporters import PassError
from ortolan_exporters.passes.base import Pass, PassResult, run_passes
from ortolan_exporters.passes.cancel_reshapes import CancelReshapes
from ortolan_exporters.passes.gemm_to_matmul import GemmToMatMul
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.registry import AttentionForm, attention_forms
from ortolan_exporters.passes.select_early import SelectEarly
from ortolan_exporters.passes.unfuse_attention import UnfuseAttention

FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64


def graph(
    nodes: list, inputs: dict, outputs: dict, constants: dict[str, np.ndarray], infos: dict | None = None
) -> ir.Model:
    """Build a model from onnx.helper parts; inputs, outputs and infos map names to (dtype, shape)."""
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
            value_info=[helper.make_tensor_value_info(name, *kind) for name, kind in (infos or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )
    return ir.serde.deserialize_model(made)


def run(model: ir.Model, **feed: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(ir.serde.serialize_model(model).SerializeToString(), options)
    return session.run(None, feed)


def kinds(model: ir.Model) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph)


def check(model: ir.Model, one: Pass, fires: int, **feed: np.ndarray) -> None:
    """A pass rewrites so many places once, none the second time, and the outputs stay what they were."""
    before = run(model, **feed)
    assert one(model).modified == fires
    assert one(model).modified == 0
    for old, new in zip(before, run(model, **feed), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-5)


def gemm(trans_b: int, bias: bool = True, **attributes: float) -> ir.Model:
    weight = np.random.default_rng(0).normal(size=(3, 4) if trans_b else (4, 3)).astype(np.float32)
    constants = {"w": weight, "b": np.arange(3, dtype=np.float32)}
    node = helper.make_node("Gemm", ["x", "w", *(["b"] if bias else [])], ["y"], transB=trans_b, **attributes)
    return graph([node], {"x": (FLOAT, ["n", 4])}, {"y": (FLOAT, ["n", 3])}, constants)


@pytest.mark.parametrize("trans_b", [0, 1], ids=["straight", "transposed"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_gemm_with_a_constant_matrix_becomes_a_matmul(trans_b: int, bias: bool) -> None:
    model = gemm(trans_b, bias)
    check(model, GemmToMatMul(), 1, x=np.ones((2, 4), np.float32))
    assert kinds(model) == ({"MatMul": 1, "Add": 1} if bias else {"MatMul": 1})


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}], ids=["alpha", "beta"])
def test_gemm_that_scales_is_left_alone(attributes: dict[str, float]) -> None:
    check(gemm(1, **attributes), GemmToMatMul(), 0, x=np.ones((2, 4), np.float32))


def test_gemm_whose_transposed_weight_is_shared_is_left_alone() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
        helper.make_node("Gather", ["w", "ids"], ["rows"]),
    ]
    inputs = {"x": (FLOAT, ["n", 4]), "ids": (INT64, ["m"])}
    outputs = {"y": (FLOAT, ["n", 3]), "rows": (FLOAT, ["m", 4])}
    model = graph(nodes, inputs, outputs, {"w": weight})
    check(model, GemmToMatMul(), 0, x=np.ones((2, 4), np.float32), ids=np.array([1, 2]))


def reshapes(last: str) -> ir.Model:
    """x [b, s, 6] -> [b, s, 2, 3] -> [b, s, 6], and a Relu so that the chain ends within the graph."""
    nodes = [
        helper.make_node("Reshape", ["x", "split"], ["four"]),
        helper.make_node("Reshape", ["four", "merge"], ["three"]),
        helper.make_node("Relu", ["three"], ["y"]),
    ]
    constants = {"split": np.array([0, 0, 2, 3]), "merge": np.array([0, 0, 6])}
    infos = {"four": (FLOAT, ["b", "s", 2, 3]), "three": (FLOAT, ["b", last, 6])}
    return graph(nodes, {"x": (FLOAT, ["b", "s", 6])}, {"y": (FLOAT, ["b", last, 6])}, constants, infos)


def test_reshapes_that_end_where_they_began_are_bridged() -> None:
    model = reshapes("s")
    check(model, CancelReshapes(), 1, x=np.ones((2, 5, 6), np.float32))
    PruneUnused()(model)
    assert kinds(model) == {"Relu": 1}


def test_reshapes_whose_axes_have_other_names_are_left_alone() -> None:
    check(reshapes("t"), CancelReshapes(), 0, x=np.ones((2, 5, 6), np.float32))


def attention(heads: int, size: int, mask: bool, **attributes: float) -> ir.Model:
    hidden = heads * size
    names = ["q", "k", "v", *(["", "mask"] if mask else [])]
    node = helper.make_node("MultiHeadAttention", names, ["y"], domain="com.microsoft", num_heads=heads, **attributes)
    shape = (FLOAT, ["b", "s", hidden])
    inputs = {"q": shape, "k": shape, "v": shape} | ({"mask": (INT32, ["b", "s"])} if mask else {})
    return graph([node], inputs, {"y": shape}, {})


@settings(max_examples=25, deadline=None)
@given(
    heads=st.integers(1, 4),
    size=st.sampled_from([4, 8]),
    batch=st.integers(1, 3),
    length=st.integers(1, 9),
    mask=st.booleans(),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 2**31),
)
def test_attention_taken_apart_computes_what_the_fused_one_does(
    heads: int, size: int, batch: int, length: int, mask: bool, scale: float | None, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    feed = {name: draw.normal(size=(batch, length, heads * size)).astype(np.float32) for name in "qkv"}
    if mask:
        feed["mask"] = (np.arange(length) < draw.integers(1, length + 1, (batch, 1))).astype(np.int32)
    model = attention(heads, size, mask, **({} if scale is None else {"scale": scale}))
    check(model, UnfuseAttention(), 1, **feed)
    assert "MultiHeadAttention" not in kinds(model)


def test_one_bias_is_made_of_a_mask_that_two_layers_share() -> None:
    nodes = [
        helper.make_node("MultiHeadAttention", [x, x, x, "", "mask"], [y], domain="com.microsoft", num_heads=2)
        for x, y in (("x", "h"), ("h", "y"))
    ]
    shape = (FLOAT, ["b", "s", 8])
    model = graph(nodes, {"x": shape, "mask": (INT32, ["b", "s"])}, {"y": shape}, {}, {"h": shape})
    feed = {"x": np.ones((1, 3, 8), np.float32), "mask": np.array([[1, 1, 0]], np.int32)}
    check(model, UnfuseAttention(), 2, **feed)
    assert kinds(model)["Unsqueeze"] == 1


def test_attention_with_a_bias_of_its_own_is_left_alone() -> None:
    node = helper.make_node(
        "MultiHeadAttention", ["q", "k", "v", "", "", "bias"], ["y"], domain="com.microsoft", num_heads=2
    )
    shape = (FLOAT, ["b", "s", 8])
    inputs = {"q": shape, "k": shape, "v": shape, "bias": (FLOAT, [1, 2, "s", "s"])}
    model = graph([node], inputs, {"y": shape}, {})
    ones = np.ones((1, 3, 8), np.float32)
    check(model, UnfuseAttention(), 0, q=ones, k=ones, v=ones, bias=np.zeros((1, 2, 3, 3), np.float32))


def projected(heads: int = 2, size: int = 4, *, mask: bool = True, twin: bool = True, **attributes: float) -> ir.Model:
    """x goes through three projections and attention; without `twin` the values come from another tensor."""
    hidden, draw = heads * size, np.random.default_rng(3)
    constants = {f"w{one}": (draw.normal(size=(hidden, hidden)) / 8).astype(np.float32) for one in "qkv"}
    constants |= {f"b{one}": draw.normal(size=hidden).astype(np.float32) for one in "qkv"}
    shape, nodes, infos = (FLOAT, ["b", "s", hidden]), [], {}
    for one in "qkv":
        source = "x" if twin or one != "v" else "z"
        nodes += [
            helper.make_node("MatMul", [source, f"w{one}"], [f"m{one}"], name=f"layer.{one}"),
            helper.make_node("Add", [f"b{one}", f"m{one}"] if one == "k" else [f"m{one}", f"b{one}"], [one]),
        ]
        infos |= {f"m{one}": shape, one: shape}
    names = ["q", "k", "v", *(["", "mask"] if mask else [])]
    nodes.append(
        helper.make_node("MultiHeadAttention", names, ["y"], domain="com.microsoft", num_heads=heads, **attributes)
    )
    inputs = {"x": shape} | ({} if twin else {"z": shape}) | ({"mask": (INT32, ["b", "s"])} if mask else {})
    return graph(nodes, inputs, {"y": shape}, constants, infos)


@settings(max_examples=25, deadline=None)
@given(
    heads=st.integers(1, 4),
    size=st.sampled_from([4, 8]),
    batch=st.integers(1, 3),
    length=st.integers(1, 9),
    mask=st.booleans(),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 2**31),
)
def test_packed_attention_computes_what_its_projections_did(
    heads: int, size: int, batch: int, length: int, mask: bool, scale: float | None, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    feed = {"x": draw.normal(size=(batch, length, heads * size)).astype(np.float32)}
    if mask:
        feed["mask"] = (np.arange(length) < draw.integers(1, length + 1, (batch, 1))).astype(np.int32)
    model = projected(heads, size, mask=mask, **({} if scale is None else {"scale": scale}))
    check(model, PackAttention(), 1, **feed)
    PruneUnused()(model)
    assert kinds(model) == {"Attention": 1}


def test_attention_over_two_tensors_is_not_packed() -> None:
    ones = np.ones((1, 3, 8), np.float32)
    check(projected(twin=False, mask=False), PackAttention(), 0, x=ones, z=2 * ones)


def test_attention_with_a_layer_that_stays_apart_is_not_packed() -> None:
    check(projected(mask=False), PackAttention(apart=["layer.k"]), 0, x=np.ones((1, 3, 8), np.float32))


HIDDEN = 8
TOKENS = (FLOAT, ["b", "s", HIDDEN])


def last_layer(index: int = 0, *, output_of_all: bool = False) -> ir.Model:
    """One layer as encoders have it, and a head that reads one token of its result."""
    draw = np.random.default_rng(11)
    names = ("wq", "wk", "wv", "wo", "wf")
    constants = {name: (draw.normal(size=(HIDDEN, HIDDEN)) / 3).astype(np.float32) for name in names}
    constants |= {"g": np.ones(HIDDEN, np.float32), "b": np.full(HIDDEN, 0.1, np.float32), "i": np.array(index)}
    nodes = [helper.make_node("MatMul", ["x", f"w{one}"], [one], name=one) for one in "qkv"]
    nodes += [
        helper.make_node("MultiHeadAttention", ["q", "k", "v", "", "mask"], ["a"], domain="com.microsoft", num_heads=2),
        helper.make_node("MatMul", ["a", "wo"], ["o"]),
        helper.make_node("Add", ["o", "x"], ["r"]),
        helper.make_node("LayerNormalization", ["r", "g", "b"], ["n"]),
        helper.make_node("MatMul", ["n", "wf"], ["f"]),
        helper.make_node("Gelu", ["f"], ["h"]),
        helper.make_node("Add", ["n", "h"], ["z"]),
        helper.make_node("Gather", ["z", "i"], ["y"], axis=1),
    ]
    outputs = {"y": (FLOAT, ["b", HIDDEN])} | ({"z": TOKENS} if output_of_all else {})
    infos = dict.fromkeys([*"qkvaornfh", *(() if output_of_all else "z")], TOKENS)
    return graph(nodes, {"x": TOKENS, "mask": (INT32, ["b", "s"])}, outputs, constants, infos)


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(1, 3), length=st.integers(1, 9), seed=st.integers(0, 2**31))
def test_only_the_token_that_is_read_goes_through_the_last_layer(batch: int, length: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    mask = (np.arange(length) < draw.integers(1, length + 1, (batch, 1))).astype(np.int32)
    model = last_layer()
    x = draw.normal(size=(batch, length, HIDDEN)).astype(np.float32)
    check(model, SelectEarly(), 1, x=x, mask=mask)
    by_output = {node.outputs[0].name: node for node in model.graph}
    assert {by_output[name].inputs[0].name for name in "qn"} == {"x.first", "r"}
    assert {by_output[name].inputs[0].name for name in "kv"} == {"x"}, "keys and values of all tokens are needed"
    assert all(by_output[name].outputs[0].shape[1] == 1 for name in "qaornfhz")


LAST_FEED = {"x": np.ones((2, 3, HIDDEN), np.float32), "mask": np.ones((2, 3), np.int32)}


def test_layer_whose_other_tokens_are_an_output_is_left_alone() -> None:
    check(last_layer(output_of_all=True), SelectEarly(), 0, **LAST_FEED)


def test_choice_of_another_token_is_left_alone() -> None:
    check(last_layer(index=2), SelectEarly(), 0, **LAST_FEED)


@pytest.mark.parametrize("form", ["fused", "unfused"])  # packed is one product for all tokens: it can't be
def test_every_form_of_attention_takes_a_single_query(form: AttentionForm) -> None:
    model = last_layer()
    before = run(model, **LAST_FEED)[0]
    run_passes(model, (SelectEarly(),))
    model = attention_forms({"model": model})[form]["model"]
    np.testing.assert_allclose(run(model, **LAST_FEED)[0], before, atol=1e-5)


def test_unused_nodes_and_weights_are_removed() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Add", ["x", "w"], ["dead"])]
    model = graph(nodes, {"x": (FLOAT, [2])}, {"y": (FLOAT, [2])}, {"w": np.ones(2, np.float32)})
    check(model, PruneUnused(), 2, x=np.ones(2, np.float32))
    assert kinds(model) == {"Relu": 1}
    assert not model.graph.initializers


class _Renames:
    name = "renames"

    def __call__(self, model: ir.Model) -> PassResult:
        model.graph.outputs[0].name = "other"
        return PassResult(model, 1)


class _Raises:
    name = "raises"

    def __call__(self, model: ir.Model) -> PassResult:
        raise ValueError("broken")


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (_Renames(), "pass 'renames' requested, it changed the graph's interface"),
        (_Raises(), "it failed .broken."),
    ],
    ids=["renames an output", "raises"],
)
def test_pass_that_breaks_its_contract_stops_the_export(one: Pass, message: str) -> None:
    with pytest.raises(PassError, match=message):
        run_passes(gemm(0), [one])
