"""The ways as a picture: one band a graph, one dot a way, left is quicker. SVG, written out here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ortolan.choice import Way
from ortolan.svg import Scale, escaped, text
from ortolan.tune.report import TunedWay, TuneReport

WIDTH, LEFT, RIGHT, TOP = 900, 260, 40, 84
LANE, GAP, FOOT = 22, 26, 92
"""Height of a lane, which is one number of threads in a band; space between bands; space below, all in pixels."""

# plain rules and no CSS variables, which some converters do not know
STYLE = """\
<style>
  text { fill: #1d2733; font: 13px system-ui, "DejaVu Sans", Helvetica, Arial, sans-serif; }
  .soft { fill: #5b6b7c; font-size: 12px; }
  .title { font-weight: 700; font-size: 15px; }
  .paper { fill: #ffffff; }
  .line { stroke: #d5dbe2; }
  .dot { fill: #ffffff; stroke: #1f6f54; stroke-width: 2; }
  .front { fill: #1f6f54; }
  .pick { fill: none; stroke: #b3540a; stroke-width: 2.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6ebf0; }
    .soft { fill: #9aa8b6; }
    .paper { fill: #14191f; }
    .line { stroke: #333d48; }
    .dot { fill: #14191f; stroke: #5cc49f; }
    .front { fill: #5cc49f; }
    .pick { stroke: #f0a050; }
  }
</style>"""


def to_svg(report: TuneReport) -> str:
    """Draw a report.

    A band is a graph, with its quality and memory; its lanes are numbers of threads. A filled dot is on the Pareto
    front, a ring is around the choice. Light and dark as the reader's system is.
    """
    bands = _bands(report.ways)
    threads = sorted({one.way.num_threads for one in report.ways})
    height = TOP + len(bands) * (len(threads) * LANE + GAP) + FOOT
    scale = Scale.around([_milliseconds(one, report) for one in report.ways if one.looks], LEFT, WIDTH - RIGHT)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
    parts = [
        f'{head} aria-label="Ways to run {escaped(report.title)}">',
        STYLE,
        f'<rect width="{WIDTH}" height="{height}" class="paper"/>',
        text(20, 30, report.title, "title"),
        text(
            20, 50, f"milliseconds of one call with a single text, mean of {_shapes(report)}; left is quicker", "soft"
        ),
        *_axis(scale, height - FOOT),
    ]
    for number, ways in enumerate(bands):
        top = TOP + number * (len(threads) * LANE + GAP)
        parts += _band(ways, top, threads, scale, report)
    parts += _legend(report, height)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bands(ways: Sequence[TunedWay]) -> list[list[TunedWay]]:
    """Ways of one graph together, graphs of the best quality first."""
    graphs: dict[tuple[str, str], list[TunedWay]] = {}
    for one in ways:
        graphs.setdefault((one.way.precision, one.way.attention), []).append(one)
    return sorted(graphs.values(), key=lambda band: -band[0].quality)


def _band(
    ways: Sequence[TunedWay], top: int, threads: Sequence[int], scale: Scale, report: TuneReport
) -> Iterator[str]:
    first = ways[0]
    memory = "" if first.memory_bytes is None else f", {first.memory_bytes / 1e6:.0f} MB"
    word = "same labels" if report.measure == "labels" else report.measure
    faults = [one.fault for one in ways if one.fault is not None]
    yield text(20, top + 18, f"{first.way.precision}, attention {first.way.attention}")
    yield text(20, top + 35, f"{word} {report.quality_shown(first.quality)}{memory}", "soft")
    if faults:
        below = top + len(threads) * LANE + 14
        yield text(LEFT, below, f"{len(faults)} of {len(ways)} ways have a fault: {faults[0]}", "soft")
    for lane, count in enumerate(threads):
        y = top + lane * LANE + 13
        yield f'<line class="line" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>'
        yield text(LEFT - 12, y + 4, str(count), "soft", anchor="end")
        for one in ways:
            if one.looks and one.way.num_threads == count:
                yield from _dot(one, scale(_milliseconds(one, report)), y, is_chosen=one.way == report.choice.way)


def _dot(one: TunedWay, x: float, y: float, *, is_chosen: bool) -> Iterator[str]:
    kind = "dot front" if one.is_on_front else "dot"
    title = f"<title>{escaped(str(one.way))}</title>"
    if is_chosen:
        yield f'<circle class="pick" cx="{x:.1f}" cy="{y}" r="11"/>'
    yield f'<path class="{kind}" d="{_outline(one.way, x, y)}">{title}</path>'


def _outline(way: Way, x: float, y: float) -> str:
    """A circle; a diamond where rewrites are left out."""
    if way.disabled_optimizers:
        return f"M{x:.1f} {y - 7.5} l7.5 7.5 l-7.5 7.5 l-7.5 -7.5 z"
    return f"M{x - 5.5:.1f} {y} a5.5 5.5 0 1 0 11 0 a5.5 5.5 0 1 0 -11 0 z"


def _axis(scale: Scale, bottom: int) -> Iterator[str]:
    yield text(LEFT - 12, TOP - 8, "threads", "soft", anchor="end")
    for tick in scale.ticks():
        x = scale(tick)
        yield f'<line class="line" x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{bottom - 24}"/>'
        yield text(x, bottom + 8, f"{tick:g} ms", "soft", anchor="middle")


def _legend(report: TuneReport, height: int) -> Iterator[str]:
    y = height - 44
    yield f'<circle class="pick" cx="28" cy="{y - 4}" r="9"/>'
    yield text(44, y, f"chosen for {report.prefer}: {report.choice.way}")
    y += 24
    yield f'<circle class="dot front" cx="28" cy="{y - 4}" r="5.5"/>'
    yield text(44, y, "on the Pareto front of latency, throughput, memory and quality", "soft")
    yield f'<path class="dot" d="M470 {y - 11.5} l7.5 7.5 l-7.5 7.5 l-7.5 -7.5 z"/>'
    yield text(486, y, "with rewrites of ONNX Runtime left out", "soft")


def _milliseconds(one: TunedWay, report: TuneReport) -> float:
    singles = [one.milliseconds[shape] for shape in report.shapes[:-1]]
    return math.exp(sum(map(math.log, singles)) / len(singles))


def _shapes(report: TuneReport) -> str:
    return " and ".join(report.shapes[:-1]) + " tokens"
