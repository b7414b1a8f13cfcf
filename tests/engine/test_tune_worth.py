from __future__ import annotations

import pytest

from ortolan.choice import Way
from ortolan.tune.measure import Finding
from ortolan.tune.measurements import Measurements
from ortolan.tune.pareto import Prefer
from ortolan.tune.worth import best_way, points
from tests.engine.fake_bench import FP32, INT8, INT8_ALONE, MANIFEST, SHAPES


def noted(speeds: dict[Way, list[float]]) -> Measurements:
    """Notes of looks in which a way was so many times as quick as INT8, which is untuned and takes 1 ms."""
    notes = Measurements({})
    notes.add(INT8, Finding(0.0, None, dict.fromkeys(SHAPES, 1.0), dict.fromkeys(SHAPES, 1.0)), 1.0)
    for way, found in speeds.items():
        for speed in found:
            finding = Finding(0.0, None, dict.fromkeys(SHAPES, 1.0 / speed), dict.fromkeys(SHAPES, 1.0))
            notes.add(way, finding, 1.0)
    return notes


def chosen(speeds: dict[Way, list[float]], prefer: Prefer = "latency") -> Way:
    return best_way(noted(speeds), MANIFEST, SHAPES, prefer)


def test_a_way_that_is_quicker_in_every_look_is_chosen():
    assert chosen({FP32: [1.5, 1.4, 1.6]}) == FP32


def test_two_looks_are_not_enough_to_leave_what_runs_untuned():
    assert chosen({FP32: [3.0, 3.0]}) == INT8


def test_a_way_whose_looks_disagree_is_not_chosen():
    assert chosen({FP32: [3.0, 0.8, 3.0, 0.7]}) == INT8


def test_one_bad_moment_of_four_does_not_hurt():
    assert chosen({FP32: [2.0, 0.9, 2.0, 2.0, 2.0]}) == FP32


def test_of_two_quicker_ways_the_quickest_is_chosen():
    assert chosen({FP32: [1.5] * 3, INT8_ALONE: [2.0] * 3}) == INT8_ALONE


@pytest.mark.parametrize(("prefer", "best"), [("latency", FP32), ("throughput", INT8_ALONE)])
def test_the_preference_decides_between_single_texts_and_batches(prefer: Prefer, best: Way):
    notes = noted({})
    for way, single, batch in ((FP32, 2.0, 1.1), (INT8_ALONE, 1.1, 2.0)):
        times = dict(zip(SHAPES, (1 / single, 1 / single, 1 / batch), strict=True))
        for _ in range(3):
            notes.add(way, Finding(0.0, None, times, dict.fromkeys(SHAPES, 1.0)), 1.0)
    assert best_way(notes, MANIFEST, SHAPES, prefer) == best


def test_for_memory_a_smaller_graph_is_chosen_even_if_it_is_slower():
    notes = noted({FP32: [0.5]})
    notes.memory = {"onnx/model.onnx": 10_000_000, "onnx/model_quantized.onnx": 20_000_000}
    assert best_way(notes, MANIFEST, SHAPES, "memory") == FP32


def test_for_memory_a_larger_graph_is_not_chosen_even_if_it_is_quicker():
    notes = noted({FP32: [2.0] * 3})
    notes.memory = {"onnx/model.onnx": 20_000_000, "onnx/model_quantized.onnx": 10_000_000}
    assert best_way(notes, MANIFEST, SHAPES, "memory") == INT8


def test_quality_is_that_of_the_export():
    assert points(noted({FP32: [1.0]}), MANIFEST, SHAPES)[FP32].quality == 1.0


def test_quality_on_the_callers_texts_goes_before_that_of_the_export():
    notes = noted({FP32: [1.0]})
    notes.agreement = {"fp32": 1.0, "int8": 0.75}
    assert points(notes, MANIFEST, SHAPES)[INT8].quality == 0.75


def test_quality_is_measured_alike_for_all():
    notes = noted({FP32: [1.0]})
    notes.agreement = {"int8": 0.75}  # and none for fp32
    assert points(notes, MANIFEST, SHAPES)[INT8].quality == 1.0
