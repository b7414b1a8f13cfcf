"""The plots of a record: which numbers go into which chart, with the words that say how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ortolan.bench.charts import (
    PLOT_HEIGHT,
    Axis,
    Bar,
    Dot,
    Look,
    Series,
    Span,
    bar_chart,
    interval_chart,
    line_chart,
    looks,
    scatter,
    short,
)
from ortolan.bench.findings import (
    Standing,
    beside_reference,
    contenders,
    front,
    reference_of,
    shape_of,
    shares,
    standings,
    subjects,
    tokens_a_second,
)
from ortolan.bench.records import GROUPS, Case, Group, Record, Unit
from ortolan.bench.statistics import summarize
from ortolan.svg import Scale

LEAST_COSINE_DISTANCE = 1e-7
"""Cosines nearer to 1 are drawn here: float32 tells no more."""

_Row = TypeVar("_Row", Span, Bar)

MAX_ROWS = 400
"""Rows of one chart; more are not drawn, and the tables have them."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart of a page.

    Attributes:
        title: Heading.
        words: How to read it.
        svg: The chart.
    """

    title: str
    words: str
    svg: str


def plots(record: Record) -> list[Plot]:
    """Draw all that a record has numbers for, in the order in which a reader wants them."""
    look = looks(contenders(record))
    found = []
    for subject in subjects(record):
        cases = [case for case in record.cases if case.subject == subject]
        found += [
            *_latency(subject, cases, look),
            *_throughput(subject, cases, look),
            *_speed_ups(record, subject, cases, look),
            *_pareto(record, subject, cases, look),
            *_roofline(record, subject, cases, look),
            *_others(subject, cases, look),
        ]
    return found


def _latency(subject: str, cases: Sequence[Case], look: Mapping[str, Look]) -> Iterator[Plot]:
    points: dict[str, list[tuple[float, float]]] = {}
    for case in cases:
        shape, middle = shape_of(case), summarize(case).median
        if case.group == "latency" and case.unit == "ms" and shape is not None and shape[0] == 1 and middle > 0:
            points.setdefault(case.contender, []).append((shape[1], middle))
    if _is_drawn(points):
        yield Plot(
            f"Latency by length: {subject}",
            "Median of one call with one text. Lower is better.",
            line_chart(_series(points, look), "tokens of the text", "milliseconds of a call", look),
        )


def _throughput(subject: str, cases: Sequence[Case], look: Mapping[str, Look]) -> Iterator[Plot]:
    by_length: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for case in cases:
        shape, rate = shape_of(case), tokens_a_second(case)
        if case.group in ("latency", "throughput") and shape is not None and rate:
            by_length.setdefault(shape[1], {}).setdefault(case.contender, []).append((shape[0], rate))
    for length, points in sorted(by_length.items()):
        if _is_drawn(points):
            yield Plot(
                f"Throughput by batch, texts of {length} tokens: {subject}",
                "Tokens in a second, padding counted, at the median call. Higher is better.",
                line_chart(_series(points, look), "texts of a batch", "tokens a second", look),
            )


def _speed_ups(record: Record, subject: str, cases: Sequence[Case], look: Mapping[str, Look]) -> Iterator[Plot]:
    found: dict[tuple[Group, str], dict[str, list[Span]]] = {}
    for beside in beside_reference(record, cases):
        case, ratio = beside.case, beside.ratio
        if len(case.rounds) > 1 and ratio.low > 0.0 and ratio.high < math.inf:
            sections = found.setdefault((case.group, reference_of(record, case)), {})
            sections.setdefault(case.case, []).append(Span(case.contender, ratio.middle, ratio.low, ratio.high))
    for (group, name), sections in sorted(found.items(), key=lambda one: GROUPS.index(one[0][0])):
        yield Plot(
            f"How many times as good as {name}, {group}: {subject}",
            "Median over the rounds of the ratio within a round, with its 95 % interval. Right of the dotted line "
            "is better; an interval that crosses the line tells nothing.",
            interval_chart(_ordered(sections, look), f"times as good as {name}", look),
        )


def _pareto(record: Record, subject: str, cases: Sequence[Case], look: Mapping[str, Look]) -> Iterator[Plot]:
    timed = [case for case in cases if case.group == "latency"]
    if not timed:
        return
    found = standings(record, subject)
    x_title = f"times as quick as {reference_of(record, timed[0])}, mean over latencies"
    labels = [(one, one.quality.same_label) for one in found]
    known = [(one, value) for one, value in labels if value is not None]
    if len(known) > 1:
        low = min(0.99, *(value for _, value in known))
        scale = Scale(low - (1 - low) / 8, 1 + (1 - low) / 12, 0, -PLOT_HEIGHT, is_log=False)
        ticks = {tick: f"{tick:.1%}" for tick in scale.ticks() if tick <= 1}
        axis = Axis("texts with the reference's label", scale, ticks)
        yield _quality_plot(subject, "labels", known, [value for _, value in known], x_title, axis, look)
    cosines = [(one, one.quality.cosine) for one in found]
    near = [(one, max(LEAST_COSINE_DISTANCE, 1 - value)) for one, value in cosines if value is not None]
    if len(near) > 1:
        far = max(10 * LEAST_COSINE_DISTANCE, *(value for _, value in near))
        scale = Scale(far * 2, LEAST_COSINE_DISTANCE / 2, 0, -PLOT_HEIGHT, is_log=True)
        powers = range(round(math.log10(LEAST_COSINE_DISTANCE)), math.floor(math.log10(far * 2)) + 1)
        ticks = {10.0**power: f"1e{power}" if power < -2 else f"{10.0**power:g}" for power in powers}
        axis = Axis("1 - cosine of the outputs (upwards is better)", scale, ticks)
        yield _quality_plot(subject, "outputs", near, [-value for _, value in near], x_title, axis, look)


def _quality_plot(
    subject: str,
    of: str,
    found: Sequence[tuple[Standing, float]],
    goodness: Sequence[float],
    x_title: str,
    axis: Axis,
    look: Mapping[str, Look],
) -> Plot:
    on_front = front([(one.speed, good) for (one, _), good in zip(found, goodness, strict=True)])
    dots = [Dot(one.contender, one.speed, value, is_on) for (one, value), is_on in zip(found, on_front, strict=True)]
    return Plot(
        f"Quality of {of} against speed: {subject}",
        "Right is quicker, up is nearer to the reference's answers. Filled and joined: those that no other one "
        "beats in both (the Pareto front). By these two, the others are not worth choosing.",
        scatter(dots, x_title, axis, look),
    )


def _roofline(record: Record, subject: str, cases: Sequence[Case], look: Mapping[str, Look]) -> Iterator[Plot]:
    sections: dict[str, list[Bar]] = {}
    for one in shares(record, cases):
        label = f"{100 * one.share:.0f} % ({one.by})"
        sections.setdefault(f"{one.case.group}, {one.case.case}", []).append(
            Bar(one.case.contender, 100 * one.share, label)
        )
    if sections := _ordered(sections, look):
        yield Plot(
            f"Share of the machine's limit: {subject}",
            "Time that the limits of this machine, measured in the same run, allow for the matrix products and for "
            "reading the weights, as a part of the time that was taken. In brackets the limit that comes first. What "
            "lacks to 100 % went into other operators, into reading what is no weight, or is lost.",
            bar_chart(sections, "% of the limit", look, top=100),
        )


_WORDS: dict[Group, str] = {
    "throughput": "Many texts at once",
    "mixed": "Texts of mixed lengths",
    "tokenization": "Tokenizing",
    "generation": "Writing texts",
    "load": "Under load",
    "server": "Behind a server",
    "cold start": "Cold start",
    "memory": "Memory",
    "export": "Export",
}


_UNITS: dict[Unit, str] = {
    "ms": "milliseconds",
    "s": "seconds",
    "tok/s": "tokens a second",
    "req/s": "requests a second",
    "MB": "megabytes",
}


def _others(subject: str, cases: Sequence[Case], look: Mapping[str, Look]) -> Iterator[Plot]:
    """Draw bars of all that no line shows."""
    sections: dict[tuple[str, Unit, str], dict[str, list[Bar]]] = {}
    for case in cases:
        if case.group in _WORDS and not (case.group == "throughput" and shape_of(case)):
            summary = summarize(case)
            spread = f", p95 {short(summary.p95)}" if summary.num_samples > 1 else ""
            bar = Bar(case.contender, summary.median, f"{short(summary.median)} {case.unit}{spread}")
            key = (_WORDS[case.group], case.unit, case.better)
            sections.setdefault(key, {}).setdefault(case.case, []).append(bar)
    for (title, unit, better), found in sections.items():
        lower = "Lower is better." if better == "less" else "Higher is better."
        yield Plot(f"{title}: {subject}", f"Median. {lower}", bar_chart(_ordered(found, look), _UNITS[unit], look))


def _series(points: Mapping[str, list[tuple[float, float]]], look: Mapping[str, Look]) -> list[Series]:
    return [Series(name, points[name]) for name in look if name in points]


def _is_drawn(points: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    """Whether there is a line: some contender has two points."""
    return any(len({x for x, _ in found}) > 1 for found in points.values())


def _ordered(sections: Mapping[str, list[_Row]], look: Mapping[str, Look]) -> dict[str, list[_Row]]:
    """Sort the rows of each section as all charts do, and leave out what is beyond `MAX_ROWS`."""
    order = list(look)
    found: dict[str, list[_Row]] = {}
    for head, rows in sections.items():
        room = MAX_ROWS - sum(map(len, found.values()))
        if room > 0:
            found[head] = sorted(rows, key=lambda row: order.index(row.name))[:room]
    return found
