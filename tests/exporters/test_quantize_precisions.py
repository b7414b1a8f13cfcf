"""Every precision, on every form of attention: how far it is from torch, and how large."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, assume, given, settings

from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.gemm_to_matmul import GemmToMatMul
from ortolan_exporters.passes.pack_attention import PackAttention
from ortolan_exporters.passes.prune_unused import PruneUnused
from ortolan_exporters.quantize.calibrate import collect, ranges
from ortolan_exporters.quantize.dynamic import quantize_dynamic
from ortolan_exporters.quantize.half import to_half
from ortolan_exporters.quantize.layers import find_layers
from ortolan_exporters.quantize.static import quantize_static
from ortolan_exporters.quantize.weight_only import quantize_weights
from tests.exporters import traced
from tests.exporters.random_graphs import RandomGraph, random_graphs
from tests.exporters.test_passes import run


def quantize_static_with(method: str) -> Callable[[ir.Model], int]:
    """Static int8, calibrated on the fused form: its ranges must serve every form."""

    def quantize(model: ir.Model) -> int:
        return quantize_static(model, ranges(collect({"model": traced.bert()}, traced.CALIBRATION, {}), method))

    return quantize


TOLERANCES = {"fp16": 0.002, "int8": 0.05, "int8-static": 0.1, "int8-static by percentile": 0.1, "int4": 0.4}
"""Root of the mean squared difference, as a share of that of torch's logits. Matrices of 32 x 32 and random weights
are the worst of cases for 4 bits; what an export may lose is for its gate to say."""

PRECISIONS: dict[str, Callable[[ir.Model], int]] = {
    "fp16": to_half,
    "int8": quantize_dynamic,
    "int8-static": quantize_static_with("minmax"),
    "int8-static by percentile": quantize_static_with("percentile"),
    "int4": partial(quantize_weights, accuracy_level=4),
}


def packed(model: ir.Model) -> ir.Model:
    run_passes(model, (PackAttention(), PruneUnused()))
    return model


FORMS: dict[str, Callable[[ir.Model], ir.Model]] = {
    "fused": lambda model: model,
    "unfused": traced.unfused,
    "packed": packed,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_precision_stays_within_its_tolerance_of_torch(precision: str, form: str) -> None:
    model = FORMS[form](traced.bert())
    PRECISIONS[precision](model)
    expected = traced.torch_logits("bert")
    real = traced.FEED["attention_mask"] == 1
    difference = (run(model, **traced.FEED)[0] - expected)[real]
    share = np.sqrt(np.square(difference).mean() / np.square(expected[real]).mean())
    assert share < TOLERANCES[precision]


@pytest.mark.parametrize(
    ("precision", "bits"), [("fp16", 16), ("int8", 8), ("int8-static", 8), ("int4", 4)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_tied_and_shared_weights_are_stored_once(precision: str, bits: int, kind: str) -> None:
    """The bytes of all constants are those of the parameters in so many bits, and what scales and biases add."""
    model = getattr(traced, kind)()
    if precision == "int8-static":
        quantize_static(model, ranges(collect({"model": model}, traced.CALIBRATION, {}), "minmax"))
    else:
        PRECISIONS[precision](model)
    matrices = sum(one.numel() for one in traced.module(kind).parameters() if one.ndim == 2)
    others = sum(one.numel() for one in traced.module(kind).parameters() if one.ndim != 2)
    assert traced.weight_bytes(model) < 1.6 * matrices * bits / 8 + 4 * others + 10_000


def static_by_feeds(model: ir.Model, drawn: RandomGraph) -> int:
    return quantize_static(model, ranges(collect({"model": model}, drawn.feeds, {}), "minmax"))


@pytest.mark.parametrize(
    ("reduce", "share"),
    [
        pytest.param(lambda model, _: to_half(model), 0.02, id="fp16"),
        pytest.param(static_by_feeds, 0.15, id="int8-static"),
        pytest.param(lambda model, _: quantize_weights(model, accuracy_level=1), 0.8, id="int4"),
    ],
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=random_graphs())
def test_any_graph_stays_valid_and_answers_alike(
    reduce: Callable[[ir.Model, RandomGraph], int], share: float, drawn: RandomGraph
) -> None:
    model = drawn.model.clone()
    run_passes(model, [GemmToMatMul(), PruneUnused()])
    assume(any(layer.products for layer in find_layers(model)))
    reduce(model, drawn)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)
    for feed in drawn.feeds:
        for new, old in zip(run(model, **feed), run(drawn.model, **feed), strict=True):
            assert (new.shape, new.dtype) == (old.shape, old.dtype)
            np.testing.assert_allclose(new, old, rtol=0, atol=share * max(1.0, np.abs(old).max()))
