"""Which layers stay in float32, and how many measurements that takes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from ortolan_exporters.quantize.sensitivity import MAX_MEASURED, rank_layers, trials
from tests.exporters.test_passes import FLOAT, graph


def chain(count: int) -> ir.Model:
    """So many products, one behind the other."""
    nodes = [
        helper.make_node("MatMul", [f"x{number}", f"w{number}"], [f"x{number + 1}"], name=f"layer {number}")
        for number in range(count)
    ]
    weights = {f"w{number}": np.full((2, 2), number, np.float32) for number in range(count)}
    return graph(nodes, {"x0": (FLOAT, ["n", 2])}, {f"x{count}": (FLOAT, ["n", 2])}, weights)


def damage_by(harm: dict[int, float], asked: list[frozenset[str]], count: int) -> object:
    def damage(kept: frozenset[str]) -> float:
        asked.append(kept)
        return sum(harm.get(number, 0.0) for number in range(count) if f"layer {number}" not in kept)

    return damage


def test_layers_are_measured_one_by_one_and_the_worst_comes_first() -> None:
    asked: list[frozenset[str]] = []
    ranked = rank_layers([chain(5)], damage_by({3: 9.0, 1: 2.0}, asked, 5))  # type: ignore[arg-type]
    assert ranked[:2] == [("layer 3",), ("layer 1",)]
    assert {len(kept) for kept in asked} == {4}


@pytest.mark.parametrize("count", [MAX_MEASURED, MAX_MEASURED + 1, 211])
def test_of_very_many_layers_neighbours_are_measured_together(count: int) -> None:
    asked: list[frozenset[str]] = []
    ranked = rank_layers([chain(count)], damage_by({count - 1: 1.0}, asked, count))  # type: ignore[arg-type]
    assert len(asked) == len(ranked) <= MAX_MEASURED
    assert f"layer {count - 1}" in ranked[0]
    assert sorted(name for group in ranked for name in group) == sorted(f"layer {n}" for n in range(count))


def test_twice_as_many_are_kept_in_each_trial_and_at_most_half() -> None:
    ranked = [(f"{number} a", f"{number} b") for number in range(7)]
    assert [len(kept) for kept in trials(ranked)] == [2, 4, 6]
    assert next(trials(ranked)) == ["0 a", "0 b"]
    assert list(trials(ranked[:1])) == []
