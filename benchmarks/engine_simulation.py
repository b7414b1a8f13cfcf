"""Question: does the engine's batch policy answer sooner, and carry more, than the ways of other servers?

Expected: at light load the policies are equal; from half of the capacity on, grouping by length and running side by
side keeps the latency of short texts low, most of all where lengths are mixed. With deadlines the engine refuses at
once what others answer too late.

A simulation: what runs cost is measured (`benchmarks/cost_tables.py`), everything else is computed. The engine's line
and policy are the real code, and pay for the time they take to decide; the others decide in no time, and at each
point with the best of many settings.

    python -m benchmarks.engine_simulation            # the record benchmarks/records/cost_tables.json is needed
    python -m benchmarks.engine_simulation --quick    # a look: fewer requests, fewer loads
    python -m benchmarks.engine_simulation_page       # from the record to docs/
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.queueing import (
    CALIBRATION_SECONDS,
    MAX_LENGTH,
    InTurn,
    Machine,
    Ours,
    Outcome,
    Request,
    Server,
    calibrated,
    simulate,
)
from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table
from ortolan.batch.calibrate import derive_limits
from ortolan.batch.costs import Shape
from ortolan.batch.group import Group
from ortolan.batch.queue import Queue
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Text, Ticket
from ortolan.progress import track

COSTS = Path(__file__).parent / "records" / "cost_tables.json"
LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
DEADLINE_LOADS = (0.3, 0.5, 0.7, 0.9, 1.0, 1.2)
PAPER_LOADS = (0.3, 0.7, 0.9, 1.0)
DEADLINE = 0.05
NUM_REQUESTS, NUM_TO_CHOOSE, NUM_AT_ONCE = 20_000, 4_000, 4_000
SEED = 5

OURS, FREE = "Ortolan", "Ortolan, deciding in no time"
BUDGET = "token budget"
BUDGET_EACH = "token budget, an instance a thread"
COUNT = "count and timeout"
COUNT_EACH = "count and timeout, an instance a thread"
ALONE = "no batching"

SERIAL_SHARE = 0.05
SYNC_SECONDS = 10e-6
MEMORY_SLOWDOWN = 1.5
GPU_RUN_SECONDS, GPU_TOKEN_SECONDS = 1e-3, 1e-6

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plant:
    """What serves: a machine, how many threads or devices it has, and how the others divide it.

    Attributes:
        machine: What runs cost.
        slots: Threads, or devices.
        divisions: For each policy but ours, instances and threads of each.
        decision_seconds: What a decision of ours costs, by how many wait.
    """

    machine: Machine
    slots: int
    divisions: Mapping[str, Sequence[tuple[int, int]]]
    decision_seconds: Callable[[int], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulation."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--costs", type=Path, default=COSTS, help="record of benchmarks.cost_tables")
    flags.add_argument("--quick", action="store_true", help="fewer requests and loads")
    chosen = flags.parse_args(arguments)
    if not chosen.costs.is_file():
        flags.error(f"{chosen.costs} is missing: run python -m benchmarks.cost_tables, and copy its record there")
    costs = read_costs(chosen.costs)
    number = NUM_TO_CHOOSE if chosen.quick else NUM_REQUESTS
    loads, late_loads, paper_loads = (
        (each[1::3] if chosen.quick else each) for each in (LOADS, DEADLINE_LOADS, PAPER_LOADS)
    )
    here = this_machine(costs)
    cases: dict[str, Any] = {"decisions_us": decision_times(here.machine, here.slots)}
    by_depth = cases["decisions_us"]

    def decision_seconds(depth: int) -> float:
        return float(np.interp(depth, [int(key) for key in by_depth], list(by_depth.values()))) / 1e6

    here = Plant(here.machine, here.slots, here.divisions, decision_seconds)
    paper = {"64 cores": many_cores(costs[1], decision_seconds), "8 GPUs": many_gpus(decision_seconds)}
    cases["capacity"] = {mix: capacity(here, mix) for mix in MIXES}
    cases["open"] = {mix: sweep(here, mix, loads, number, cases["capacity"][mix]["a second"]) for mix in MIXES}
    cases["deadline"] = {
        mix: sweep(here, mix, late_loads, number, cases["capacity"][mix]["a second"], DEADLINE) for mix in MIXES
    }
    cases["paper"] = {}
    for name, plant in paper.items():
        bound = capacity(plant, "bimodal")
        points = sweep(plant, "bimodal", paper_loads, number, bound["a second"])
        cases["paper"][name] = {"capacity": bound, "points": points}
    for mix, points in cases["open"].items():
        print(f"\n{mix}: p99 milliseconds by load, without deadlines\n")
        print(by_load(points, lambda found: f"{found['p99_ms']:.1f}"))
        print(f"\n{mix}: per cent answered within {DEADLINE * 1e3:.0f} ms, by load\n")
        print(by_load(cases["deadline"][mix], lambda found: f"{100 * found['in_time']:.1f}"))
    print_environment()
    measured = json.loads(chosen.costs.read_text("utf-8"))
    settings = {
        "requests": number,
        "requests_to_choose": NUM_TO_CHOOSE,
        "seed": SEED,
        "deadline_ms": DEADLINE * 1e3,
        "costs": measured["environment"],
        "quick_costs": measured["settings"]["quick"],
        "paper": {
            "serial_share": SERIAL_SHARE,
            "sync_us": SYNC_SECONDS * 1e6,
            "memory_slowdown": MEMORY_SLOWDOWN,
            "gpu_run_ms": GPU_RUN_SECONDS * 1e3,
            "gpu_tokens_a_second": 1 / GPU_TOKEN_SECONDS,
        },
    }
    write_record("engine_simulation", settings, cases)
    return 0


def read_costs(path: Path) -> dict[int, dict[Shape, float]]:
    """Read median seconds, by threads of a run, rows and length, from a record of `benchmarks.cost_tables`."""
    found = json.loads(path.read_text(encoding="utf-8"))["cases"]
    tables: dict[int, dict[Shape, float]] = {}
    for width, points in found.items():
        for shape, rounds in points.items():
            rows, length = map(int, shape.split("x"))
            median = float(np.median([taken for calls in rounds for taken in calls]))
            tables.setdefault(int(width), {})[rows, length] = median / 1e3
    return tables


def short(chance: np.random.Generator, number: int) -> list[int]:
    """Lognormal lengths around 16 tokens."""
    return _clipped(chance.lognormal(math.log(16), 0.6, number))


def long(chance: np.random.Generator, number: int) -> list[int]:
    """Lognormal lengths around 128 tokens."""
    return _clipped(chance.lognormal(math.log(128), 0.4, number))


def bimodal(chance: np.random.Generator, number: int) -> list[int]:
    """Four short texts for each one of 128 to 256 tokens."""
    is_long = chance.random(number) < 0.2
    return _clipped(np.where(is_long, chance.integers(128, 257, number), short(chance, number)))


MIXES: dict[str, Callable[[np.random.Generator, int], list[int]]] = {"short": short, "long": long, "bimodal": bimodal}


def traffic(mix: str, number: int, rate: float, deadline: float = math.inf) -> list[Request]:
    """Make Poisson arrivals: the same ones, only faster or slower, for each rate.

    Args:
        mix: One of `MIXES`.
        number: How many requests.
        rate: How many a second; infinity for all at once.
        deadline: Seconds in which each is to be answered.
    """
    chance = np.random.default_rng(SEED)
    lengths = MIXES[mix](chance, number)
    arrivals = np.cumsum(chance.exponential(1.0, number)) / rate
    return [
        Request(one, length, float(arrival), float(arrival) + deadline)
        for one, (length, arrival) in enumerate(zip(lengths, arrivals, strict=True))
    ]


def this_machine(costs: Mapping[int, Mapping[Shape, float]]) -> Plant:
    """The machine that was measured."""
    threads = max(costs)
    whole, each = [(1, threads)], [(threads, 1)]
    divisions = {BUDGET: whole, BUDGET_EACH: each, COUNT: whole, COUNT_EACH: each, ALONE: whole}
    return Plant(Machine(costs), threads, divisions, lambda depth: 0.0)


def many_cores(one_thread: Mapping[Shape, float], decision_seconds: Callable[[int], float]) -> Plant:
    """64 cores, by assumption: the measured thread, memory that is shared, and a law of Amdahl for wide runs."""
    tables = {
        width: {
            shape: MEMORY_SLOWDOWN * seconds * (SERIAL_SHARE + (1 - SERIAL_SHARE) / width if width > 1 else 1.0)
            + SYNC_SECONDS * math.log2(width)
            for shape, seconds in one_thread.items()
        }
        for width in (64, 16, 4, 1)
    }
    ways = ((1, 64), (4, 16), (16, 4), (64, 1))
    return Plant(Machine(tables), 64, dict.fromkeys((BUDGET, COUNT, ALONE), ways), decision_seconds)


def many_gpus(decision_seconds: Callable[[int], float]) -> Plant:
    """8 GPUs, by assumption: a run costs something, and a token costs something."""
    shapes = list(product((1, 2, 4, 8, 16, 32, 64), (8, 16, 32, 64, 128, 256)))
    table = {(n, s): GPU_RUN_SECONDS + n * s * GPU_TOKEN_SECONDS for n, s in shapes}
    return Plant(Machine({1: table}), 8, dict.fromkeys((BUDGET, COUNT, ALONE), ((8, 1),)), decision_seconds)


def candidates(plant: Plant, policy: str, *, has_deadline: bool) -> list[Settings]:
    """Settings of a policy, of which the best is chosen at each point.

    With deadlines each may also bound its line, and Triton's may drop what has waited too long.
    """
    ways: list[dict[str, Any]] = [{}]
    if policy in (BUDGET, BUDGET_EACH):
        ways = [{"max_tokens": tokens} for tokens in (64, 128, 256, 512, 1024, 4096, 16_384)]
    elif policy in (COUNT, COUNT_EACH):
        ways = [{"max_rows": n, "max_wait": t} for n in (2, 4, 8, 16, 32, 64) for t in (0.0, 0.002, 0.01)]
    elif policy == ALONE:
        ways = [{"max_rows": 1}]
    limits: list[dict[str, Any]] = [{}]
    if has_deadline and policy in (COUNT, COUNT_EACH):
        limits += [{"patience": share * DEADLINE} for share in (0.3, 0.5, 0.7)]
    elif has_deadline:
        limits += [{"max_queue": number} for number in (2, 4, 8, 16, 32)]
    divisions = [{"instances": instances, "threads": threads} for instances, threads in plant.divisions[policy]]
    return [{**division, **way, **limit} for division, way, limit in product(divisions, ways, limits)]


def ours(plant: Plant, *, is_bounded: bool, is_free: bool = False) -> Server:
    """The engine's own line and policy."""
    if is_free:
        return Ours(plant.machine, Slots(plant.slots), is_bounded)
    return Ours(plant.machine, Slots(plant.slots), is_bounded, plant.decision_seconds)


def capacity(plant: Plant, mix: str) -> dict[str, Any]:
    """Answers a second of the best policy when all requests are there at once."""
    requests = traffic(mix, NUM_AT_ONCE, math.inf)
    found = {OURS: simulate(ours(plant, is_bounded=False), requests, plant.machine.seconds).throughput}
    for policy in plant.divisions:
        found[policy] = max(
            simulate(InTurn(**settings), requests, plant.machine.seconds).throughput
            for settings in candidates(plant, policy, has_deadline=False)
            if not settings.get("max_wait")
        )
    best = max(found, key=lambda policy: found[policy])
    return {"a second": found[best], "by": best, "of each": found}


def sweep(
    plant: Plant, mix: str, loads: Sequence[float], number: int, bound: float, deadline: float = math.inf
) -> dict[str, dict[str, dict[str, Any]]]:
    """Play the same traffic to all policies, at each load.

    Returns:
        By load and policy, what `summary` says, and the settings.
    """
    points: dict[str, dict[str, dict[str, Any]]] = {}
    has_deadline = deadline < math.inf
    for load in track(loads, f"{mix}, {plant.slots} slots" + (", deadlines" if has_deadline else "")):
        requests = traffic(mix, number, load * bound, deadline)
        found = points.setdefault(str(load), {})
        for name, is_free in ((OURS, False), (FREE, True)):
            server = ours(plant, is_bounded=has_deadline, is_free=is_free)
            found[name] = summary(simulate(server, requests, plant.machine.seconds), deadline)
        for policy in plant.divisions:
            settings = choose(plant, policy, requests[:NUM_TO_CHOOSE], deadline)
            outcome = simulate(InTurn(**settings), requests, plant.machine.seconds)
            found[policy] = {**summary(outcome, deadline), "settings": settings}
    return points


def choose(plant: Plant, policy: str, requests: Sequence[Request], deadline: float) -> Settings:
    """The best settings of a policy: least p99, or with deadlines most answers in time."""

    def badness(settings: Settings) -> float:
        outcome = simulate(InTurn(**settings), requests, plant.machine.seconds)
        return outcome.percentile_ms(99) if deadline == math.inf else -outcome.in_time(deadline)

    found = candidates(plant, policy, has_deadline=deadline < math.inf)
    return found[0] if len(found) == 1 else min(found, key=badness)


def summary(outcome: Outcome, deadline: float) -> dict[str, Any]:
    """What a record keeps of an outcome."""
    in_time = outcome.in_time(deadline)
    return {
        **{f"p{share}_ms": outcome.percentile_ms(share) for share in (50, 95, 99)},
        "throughput": outcome.throughput,
        "padding": outcome.padding,
        "rows": len(outcome.latency) * (1 - outcome.refused) / max(1, outcome.runs),
        "refused": outcome.refused,
        "in_time": in_time,
        "late": 1 - outcome.refused - in_time,
    }


def decision_times(machine: Machine, slots: int) -> dict[str, float]:
    """Measure the microseconds of a decision, by how many texts wait; each after a run was learned from."""
    widths = machine.widths
    costs = {width: calibrated(machine, width, CALIBRATION_SECONDS / len(widths)) for width in widths}
    found = {}
    for depth in (0, 1, 2, 8, 16, 32, 64, 1000):
        taken = []
        for _ in range(15):
            queue, group = Queue(), Group("timed", costs, derive_limits(list(costs.values())), 1 << 60, Slots(slots))
            queue.groups.append(group)
            for request in traffic("bimodal", depth, 1000.0):
                text = Text(request.number, request.length, request.number)
                queue.put(Ticket(group, [text], request.arrival), request.arrival)
            for width in widths:
                costs[width].observe(4, 64, machine.seconds(4, 64, width))
            start = time.perf_counter()
            queue.next_job(1.0)
            taken.append(1e6 * (time.perf_counter() - start))
        found[str(depth)] = float(np.median(taken))
    return found


def by_load(points: Mapping[str, Mapping[str, Mapping[str, Any]]], cell: Callable[[Mapping[str, Any]], str]) -> str:
    """Lay out one number of each policy at each load."""
    loads = list(points)
    policies = list(points[loads[0]])
    return plain_table(["", *loads], ([name, *(cell(points[load][name]) for load in loads)] for name in policies))


def _clipped(lengths: Any) -> list[int]:
    return [int(length) for length in np.clip(np.round(lengths), 3, MAX_LENGTH)]


if __name__ == "__main__":
    sys.exit(main())
