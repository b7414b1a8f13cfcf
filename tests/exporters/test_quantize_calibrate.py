"""Ranges of activations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper

from ortolan_exporters import QuantizeError
from ortolan_exporters.quantize.calibrate import Histogram, Method, Range, collect, count, ranges
from tests.exporters import traced
from tests.exporters.test_passes import FLOAT, graph

METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")
ARRAYS = hnp.arrays(np.float32, st.integers(1, 400), elements=st.floats(-1000, 1000, width=32))
BOUNDS = st.tuples(st.floats(-1e30, 0), st.floats(0, 1e30))


def histogram(*arrays: np.ndarray) -> Histogram:
    def observe(_: str) -> Iterator[tuple[str, np.ndarray]]:
        return (("x", array) for array in arrays)

    return count(observe)["x"]


@given(bounds=BOUNDS)
def test_every_range_has_a_step_and_an_exact_zero(bounds: tuple[float, float]) -> None:
    one = Range(*bounds)
    assert one.scale > 0
    assert one.scale == np.float32(one.scale)
    assert 0 <= one.zero_point <= 255


@given(bounds=BOUNDS, where=st.floats(0, 1))
def test_rounding_moves_what_lies_within_the_range_by_a_step_at_most(bounds: tuple[float, float], where: float) -> None:
    one = Range(*bounds)
    value = one.low + where * (one.high - one.low)
    integer = np.clip(np.rint(value / one.scale) + one.zero_point, 0, 255)
    assert abs((integer - one.zero_point) * one.scale - value) <= one.scale * 1.001


def test_range_of_three_quarters_above_zero_puts_zero_a_quarter_up() -> None:
    one = Range(-1.0, 3.0)
    assert (one.scale, one.zero_point) == (pytest.approx(4 / 255), 64)


def test_range_of_nothing_has_scale_one() -> None:
    assert (Range(0.0, 0.0).scale, Range(0.0, 0.0).zero_point) == (1.0, 0)


@pytest.mark.parametrize("bounds", [(1.0, 2.0), (-2.0, -1.0), (np.nan, 1.0), (-1.0, np.inf)])
def test_range_without_zero_or_without_end_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(QuantizeError, match="give finite ends around 0"):
        Range(*bounds)


@given(array=ARRAYS, method=st.sampled_from(METHODS))
def test_every_method_stays_within_what_was_seen(array: np.ndarray, method: Method) -> None:
    found = ranges({"x": histogram(array)}, method)["x"]
    assert min(array.min(), 0) <= found.low <= 0 <= found.high <= max(array.max(), 0)


@given(array=ARRAYS)
def test_minmax_takes_all_that_was_seen(array: np.ndarray) -> None:
    found = ranges({"x": histogram(array)}, "minmax")["x"]
    assert (found.low, found.high) == (min(float(array.min()), 0), max(float(array.max()), 0))


@given(array=ARRAYS, parts=st.integers(1, 5))
def test_counts_do_not_depend_on_how_the_numbers_arrive(array: np.ndarray, parts: int) -> None:
    whole = histogram(array)
    assert whole.counts.sum() == array.size
    several = histogram(*(part for part in np.array_split(array, parts) if part.size))
    np.testing.assert_array_equal(several.counts, whole.counts)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_a_few_outliers_do_not_stretch_the_range(method: Method) -> None:
    array = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    array[:3] = 100
    found = ranges({"x": histogram(array)}, method)["x"]
    assert found.high < 20
    assert array.min() <= found.low < -3


def test_entropy_keeps_all_of_a_uniform_distribution() -> None:
    array = np.linspace(-1, 1, 200_001, dtype=np.float32)
    found = ranges({"x": histogram(array)}, "entropy")["x"]
    assert (found.low, found.high) == (-1.0, 1.0)


def test_tensor_that_is_not_finite_is_refused() -> None:
    with pytest.raises(QuantizeError, match="'x' holds NaN or infinity"):
        histogram(np.array([1.0, np.nan], np.float32))


def two_layers(weight: np.ndarray) -> dict:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    shape = (FLOAT, ["n", 2])
    return graph(nodes, {"x": shape}, {"y": shape}, {"w": weight})


def test_what_products_read_is_counted_whether_computed_or_handed_in() -> None:
    model = two_layers(np.array([[2, 0], [0, 2]], np.float32))
    feeds = [{"x": np.array([[1, -3]], np.float32)}, {"x": np.array([[5, 4]], np.float32)}]
    found = collect({"model": model}, feeds, {})
    assert {name: (one.low, one.high, one.counts.sum()) for name, one in found.items()} == {
        "x": (-3.0, 5.0, 4),
        "r": (0.0, 10.0, 4),
    }
    assert [value.name for value in model.graph.outputs] == ["y"], "the graph itself is left as it was"


def test_every_product_of_a_model_gets_a_range() -> None:
    found = collect({"model": traced.bert()}, traced.CALIBRATION, {})
    assert len(found) == 10, "of each layer: what query, key and value read, and three more; two of the head"
    assert all(one.low < 0 < one.high for one in found.values())


def test_calibration_without_texts_is_refused() -> None:
    with pytest.raises(QuantizeError, match="no texts"):
        collect({"model": two_layers(np.eye(2, dtype=np.float32))}, [], {})


def test_calibration_of_a_graph_without_products_is_refused() -> None:
    model = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])}, {})
    with pytest.raises(QuantizeError, match="no matrix product"):
        collect({"model": model}, [{"x": np.ones(1, np.float32)}], {})
