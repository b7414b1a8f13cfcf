"""Graph passes keep what a graph computes and find nothing to do the second time, whatever the graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from ortolan_exporters.passes.base import Pass, run_passes
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.registry import CLEAN_UP, attention_forms
from ortolan_exporters.passes.share_weights import ShareWeights
from ortolan_exporters.passes.unfuse_attention import UnfuseAttention
from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.layers import find_layers
from tests.exporters.random_graphs import Array, Feed, RandomGraph, random_graphs

PASSES: dict[str, Pass] = {one.name: one for one in (*CLEAN_UP, ShareWeights(), UnfuseAttention(), PackAttention())}

# How long it takes to draw a graph depends on how busy the machine is, and says nothing about a pass. No explanation of
# a failure, which would take minutes: the graph is the explanation.
LAWS = settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate, Phase.shrink],
)

INT8_TOLERANCE = 0.3
"""Share of the largest number of an output that int8 may be off: one step of 255 in each activation and of 127 in each
weight, through many layers of random numbers. Mostly it is 0.01; a wrong scale is off by more."""

OPERATORS = {
    *("Gather", "MatMul", "Gemm", "Add", "Sub", "Mul", "LayerNormalization", "MultiHeadAttention", "Softmax"),
    *("Relu", "Gelu", "Tanh", "Erf", "Sigmoid", "Identity", "Cast", "Reshape", "Transpose", "ReduceMean"),
}

each_pass = pytest.mark.parametrize("one", [pytest.param(one, id=name) for name, one in PASSES.items()])


def run(model: ir.Model, *feeds: Feed, rewrites: bool = False) -> list[Array]:
    """Outputs for each feed, from ONNX Runtime without its own rewrites, so that a difference is ours; or with them."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not rewrites:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(serialized(model), options, providers=["CPUExecutionProvider"])
    return [output for feed in feeds for output in session.run(None, feed)]


def serialized(model: ir.Model) -> bytes:
    return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))


def interface(model: ir.Model) -> list[tuple[str | None, ir.DataType | None, str]]:
    return [(value.name, value.dtype, str(value.shape)) for value in (*model.graph.inputs, *model.graph.outputs)]


def check_validity(model: ir.Model, drawn: RandomGraph) -> None:
    """A rewritten model is one that ONNX takes, has the interface it had, and notes shapes that values really have."""
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    assert interface(model) == interface(drawn.model)
    open_model = model.clone()
    noted = [value for node in open_model.graph for value in node.outputs if value.name and value.shape is not None]
    open_model.graph.outputs[:] = noted
    sizes: dict[object, int] = {}
    for value, array in zip(noted, run(open_model, drawn.feeds[0]), strict=True):
        assert value.shape is not None
        for axis, size in zip(value.shape, array.shape, strict=True):
            wanted = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            assert size == wanted, f"{value} is {array.shape}"


def check_outputs(model: ir.Model, drawn: RandomGraph, *, rewrites: bool = False) -> None:
    for new, old in zip(run(model, *drawn.feeds, rewrites=rewrites), run(drawn.model, *drawn.feeds), strict=True):
        assert new.shape == old.shape
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)


def check_laws(drawn: RandomGraph, *passes: Pass) -> None:
    """Same outputs, same interface, a valid model; nothing left to do; what it was copied from is as it was."""
    original, model = serialized(drawn.model), drawn.model.clone()
    run_passes(model, passes)
    assert serialized(drawn.model) == original
    check_validity(model, drawn)
    check_outputs(model, drawn)
    once = serialized(model)
    assert not any(run_passes(model, passes).values()), "the second time there is nothing to rewrite"
    assert serialized(model) == once


@each_pass
@LAWS
@given(drawn=random_graphs())
def test_a_pass_keeps_what_a_graph_computes_and_finds_nothing_the_second_time(one: Pass, drawn: RandomGraph) -> None:
    check_laws(drawn, one)


@LAWS
@given(drawn=random_graphs())
def test_cleaning_up_keeps_what_a_graph_computes_and_finds_nothing_the_second_time(drawn: RandomGraph) -> None:
    check_laws(drawn, *CLEAN_UP)


def forms_of(drawn: RandomGraph) -> dict[str, ir.Model]:
    """The forms of attention that an export tries, and so makes int8 of."""
    model = drawn.model.clone()
    run_passes(model, CLEAN_UP)
    cleaned = serialized(model)
    forms = attention_forms({"model": model})
    assert serialized(model) == cleaned
    return {str(form): made["model"] for form, made in forms.items()}


@LAWS
@given(drawn=random_graphs())
def test_every_form_of_attention_computes_the_same(drawn: RandomGraph) -> None:
    for form, model in forms_of(drawn).items():
        check_validity(model, drawn)
        check_outputs(model, drawn, rewrites=True)
        once = serialized(model)
        again = attention_forms({"model": model})
        assert form in ("fused", "own") or form not in again, "the second time there is nothing to rewrite"
        assert serialized(next(iter(again.values()))["model"]) == once


@LAWS
@given(drawn=random_graphs())
def test_int8_keeps_the_interface_and_answers_alike(drawn: RandomGraph) -> None:
    for model in forms_of(drawn).values():
        assume(any(layer.products or layer.attentions for layer in find_layers(model)))
        quantize_dynamic(model)
        check_validity(model, drawn)
        for new, old in zip(run(model, *drawn.feeds), run(drawn.model, *drawn.feeds), strict=True):
            assert new.shape == old.shape
            assert np.isfinite(new).all()
            np.testing.assert_allclose(new, old, rtol=0, atol=INT8_TOLERANCE * max(1.0, np.abs(old).max()))


@pytest.fixture(scope="module")
def sample() -> list[RandomGraph]:
    """Some of the graphs that the laws are tried on. Not to be changed."""
    graphs: list[RandomGraph] = []

    @settings(LAWS, max_examples=150, phases=[Phase.generate])
    @given(drawn=random_graphs())
    def collect(drawn: RandomGraph) -> None:
        graphs.append(drawn)

    collect()
    return graphs


@each_pass
def test_random_graphs_have_work_for_every_pass(one: Pass, sample: list[RandomGraph]) -> None:
    modified = [one(drawn.model.clone()).modified for drawn in sample]
    assert sum(count > 0 for count in modified) >= 5


def test_random_graphs_hold_every_operator(sample: list[RandomGraph]) -> None:
    nodes = [node for drawn in sample for node in drawn.model.graph]
    assert {node.op_type for node in nodes} >= OPERATORS
    given = {name for node in nodes for name in node.attributes}
    assert given >= {"transA", "transB", "alpha", "beta", "scale", "unidirectional", "mask_filter_value"}
