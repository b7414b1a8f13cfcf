"""What counts as one layer: a weight and all that read it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.layers import find_layers, quantizable_layers
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, INT64, graph, kinds, run


def tied(rows: int = 64, **more: np.ndarray) -> ir.Model:
    """A table is looked up, and its transpose is the head."""
    table = np.random.default_rng(0).normal(size=(rows, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["table"], ["w"], perm=[1, 0]),
        helper.make_node("Gather", ["table", "ids"], ["e"], name="words"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="head"),
    ]
    return graph(nodes, {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", rows])}, {"table": table} | more)


def test_table_and_the_head_tied_to_it_are_one_layer_with_the_name_of_the_first() -> None:
    assert quantizable_layers(tied()) == ["words"]


@pytest.mark.parametrize("name", ["words", "head"])
def test_keeping_one_of_those_that_share_a_weight_keeps_them_all(name: str) -> None:
    model = tied()
    before = run(model, ids=np.array([3]))[0]
    assert quantize_dynamic(model, keep_fp32=[name]) == 0
    np.testing.assert_array_equal(run(model, ids=np.array([3]))[0], before)


def test_layers_that_share_their_weights_count_once() -> None:
    model = traced.albert()
    assert kinds(model)["MatMul"] == 21
    assert len(quantizable_layers(model)) == 9


def test_matrix_that_some_read_by_row_and_some_by_column_goes_by_column() -> None:
    square = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["w", "ids"], ["e"], name="words"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="straight"),
    ]
    model = graph(nodes, {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", 16])}, {"w": square})
    (layer,) = find_layers(model)
    assert (layer.by_row, [node.name for node in layer.nodes]) == (False, ["straight"])


def test_table_that_something_else_reads_too_is_not_looked_up_in_int8() -> None:
    model = tied()
    norm = ir.node("ReduceL2", [model.graph.initializers["table"]])
    norm.outputs[0].name = "norm"
    norm.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.append(norm)
    model.graph.outputs.append(norm.outputs[0])
    (layer,) = find_layers(model)
    assert [node.name for node in layer.nodes] == ["head"]
