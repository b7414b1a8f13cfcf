"""Question: how is what benchmarks/peers.py found laid out?"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from ortolan.timing import Times
from ortolan_exporters.contenders.serving import Nodes

SMALL = 0.01  # operators that take less of the time than this are shown together


@dataclass(frozen=True, slots=True)
class Likeness:
    """How like torch's the answers to real sentences are.

    Attributes:
        agreement: Share of sentences with the same label.
        cosine: Of all logits, taken as one vector.
        difference: The largest between two logits.
    """

    agreement: float
    cosine: float
    difference: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was found out about one model; a contender is either timed or missing for a reason.

    Attributes:
        likeness: By contender.
        times: By shape and contender.
        missing: Why, by contender.
        versions: Of packages, by the first word of a contender's name.
    """

    likeness: dict[str, Likeness] = field(default_factory=dict)
    times: dict[str, dict[str, Times]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)


def race_table(title: str, race: Result, ours: str) -> str:
    """Lay out likeness, medians and, in brackets, how many times as quick ours is, as Markdown."""
    lines = [_row(title, "same label", "cosine", "largest difference", *race.times), _rule(4 + len(race.times))]
    for name, like in race.likeness.items():
        if name in race.missing:
            continue
        cells = [f"{like.agreement:.2%}", f"{like.cosine:.4f}", f"{like.difference:.2g}"]
        for times in race.times.values():
            ratio = f" ({times[ours].times_as_quick_as(times[name]):.2f}x)" if name != ours and ours in times else ""
            cells.append(f"{times[name].median:.2f}{ratio}")
        lines.append(_row(name, *cells))
    lines += [_row(name, f"missing: {reason}", *[""] * (2 + len(race.times))) for name, reason in race.missing.items()]
    return "\n".join(lines)


def verdict(race: Result, ours: str, rivals: str) -> str:
    """Compare ours with the quickest at each shape of the contenders whose names begin alike.

    Shows quartiles over the rounds of how many times as quick ours is.
    """
    parts = []
    for case, times in race.times.items():
        found = [_quartiles(times[ours], times[name]) for name in times if ours in times and name.startswith(rivals)]
        if found:
            low, middle, high = min(found, key=lambda quartiles: quartiles[1])
            parts.append(f"{middle:.2f}x at {case} ({low:.2f} to {high:.2f})")
    return f"{ours} against the quickest {rivals}: {', '.join(parts) or 'missing'}"


def profile_table(title: str, found: Mapping[str, Nodes]) -> str:
    """Lay out the milliseconds of each operator at each shape, and their share of a run, as Markdown."""
    spent = {case: _by_operator(nodes) for case, nodes in found.items()}
    totals = {case: sum(operators.values()) for case, operators in spent.items()}
    share: dict[str, float] = {}
    for case, operators in spent.items():
        for name, taken in operators.items():
            share[name] = max(share.get(name, 0.0), taken / totals[case])
    groups = {name: [name] for name in sorted(share, key=lambda name: -share[name]) if share[name] >= SMALL}
    groups["the rest"] = [name for name in share if share[name] < SMALL]
    lines = [_row(title, "nodes", *found), _rule(2 + len(found))]
    for label, names in groups.items():
        count = max(sum(operator in names for operator, _ in nodes) for nodes in found.values())
        sums = {case: sum(operators.get(name, 0.0) for name in names) for case, operators in spent.items()}
        lines.append(
            _row(label, str(count), *[f"{sums[case]:.3f} ({sums[case] / totals[case]:.0%})" for case in found])
        )
    lines.append(_row("all", "", *[f"{total:.3f}" for total in totals.values()]))
    return "\n".join(lines)


def _by_operator(nodes: Nodes) -> dict[str, float]:
    """Add up the medians of the nodes of each operator."""
    spent: dict[str, float] = {}
    for (operator, _), runs in nodes.items():
        spent[operator] = spent.get(operator, 0.0) + statistics.median(runs)
    return spent


def _quartiles(own: Times, other: Times) -> tuple[float, float, float]:
    pairs = zip(own.rounds, other.rounds, strict=True)
    ratios = [statistics.median(theirs) / statistics.median(ours) for ours, theirs in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(count: int) -> str:
    return _row(*["---"] * count)
