"""Weights of 4 and of 8 bits in blocks."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from ortolan_exporters import QuantizeError
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.weight_only import quantize_weights
from ortolan_exporters.quantize.weights import quantize_blocks
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, INT64, graph, kinds, projected, run
from tests.exporters.test_quantize_weights import restore


def product(columns: int, rows: int, unread: int | None = None) -> ir.Model:
    """x [n, K] through a matrix of K x N, which makes nothing of one column of x."""
    weight = np.random.default_rng(0).normal(size=(columns, rows)).astype(np.float32)
    if unread is not None:
        weight[unread] = 0
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")
    return graph([node], {"x": (FLOAT, ["n", columns])}, {"y": (FLOAT, ["n", rows])}, {"w": weight})


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("size", [16, 32, 128])
@pytest.mark.parametrize(("columns", "rows"), [(64, 8), (80, 5), (33, 1), (7, 300)])
def test_product_is_that_of_the_rounded_weight(columns: int, rows: int, size: int, bits: int) -> None:
    model = product(columns, rows)
    weight = model.graph.initializers["w"].const_value.numpy()
    x = np.random.default_rng(1).normal(size=(3, columns)).astype(np.float32)
    assert quantize_weights(model, bits=bits, block_size=size, accuracy_level=1) == 1
    assert kinds(model) == {"MatMulNBits": 1}
    expected = x @ restore(quantize_blocks(np.ascontiguousarray(weight.T), size, bits), columns, bits).T
    np.testing.assert_allclose(run(model, x=x)[0], expected, atol=1e-4)


def test_computing_in_int8_stays_close_to_computing_in_float32() -> None:
    exact, quick = product(256, 32), product(256, 32)
    quantize_weights(exact, accuracy_level=1)
    quantize_weights(quick, accuracy_level=4)
    x = np.random.default_rng(1).normal(size=(3, 256)).astype(np.float32)
    np.testing.assert_allclose(run(quick, x=x)[0], run(exact, x=x)[0], atol=0.02 * 256**0.5)


def test_large_activation_takes_steps_from_its_block_alone() -> None:
    blocks, whole = product(256, 32, unread=7), product(256, 32, unread=7)
    x = np.random.default_rng(1).normal(size=(3, 256)).astype(np.float32)
    x[:, 7] = 5000
    expected = run(blocks, x=x)[0]
    quantize_weights(blocks, bits=8, accuracy_level=4)
    quantize_dynamic(whole)
    near, far = (np.abs(run(one, x=x)[0] - expected).mean() for one in (blocks, whole))
    assert near < far / 2


def embedding(rows: int, columns: int, *, tied: bool) -> ir.Model:
    """A table of V x H is looked up; the head is the same table, or a matrix of its own."""
    draw = np.random.default_rng(0)
    constants = {"table": draw.normal(size=(rows, columns)).astype(np.float32)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="words"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="head"),
    ]
    if tied:
        nodes.insert(0, helper.make_node("Transpose", ["table"], ["w"], perm=[1, 0]))
    else:
        constants["w"] = draw.normal(size=(columns, 4)).astype(np.float32)
    outputs = {"e": (FLOAT, ["n", columns]), "y": (FLOAT, ["n", rows if tied else 4])}
    return graph(nodes, {"ids": (INT64, ["n"])}, outputs, constants)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [64, 96, 80], ids=["even blocks", "odd blocks", "block filled up"])
def test_table_that_a_head_is_tied_to_is_stored_once(columns: int, bits: int) -> None:
    model, ids = embedding(300, columns, tied=True), np.array([0, 7, 299])
    table = model.graph.initializers["table"].const_value.numpy()
    assert quantize_weights(model, bits=bits, accuracy_level=1) == 1
    expected = kinds(model)
    assert (expected["GatherBlockQuantized"], expected["MatMulNBits"]) == (1, 1)
    large = [value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value.size > 3000]
    assert large == [300 * -(-columns // 32) * 32 * bits // 8]
    rounded = restore(quantize_blocks(table, 32, bits), columns, bits)
    rows, logits = run(model, ids=ids)
    np.testing.assert_array_equal(rows, rounded[ids])
    np.testing.assert_allclose(logits, rounded[ids] @ rounded.T, atol=1e-3)


def test_table_of_its_own_is_kept_in_int8() -> None:
    model, ids = embedding(5000, 32, tied=False), np.array([0, 4999])
    before = run(model, ids=ids)[0]
    assert quantize_weights(model, accuracy_level=4) == 1
    assert model.graph.initializers["table.int8"].const_value.dtype == ir.DataType.INT8
    np.testing.assert_allclose(run(model, ids=ids)[0], before, atol=0.02)


@pytest.mark.parametrize("kept", ["words", "head"])
def test_layer_that_is_kept_stays_as_it_was(kept: str) -> None:
    model, ids = embedding(300, 32, tied=True), np.array([5])
    before = run(model, ids=ids)
    assert quantize_weights(model, keep_fp32=[kept], accuracy_level=4) == 0
    for old, new in zip(before, run(model, ids=ids), strict=True):
        np.testing.assert_array_equal(new, old)


def test_layers_that_share_their_weights_are_stored_once() -> None:
    model = traced.albert()
    assert quantize_weights(model, accuracy_level=4) == kinds(model)["MatMulNBits"] == 21
    assert len([name for name in model.graph.initializers if name.endswith(".int4")]) == 9


def test_packed_attention_cannot_be_int4() -> None:
    model = projected(heads=2, size=16)
    run_passes(model, [PackAttention(), PruneUnused()])
    with pytest.raises(QuantizeError, match="int4 requested, the graph has no matrix product"):
        quantize_weights(model, accuracy_level=4)


def test_weight_that_is_not_finite_is_refused() -> None:
    model = product(32, 4)
    model.graph.initializers["w"].const_value = ir.tensor(np.full((32, 4), np.inf, np.float32))
    with pytest.raises(QuantizeError, match="a weight holds NaN or infinity"):
        quantize_weights(model, accuracy_level=4)
