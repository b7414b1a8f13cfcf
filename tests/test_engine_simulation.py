"""The event loop of the simulation, and the batchers that it compares, with costs that are easy to add up."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from benchmarks.engine_simulation import MIXES
from benchmarks.engine_simulation import traffic as poisson
from benchmarks.engine_simulation_page import draw
from benchmarks.queueing import InTurn, Machine, Ours, Request, Run, simulate
from ortolan.batch.slots import Slots


def ten_ms(rows: int, length: int, threads: int) -> float:
    return 0.01


def traffic(*arrivals: float, length: int = 10, deadline: float = math.inf) -> list[Request]:
    return [Request(number, length, arrival, arrival + deadline) for number, arrival in enumerate(arrivals)]


def milliseconds(outcome):
    return [round(seconds * 1e3, 6) for seconds in outcome.latency]


def machine() -> Machine:
    """One thread does a token in 0.1 ms, two do it in 0.06 ms; a run costs one millisecond more."""
    shapes = [(rows, length) for rows in (1, 2, 4, 8, 16, 32, 64) for length in (8, 16, 32, 64, 128, 256)]
    return Machine(
        {
            threads: {(n, s): 1e-3 + n * s * a_token for n, s in shapes}
            for threads, a_token in {1: 1e-4, 2: 6e-5}.items()
        }
    )


def test_a_request_waits_for_the_runs_before_it():
    outcome = simulate(InTurn(max_rows=1), traffic(0.0, 0.001, 0.002), ten_ms)
    assert milliseconds(outcome) == [10, 19, 28]
    assert outcome.throughput == pytest.approx(3 / 0.03)


def test_two_instances_run_side_by_side():
    outcome = simulate(InTurn(max_rows=1, instances=2), traffic(0.0, 0.001, 0.002), ten_ms)
    assert milliseconds(outcome) == [10, 10, 18]


def test_those_that_wait_share_the_next_run():
    outcome = simulate(InTurn(max_rows=8), traffic(0.0, 0.001, 0.002), ten_ms)
    assert milliseconds(outcome) == [10, 19, 18]
    assert outcome.runs == 2


def test_a_count_starts_the_run_before_the_wait_is_over():
    outcome = simulate(InTurn(max_rows=2, max_wait=0.1), traffic(0.0, 0.03), ten_ms)
    assert milliseconds(outcome) == [40, 10]


def test_a_wait_that_is_over_starts_the_run_without_company():
    outcome = simulate(InTurn(max_rows=2, max_wait=0.02), traffic(0.0, 0.03), ten_ms)
    assert milliseconds(outcome) == [30, 30]


def test_a_budget_of_tokens_counts_padding():
    requests = [Request(number, length, 0.0) for number, length in enumerate((2, 10, 2, 2))]
    outcome = simulate(InTurn(max_tokens=20), requests, ten_ms)
    assert milliseconds(outcome) == [10, 10, 20, 20]
    assert outcome.padding == pytest.approx(8 / 24)


def test_a_full_line_refuses():
    outcome = simulate(InTurn(max_rows=1, max_queue=1), traffic(0.0, 0.001, 0.002), ten_ms)
    assert outcome.refused == pytest.approx(1 / 3)


def test_who_has_waited_too_long_is_refused_when_its_turn_comes():
    outcome = simulate(InTurn(max_rows=1, patience=0.01), traffic(0.0, 0.001, 0.002), ten_ms)
    assert outcome.refused == pytest.approx(1 / 3)
    assert outcome.in_time(0.015) == pytest.approx(1 / 3)


def test_a_server_that_forgets_a_request_is_found_out():
    class Forgetful(InTurn):
        def put(self, request: Request, now: float) -> None:
            pass

    with pytest.raises(RuntimeError, match="neither answered nor refused"):
        simulate(Forgetful(), traffic(0.0), ten_ms)


def test_a_server_that_answers_twice_is_found_out():
    class Repeating(InTurn):
        def start(self, now: float) -> Run | None:
            run = super().start(now)
            return run and Run([0], run.length, run.threads)

    with pytest.raises(RuntimeError, match="answered twice"):
        simulate(Repeating(max_rows=1), traffic(0.0, 0.001), ten_ms)


def test_costs_between_and_beyond_the_measured_shapes_follow_them():
    costs = Machine({1: {(rows, length): rows * length / 1e3 for rows in (1, 2, 4) for length in (8, 16, 32)}})
    assert costs.seconds(3, 20, 1) == pytest.approx(0.06)
    assert costs.seconds(8, 16, 1) == pytest.approx(0.128)
    assert costs.seconds(1, 2, 1) == pytest.approx(0.008)


def test_the_engine_answers_a_lone_request_at_once_on_all_threads():
    costs = machine()
    outcome = simulate(Ours(costs, Slots(2)), traffic(0.0, 1.0, length=64), costs.seconds)
    assert milliseconds(outcome) == pytest.approx([1 + 64 * 0.06] * 2)


def test_the_engine_answers_everything_under_a_load_that_is_too_much():
    costs = machine()
    outcome = simulate(Ours(costs, Slots(2)), traffic(*(n * 1e-4 for n in range(500))), costs.seconds)
    assert outcome.refused == 0


def test_the_engine_answers_in_time_or_refuses():
    costs = machine()
    requests = traffic(*(n * 1e-4 for n in range(500)), deadline=0.05)
    outcome = simulate(Ours(costs, Slots(2)), requests, costs.seconds)
    assert 0 < outcome.refused < 1
    assert outcome.in_time(0.05) == pytest.approx(1 - outcome.refused)


def test_decisions_delay_runs_one_after_the_other():
    costs = machine()
    server = Ours(costs, Slots(2), decision_seconds=lambda depth: 0.002)
    outcome = simulate(server, traffic(0.0), costs.seconds)
    assert milliseconds(outcome) == pytest.approx([2 + 1 + 10 * 0.06], rel=0.05)


@pytest.mark.parametrize("mix", MIXES)
def test_a_higher_load_is_the_same_traffic_only_quicker(mix: str):
    slow, quick = poisson(mix, 100, 10.0), poisson(mix, 100, 20.0, deadline=0.05)
    assert [one.length for one in slow] == [one.length for one in quick]
    assert [one.arrival / 2 for one in slow] == pytest.approx([one.arrival for one in quick])
    assert quick[7].due == quick[7].arrival + 0.05


def test_a_missing_matplotlib_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match="matplotlib is missing: pip install"):
        draw({}, tmp_path / "plot.svg")
