"""Weights that several layers read are stored once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.gemm_to_matmul import GemmToMatMul
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.passes.registry import CLEAN_UP
from ortolan_exporters.passes.share_weights import ShareWeights
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, INT64, check, graph, kinds, run

SIZE = 24


def chain(matrices: list[np.ndarray]) -> ir.Model:
    """x [n, 24] through one product after the other."""
    names = ["x", *(f"h{number}" for number in range(1, len(matrices))), "y"]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(len(matrices))]
    constants = {f"w{n}": matrix for n, matrix in enumerate(matrices)}
    return graph(nodes, {"x": (FLOAT, ["n", SIZE])}, {"y": (FLOAT, ["n", SIZE])}, constants)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / SIZE**0.5).astype(np.float32)


X = draw(3, SIZE, seed=9)


@given(choices=st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
def test_as_many_weights_are_left_as_there_are_different_ones(choices: list[tuple[int, bool]]) -> None:
    matrices = [draw(SIZE, SIZE, seed=seed) for seed in range(3)]
    model = chain([np.ascontiguousarray(matrices[n].T) if turned else matrices[n] for n, turned in choices])
    different = len({n for n, _ in choices})
    check(model, ShareWeights(), len(choices) - different, x=X)
    assert len(model.graph.initializers) == different


def test_small_constants_are_left_alone() -> None:
    nodes = [helper.make_node("Add", ["x", "a"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    small = {"a": np.ones(8, np.float32), "b": np.ones(8, np.float32)}
    model = graph(nodes, {"x": (FLOAT, ["n", 8])}, {"y": (FLOAT, ["n", 8])}, small)
    check(model, ShareWeights(), 0, x=np.ones((1, 8), np.float32))


def tied(*, folded: bool) -> ir.Model:
    """A table of 64 x 16 is looked up, and its transpose makes 64 numbers of the 16: `folded` stores both."""
    table = draw(64, 16)
    nodes = [helper.make_node("MatMul", ["e", "w"], ["y"]), helper.make_node("Gather", ["table", "ids"], ["e"])][::-1]
    constants = {"table": table}
    if folded:
        constants = {"w": np.ascontiguousarray(table.T)} | constants
    else:
        nodes = [helper.make_node("Transpose", ["table"], ["w"], perm=[1, 0]), *nodes]
    return graph(nodes, {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", 64])}, constants)


def test_head_that_is_the_transpose_of_a_table_reads_the_table() -> None:
    model = tied(folded=True)
    check(model, ShareWeights(), 1, ids=np.array([0, 63]))
    assert list(model.graph.initializers) == ["table"]
    assert kinds(model) == {"Transpose": 1, "Gather": 1, "MatMul": 1}
    assert traced.optimized(model) == {"Gather": 1, "MatMul": 1}, "ONNX Runtime turns it when it loads the file"


def test_table_that_is_looked_up_and_transposed_is_left_alone() -> None:
    check(tied(folded=False), ShareWeights(), 0, ids=np.array([0, 63]))


def test_weight_that_is_only_read_transposed_is_stored_transposed() -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["h"]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    model = graph(nodes, {"x": (FLOAT, ["n", SIZE])}, {"y": (FLOAT, ["n", SIZE])}, {"w": draw(SIZE, SIZE)})
    check(model, ShareWeights(), 1, x=X)
    assert kinds(model) == {"MatMul": 2}
    assert list(model.graph.initializers) == ["w.transposed"]


def test_gemms_that_share_a_weight_share_its_transpose() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], transB=1),
        helper.make_node("Gemm", ["h", "w", "b"], ["y"], transB=1),
    ]
    constants = {"w": draw(SIZE, SIZE), "b": draw(SIZE)}
    model = graph(nodes, {"x": (FLOAT, ["n", SIZE])}, {"y": (FLOAT, ["n", SIZE])}, constants)
    check(model, GemmToMatMul(), 2, x=X)
    PruneUnused()(model)
    assert sorted(model.graph.initializers) == ["b", "w.transposed"]


def test_graph_with_tied_and_shared_weights_holds_no_more_than_the_module() -> None:
    model = traced.raw_albert()
    before = traced.weight_bytes(model)
    run_passes(model, CLEAN_UP)
    run_passes(model, [ShareWeights(), PruneUnused()])
    parameters = sum(4 * parameter.numel() for parameter in traced.module("albert").parameters())
    assert before > 1.5 * parameters
    assert traced.weight_bytes(model) < 1.05 * parameters
    np.testing.assert_allclose(run(model, **traced.FEED)[0], traced.torch_logits("albert"), atol=1e-4)


def test_attentions_that_share_their_weights_share_the_packed_one() -> None:
    model = traced.albert()
    before = run(model, **traced.FEED)[0]
    run_passes(model, [PackAttention(), PruneUnused()])
    assert kinds(model)["Attention"] == 3
    packed = [value for name, value in model.graph.initializers.items() if name.endswith(".packed")]
    assert [list(value.shape) for value in packed] == [[32, 96], [96]]
    np.testing.assert_allclose(run(model, **traced.FEED)[0], before, atol=1e-5)


def test_attentions_that_share_a_weight_with_a_layer_that_stays_apart_are_not_packed() -> None:
    model = traced.albert()
    query = next(node for node in model.graph if node.op_type == "MultiHeadAttention").inputs[0].producer()
    product = next(value.producer() for value in query.inputs if value.producer() is not None)
    assert PackAttention(apart=[product.name])(model).modified == 0
