"""Question: how is what benchmarks/engine_load.py found laid out?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tables import plain_table

LATE_MS = 50.0
ENGINE, DEADLINE = "engine", "engine, deadline 50 ms"
ONE_SESSION, BATCHER = "one session, no batching", "count and timeout over our session"
LOOP = "one session, no batching, in a plain loop"
OURS = (ENGINE, ONE_SESSION, LOOP, BATCHER)
TARGETS = {"transformers fp32": 8.0, "optimum ORT pipeline, int8": 3.0, ONE_SESSION: 1.3, LOOP: 1.3, BATCHER: 1.3}
"""How many times as many requests the engine shall carry."""

LOOKS = {
    ENGINE: ("#0072B2", "o", "-"),
    ONE_SESSION: ("#E69F00", "s", "--"),
    LOOP: ("#CC79A7", "D", ":"),
    BATCHER: ("#009E73", "^", "-."),
}
"""Colour, mark and line: told apart by any eye, and in grey."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The highest rate that a contender carried in one round, requests a second, and how, milliseconds.

    Attributes:
        rate: Requests a second.
        p50: Latency of the middle request.
        p95: Latency that 95 of 100 did not exceed.
        p99: Latency that 99 of 100 did not exceed.
        requests: How many there were.
        batches: Runs, where they are counted.
        rows: Texts of these runs.
        tokens: Tokens of these runs, padding left out.
        padding: Tokens of padding.
        latencies: Some of all, in the order of arrival.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    requests: int
    batches: int
    rows: int
    tokens: int
    padding: int
    latencies: list[float] = field(default_factory=list)


NOTHING = Carried(0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0)
"""Of one that is late at any rate."""


@dataclass(frozen=True, slots=True)
class Overload:
    """What became of more requests than the engine carries.

    Attributes:
        rate: Requests a second.
        refused: Share that got no answer.
        p50: Milliseconds of the middle answer.
        p99: Milliseconds that 99 of 100 answers did not exceed.
        goodput: Answers a second that came within 50 ms.
        reasons: How many were refused for which reason.
    """

    rate: float
    refused: float
    p50: float
    p99: float
    goodput: float
    reasons: dict[str, int] = field(default_factory=dict)


Found = Mapping[str, Mapping[str, Sequence[Carried]]]
"""What was carried in each round, by mix and contender."""


def carried_table(title: str, found: Found) -> str:
    """Lay out the medians over the rounds, with their range, as Markdown."""
    head = [title]
    for mix in found:
        head += [f"{mix}: requests a second", "p50 ms", "texts a run", "padding", "the engine carries"]
    rows = []
    for name in next(iter(found.values())):
        row = [name]
        for by_name in found.values():
            rounds = by_name[name]
            ratio = statistics.median(_ratios(by_name, name))
            batches = sum(one.batches for one in rounds)
            tokens = sum(one.tokens + one.padding for one in rounds)
            row += [
                _spread([one.rate for one in rounds]),
                f"{statistics.median(one.p50 for one in rounds):.1f}" if ratio < math.inf else "",
                f"{sum(one.rows for one in rounds) / batches:.1f}" if batches else "1",
                f"{sum(one.padding for one in rounds) / tokens:.0%}" if tokens else "none",
                "" if name == ENGINE else f"{ratio:.2f} times as many" if ratio < math.inf else "and it none",
            ]
        rows.append(row)
    return plain_table(head, rows)


def verdicts(found: Found) -> list[str]:
    """Say for each contender with a target how many times as many requests the engine carries."""
    lines = []
    for name, target in TARGETS.items():
        parts = []
        for mix, by_name in found.items():
            if name in by_name:
                ratios = _ratios(by_name, name)
                word = "met" if statistics.median(ratios) >= target else "missed"
                parts.append(f"{_spread(ratios, 2)} with {mix} ({word})")
        lines.append(f"{name}, aim {target:g} times: {', '.join(parts) or 'missing'}")
    return lines


def overload_table(found: Mapping[str, Mapping[str, Sequence[Overload]]]) -> str:
    """Lay out what a deadline does to a fifth more than the engine carries, as Markdown."""
    head = [
        "requests",
        "contender",
        "offered a second",
        "answered within 50 ms, a second",
        "refused",
        "p50 ms",
        "p99 ms",
    ]
    rows = [
        [
            mix,
            name,
            f"{_median(one.rate for one in rounds):.0f}",
            f"{_median(one.goodput for one in rounds):.0f}",
            f"{_median(one.refused for one in rounds):.1%}",
            f"{_median(one.p50 for one in rounds):.1f}",
            f"{_median(one.p99 for one in rounds):.1f}",
        ]
        for mix, by_name in found.items()
        for name, rounds in by_name.items()
    ]
    return plain_table(head, rows)


def rates_table(cases: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> str:
    """Lay out p50 and p99 by the rate that was offered, medians over the rounds, as Markdown."""
    head = ["requests a second", *(f"{name}: p50 / p99 ms" for name in cases)]
    rows = [
        [
            rate,
            *(
                f"{_middle(by_rate[rate], 'p50'):.1f} / {_middle(by_rate[rate], 'p99'):.1f}"
                for by_rate in cases.values()
            ),
        ]
        for rate in next(iter(cases.values()))
    ]
    return plain_table(head, rows)


def plot_rates(cases: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], path: Path) -> None:
    """Draw p50 and p99 by the rate that was offered."""
    import matplotlib as mpl  # here, not above: an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ortolan"  # the same picture for the same numbers
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for panel, (key, title) in zip(panels, (("p50", "median"), ("p99", "99 of 100 are quicker")), strict=True):
        for name, by_rate in cases.items():
            colour, mark, line = LOOKS[name]
            rates = [float(rate) for rate in by_rate]
            values = [_middle(rounds, key) for rounds in by_rate.values()]
            panel.plot(rates, values, color=colour, marker=mark, linestyle=line, markersize=4, label=name)
        panel.axhline(LATE_MS, color="0.4", linewidth=0.8)
        panel.set(title=title, xlabel="requests a second", yscale="log", xlim=(0, None))
        panel.grid(visible=True, which="major", color="0.9")
    panels[0].set_ylabel("milliseconds from when it was due")
    panels[0].annotate(f"{LATE_MS:.0f} ms", (0, LATE_MS), xytext=(4, 3), textcoords="offset points", color="0.4")
    panels[0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(f"plot: {path.name}")


def read_carried(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Carried]]:
    """Read what a record holds."""
    return {name: [Carried(**one) for one in of] for name, of in rounds.items()}


def read_overload(rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Overload]]:
    """Read what a record holds."""
    return {name: [Overload(**one) for one in of] for name, of in rounds.items()}


def _ratios(by_name: Mapping[str, Sequence[Carried]], name: str) -> list[float]:
    """How many times as many requests the engine carried, in each round; infinity where the other carried none."""
    return [
        own.rate / other.rate if other.rate else math.inf
        for own, other in zip(by_name[ENGINE], by_name[name], strict=True)
    ]


def _spread(values: Sequence[float], digits: int = 0) -> str:
    """Show median and range; infinity is the ratio to a contender that carries nothing."""
    middle, low, high = (
        f"{value:.{digits}f}" if value < math.inf else "∞"
        for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def _middle(rounds: Sequence[Mapping[str, float]], key: str) -> float:
    return _median(one[key] for one in rounds)


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else math.nan
