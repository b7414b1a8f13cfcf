"""Static int8."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from ortolan_exporters import QuantizeError
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.quantize.calibrate import Range, collect, ranges
from ortolan_exporters.quantize.layers import quantizable_layers
from ortolan_exporters.quantize.static import quantize_static
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, graph, kinds, run

RANGE = {"x": Range(-3.0, 3.0)}


def layer(*axes: str) -> ir.Model:
    """x [..., 16] through two products with a bias each."""
    draw = np.random.default_rng(0)
    constants = {name: draw.normal(size=(16, 8)).astype(np.float32) for name in ("wq", "wk")}
    constants |= {name: draw.normal(size=8).astype(np.float32) for name in ("bq", "bk")}
    nodes = []
    for one in "qk":
        nodes.append(helper.make_node("MatMul", ["x", f"w{one}"], [f"m{one}"], name=f"layer.{one}"))
        nodes.append(helper.make_node("Add", [f"m{one}", f"b{one}"], [one]))
    outputs = {one: (FLOAT, [*axes, 8]) for one in "qk"}
    return graph(nodes, {"x": (FLOAT, [*axes, 16])}, outputs, constants)


X = np.random.default_rng(1).uniform(-3, 3, size=(2, 5, 16)).astype(np.float32)


@pytest.mark.parametrize(("axes", "x"), [(("b", "s"), X), (("n",), X[0])], ids=["three axes", "two axes"])
def test_products_become_one_int8_operator_each(axes: tuple[str, ...], x: np.ndarray) -> None:
    model = layer(*axes)
    before = run(model, x=x)
    assert quantize_static(model, RANGE) == 2
    after = traced.optimized(model)
    assert (after["QuantizeLinear"], after["MatMulIntegerToFloat"]) == (1, 2)
    assert not after.keys() & {"DequantizeLinear", "MatMul", "Gemm"}, "nothing is computed in float32"
    for old, new in zip(before, run(model, x=x), strict=True):
        np.testing.assert_allclose(new, old, atol=0.15)


def test_layers_that_are_kept_stay_as_they_were() -> None:
    model = layer("b", "s")
    before = run(model, x=X)
    assert quantize_static(model, RANGE, keep_fp32=["layer.q"]) == 1
    after = run(model, x=X)
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


def test_what_lies_beyond_the_range_is_cut_off() -> None:
    model = layer("b", "s")
    quantize_static(model, {"x": Range(-1.0, 1.0)})
    near, far = (np.full((1, 1, 16), value, np.float32) for value in (1.1, 50.0))
    np.testing.assert_array_equal(run(model, x=far)[0], run(model, x=near)[0])


def test_tensor_without_a_range_stops_the_export() -> None:
    with pytest.raises(QuantizeError, match="no range is known for 'x'; calibrate this graph"):
        quantize_static(layer("n"), {})


def test_range_is_not_asked_for_where_all_that_reads_it_is_kept() -> None:
    model = layer("n")
    assert quantize_static(model, {}, keep_fp32=quantizable_layers(model)) == 0


def test_weight_that_is_not_finite_is_refused() -> None:
    model = layer("n")
    model.graph.initializers["wq"].const_value = ir.tensor(np.full((16, 8), np.nan, np.float32))
    with pytest.raises(QuantizeError, match="a weight holds NaN or infinity"):
        quantize_static(model, RANGE)


def test_graph_without_a_constant_matrix_cannot_be_quantized() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(QuantizeError, match="no matrix product with a constant matrix; use fp32"):
        quantize_static(graph([node], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])}, {}), RANGE)


def test_every_product_of_a_model_is_fused() -> None:
    model = traced.bert()
    found = ranges(collect({"model": model}, traced.CALIBRATION, {}), "minmax")
    products = quantize_static(model, found)
    after = traced.optimized(model)
    assert products == after["MatMulIntegerToFloat"] == 14
    assert after["QuantizeLinear"] == 10
    assert not after.keys() & {"DequantizeLinear", "MatMul", "Gemm"}


def test_packed_attention_becomes_one_operator_with_a_constant_scale() -> None:
    model = traced.bert()
    found = ranges(collect({"model": model}, traced.CALIBRATION, {}), "minmax")
    apart = model.clone()
    run_passes(model, [PackAttention(), PruneUnused()])
    assert quantize_static(model, found) == 10
    assert kinds(model)["QAttention"] == 2
    assert "DynamicQuantizeLinear" not in kinds(model)
    quantize_static(apart, found)
    np.testing.assert_allclose(run(model, **traced.FEED)[0], run(apart, **traced.FEED)[0], atol=1e-4)


def test_text_alone_and_among_others_gets_the_same_answer() -> None:
    model = traced.bert()
    quantize_static(model, ranges(collect({"model": model}, traced.CALIBRATION, {}), "minmax"))
    together = run(model, **traced.FEED)[0]
    alone = run(model, **{name: array[1:2, :9] for name, array in traced.FEED.items()})[0]
    np.testing.assert_allclose(alone[0], together[1, :9], atol=1e-5)
