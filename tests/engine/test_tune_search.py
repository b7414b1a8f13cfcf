from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.request import TextInput
from ortolan.tune.measurements import Measurements
from ortolan.tune.worth import best_way, points
from tests.engine.fake_bench import (
    FP32,
    FP32_ALONE,
    INT8,
    INT8_ALONE,
    MANIFEST,
    SHAPES,
    WAYS,
    FakeBench,
    search,
)

TIMES = {INT8: 4.0, FP32: 8.0, INT8_ALONE: 2.0, FP32_ALONE: 16.0}
TEXTS = [TextInput("the film was good"), TextInput("rain")]


def test_every_way_is_looked_at_first_in_the_order_given():
    bench = FakeBench(TIMES)
    search(bench, budget_seconds=4.5).run()
    assert bench.looked == list(WAYS)


def test_the_memory_of_a_graph_is_measured_once():
    bench = FakeBench(TIMES)
    search(bench).run()
    assert bench.weighed == [INT8, FP32]


def test_the_search_ends_before_its_budget_when_there_is_nothing_left_to_learn():
    bench = FakeBench(TIMES)
    search(bench, budget_seconds=1000).run()
    assert bench.now < 100


def test_a_way_without_prospects_is_not_looked_at_again():
    bench = FakeBench(TIMES)
    search(bench).run()
    looks = Counter(bench.looked)
    assert (looks[FP32_ALONE], looks[INT8_ALONE] > 10) == (1, True)


def test_a_way_with_a_fault_is_looked_at_once_and_never_chosen():
    bench = FakeBench(TIMES, faults={INT8_ALONE: "golden answers differ"})
    notes = Measurements({})
    search(bench, notes=notes).run()
    assert (Counter(bench.looked)[INT8_ALONE], best_way(notes, MANIFEST, SHAPES, "latency")) == (1, INT8)


def test_when_what_runs_untuned_has_a_fault_the_others_are_compared_with_the_next():
    bench = FakeBench(TIMES, faults={INT8: "golden answers differ"})
    notes = Measurements({})
    search(bench, notes=notes).run()
    assert (next(iter(notes.sound)), notes.seen[INT8_ALONE].speed(SHAPES)) == (FP32, 4.0)


def test_a_search_goes_on_with_what_was_measured_before():
    notes = Measurements({})
    search(FakeBench(TIMES), budget_seconds=2.5, notes=notes).run()
    second = FakeBench(TIMES)
    search(second, budget_seconds=2.5, notes=notes).run()
    assert second.looked == [INT8_ALONE, FP32_ALONE]


def test_a_finished_search_has_nothing_to_do():
    notes = Measurements({})
    search(FakeBench(TIMES), notes=notes).run()
    second = FakeBench(TIMES)
    search(second, notes=notes).run()
    assert second.looked == []


def test_each_look_is_saved():
    bench, saved = FakeBench(TIMES), []
    one = search(bench, budget_seconds=3.5)
    dataclasses.replace(one, save=lambda: saved.append(len(one.notes.seen))).run()
    assert saved[:3] == [1, 2, 3]


def test_an_interrupted_search_keeps_the_looks_before():
    class Interrupted(FakeBench):
        def memory(self, way: object, timeout_seconds: float) -> int | None:
            if len(self.looked) == 2:
                raise KeyboardInterrupt
            return 1

    notes = Measurements({})
    with pytest.raises(KeyboardInterrupt):
        search(Interrupted(TIMES), notes=notes).run()
    assert list(notes.seen) == [INT8, FP32]


def test_texts_are_compared_once_each_precision_was_looked_at():
    bench, notes = FakeBench(TIMES), Measurements({})
    search(bench, notes=notes).run(TEXTS)
    assert (bench.compared, notes.agreement, notes.num_texts) == (
        [(["fp32", "int8"], 2)],
        {"fp32": 1.0, "int8": 0.75},
        2,
    )


def test_the_same_texts_are_not_compared_again():
    notes, second = Measurements({}), FakeBench(TIMES)
    search(FakeBench(TIMES), notes=notes).run(TEXTS)
    search(second, notes=notes).run(TEXTS)
    assert second.compared == []


def test_without_texts_an_earlier_comparison_is_forgotten():
    notes = Measurements({})
    search(FakeBench(TIMES), notes=notes).run(TEXTS)
    search(FakeBench(TIMES), notes=notes).run()
    assert (notes.agreement, notes.num_texts) == ({}, 0)


def test_a_budget_that_is_spent_already_buys_no_look():
    bench = FakeBench(TIMES)
    one = search(bench, budget_seconds=5)
    bench.now = 5.0
    one.run()
    assert bench.looked == []


@settings(max_examples=50)
@given(st.floats(0.1, 60), st.floats(0.5, 5), st.permutations(WAYS))
def test_looks_that_take_equally_long_never_exceed_the_budget(budget: float, cost: float, ways: list[object]):
    bench = FakeBench(TIMES, look_seconds=cost)
    search(bench, ways, budget_seconds=budget).run()  # type: ignore[arg-type]  # hypothesis widens the elements
    assert bench.now <= max(budget, cost)  # what the first one takes can't be known


@settings(max_examples=50)
@given(
    st.fixed_dictionaries({way: st.floats(0.1, 100) for way in WAYS}),
    st.integers(1, 60),
    st.sampled_from(["latency", "throughput"]),
)
def test_no_way_that_is_better_than_untuned_dominates_the_choice(times: dict, looks: int, prefer: str):  # type: ignore[type-arg]
    notes = Measurements({})
    search(FakeBench(times), budget_seconds=looks + 0.5, notes=notes).run()
    best = best_way(notes, MANIFEST, SHAPES, prefer)  # type: ignore[arg-type]
    placed = points(notes, MANIFEST, SHAPES)
    rivals = [way for way in placed if notes.seen[way].is_quicker(SHAPES)]
    assert not any(placed[way].dominates(placed[best]) for way in rivals)
