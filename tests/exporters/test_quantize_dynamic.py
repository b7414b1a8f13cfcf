"""Dynamic int8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from ortolan_exporters import QuantizeError
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.layers import quantizable_layers
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, INT64, graph, kinds, projected, run


def two_products() -> ir.Model:
    """x [n, 16] goes through two matrices of 16 x 8, as query and key do."""
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(size=(16, 8)).astype(np.float32) for name in ("wq", "wk")}
    nodes = [helper.make_node("MatMul", ["x", f"w{one}"], [one], name=f"layer.{one}") for one in "qk"]
    outputs = {"q": (FLOAT, ["n", 8]), "k": (FLOAT, ["n", 8])}
    return graph(nodes, {"x": (FLOAT, ["n", 16])}, outputs, weights)


def test_products_of_one_tensor_share_its_quantization() -> None:
    model = two_products()
    x = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    before = run(model, x=x)
    assert quantize_dynamic(model) == 2
    assert kinds(model)["DynamicQuantizeLinear"] == 1
    for old, new in zip(before, run(model, x=x), strict=True):
        np.testing.assert_allclose(new, old, atol=0.15)
    assert not [name for name in model.graph.initializers if name in ("wq", "wk")], "no float copy is kept"


def test_product_that_others_read_is_quantized_once_whichever_of_them_comes_first() -> None:
    draw = np.random.default_rng(0)
    weights = {name: draw.normal(size=(8, 8)).astype(np.float32) for name in ("w1", "w2")}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["h"]),
        helper.make_node("MatMul", ["h", "w1"], ["y"]),
        helper.make_node("MatMul", ["h", "w2"], ["z"]),
    ]
    outputs = {"y": (FLOAT, ["n", 8]), "z": (FLOAT, ["n", 8])}
    model = graph(nodes, {"x": (FLOAT, ["n", 8])}, outputs, weights)
    x = draw.normal(size=(5, 8)).astype(np.float32)
    before = run(model, x=x)
    assert quantize_dynamic(model) == 4
    assert kinds(model)["DynamicQuantizeLinear"] == 3
    for old, new in zip(before, run(model, x=x), strict=True):
        np.testing.assert_allclose(new, old, atol=3.0)


def test_layers_that_are_kept_stay_as_they_were() -> None:
    model = two_products()
    x = np.ones((2, 16), np.float32)
    before = run(model, x=x)
    assert quantizable_layers(model) == ["layer.q", "layer.k"]
    assert quantize_dynamic(model, keep_fp32=["layer.q"]) == 1
    after = run(model, x=x)
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


def packed_attention(**attributes: float) -> ir.Model:
    """x through three projections and attention, packed to one node."""
    model = projected(heads=2, size=16, **attributes)
    PackAttention()(model)
    PruneUnused()(model)
    return model


ATTENTION_FEED = {
    "x": np.random.default_rng(5).normal(size=(2, 7, 32)).astype(np.float32),
    "mask": np.array([[1] * 7, [1] * 4 + [0] * 3], np.int32),
}


def test_packed_attention_becomes_one_int8_operator_that_answers_alike() -> None:
    model = packed_attention()
    before = run(model, **ATTENTION_FEED)[0]
    assert quantize_dynamic(model) == 1
    assert kinds(model) == {"DynamicQuantizeLinear": 1, "QAttention": 1}
    np.testing.assert_allclose(run(model, **ATTENTION_FEED)[0], before, atol=0.25)


def test_int8_attention_is_the_same_packed_or_not() -> None:
    packed, apart = packed_attention(), projected(heads=2, size=16)
    quantize_dynamic(packed)
    assert quantize_dynamic(apart) == 3
    np.testing.assert_allclose(run(packed, **ATTENTION_FEED)[0], run(apart, **ATTENTION_FEED)[0], atol=1e-5)


def test_packed_attention_with_a_scale_of_its_own_stays_as_it_is() -> None:
    model = packed_attention(scale=0.3)
    with pytest.raises(QuantizeError, match="no matrix product"):
        quantize_dynamic(model)


def embedding(rows: int) -> ir.Model:
    draw = np.random.default_rng(0)
    constants = {
        "table": draw.normal(size=(rows, 8)).astype(np.float32),
        "w": draw.normal(size=(8, 4)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="words"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="out"),
    ]
    return graph(nodes, {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", 4])}, constants)


def test_large_embedding_table_is_kept_in_int8() -> None:
    model = embedding(5000)
    ids = np.array([0, 17, 4999])
    before = run(model, ids=ids)[0]
    quantize_dynamic(model, keep_fp32=["out"])
    table = model.graph.initializers["table.int8"].const_value
    assert (table.dtype, list(table.shape)) == (ir.DataType.INT8, [5000, 8])
    np.testing.assert_allclose(run(model, ids=ids)[0], before, atol=0.06)


def test_small_table_that_a_head_is_tied_to_is_stored_once_in_int8() -> None:
    table = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["table"], ["w"], perm=[1, 0]),
        helper.make_node("Gather", ["table", "ids"], ["e"], name="words"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="head"),
    ]
    model = graph(nodes, {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", 300])}, {"table": table})
    ids = np.array([0, 17, 299])
    before = run(model, ids=ids)[0]
    assert quantize_dynamic(model) == 1
    sizes = {name: value.const_value.nbytes for name, value in model.graph.initializers.items()}
    assert sizes == {"table.int8": 300 * 16, "table.scale": 300 * 4, "quantize.last_axis": 8}
    np.testing.assert_allclose(run(model, ids=ids)[0], before, atol=0.3)


@pytest.mark.parametrize("model", [traced.bert, traced.albert])
def test_every_product_of_a_model_is_fused_tied_ones_too(model: Callable[[], ir.Model]) -> None:
    graph = model()
    products = quantize_dynamic(graph)
    after = traced.optimized(graph)
    assert after["DynamicQuantizeMatMul"] + after["MatMulIntegerToFloat"] == products
    assert not after.keys() & {"MatMulInteger", "MatMul", "Transpose"}


def test_small_embedding_table_is_left_alone() -> None:
    model = embedding(512)
    quantize_dynamic(model)
    assert "table" in model.graph.initializers


def test_graph_without_a_constant_matrix_cannot_be_quantized() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(QuantizeError, match="no matrix product with a constant matrix; use fp32"):
        quantize_dynamic(graph([node], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])}, {}))
