"""Four kinds of chart, as SVG: lines, intervals, points and bars. They know numbers and names, and nothing of records.

Colours are those of Okabe and Ito, which people tell apart who do not see all colours; marks and dashes differ too, for
print. Each chart brings its own rules for white and for black, and stands alone as a file too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ortolan.svg import Scale, escaped, text

Row = TypeVar("Row")

WIDTH = 760
"""Of every chart, pixels; pages scale it."""

RIGHT, FOOT, HEAD = 24, 46, 14
PLOT_HEIGHT = 270
LETTER = 7.4
"""Width of a letter at 12 pixels, a little more than that of most fonts: labels must not meet."""

LANE, SECTION = 19, 26
"""Height of a row of bars or intervals, and of the heading over some of them."""

MAX_LABEL = 34
"""Letters of a label beside a row; longer ones are cut, and whole in their tooltip."""

STYLE = """\
svg.chart { font: 12px system-ui, "DejaVu Sans", Helvetica, Arial, sans-serif; }
svg.chart text { fill: #1d2733; }
svg.chart .soft { fill: #55636f; }
svg.chart .head { font-weight: 700; }
svg.chart .grid { stroke: #dbe0e6; }
svg.chart .one { stroke: #55636f; stroke-dasharray: 2 3; }
svg.chart .c0 { stroke: #0072b2; fill: #0072b2; }
svg.chart .c1 { stroke: #d55e00; fill: #d55e00; }
svg.chart .c2 { stroke: #009e73; fill: #009e73; }
svg.chart .c3 { stroke: #cc79a7; fill: #cc79a7; }
svg.chart .c4 { stroke: #b57c00; fill: #b57c00; }
svg.chart .c5 { stroke: #3a9bd9; fill: #3a9bd9; }
svg.chart .c6 { stroke: #4d4d4d; fill: #4d4d4d; }
svg.chart .trace { fill: none; stroke-width: 2; }
svg.chart .bar { stroke: none; }
svg.chart .open { fill: #ffffff; stroke-width: 2; }
svg.chart .rim { fill: #ffffff; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round; }
"""
"""Rules for a page on white. Yellow is left out, which white swallows, and orange is darker for the same reason."""

_DARK_STYLE = """\
svg.chart text { fill: #e6ebf0; }
svg.chart .soft { fill: #a3b0bd; }
svg.chart .grid { stroke: #303a45; }
svg.chart .one { stroke: #a3b0bd; }
svg.chart .c0 { stroke: #3d9be0; fill: #3d9be0; }
svg.chart .c1 { stroke: #ff7f32; fill: #ff7f32; }
svg.chart .c2 { stroke: #23c296; fill: #23c296; }
svg.chart .c3 { stroke: #e39ac3; fill: #e39ac3; }
svg.chart .c4 { stroke: #e69f00; fill: #e69f00; }
svg.chart .c5 { stroke: #a5d8f7; fill: #a5d8f7; }
svg.chart .c6 { stroke: #c4c4c4; fill: #c4c4c4; }
svg.chart .trace { fill: none; }
svg.chart .open { fill: #14191f; }
svg.chart .rim { fill: #14191f; stroke: #14191f; }
"""
"""The same on black."""

# screens alone are black: paper is white whatever the reader's system is
STYLE += f"@media screen and (prefers-color-scheme: dark) {{\n{_DARK_STYLE}}}\n"

NUM_COLOURS = 7
MARKS = ("circle", "square", "diamond", "up", "down", "plus", "cross", "bar")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2 1 2 1 2")


@dataclass(frozen=True, slots=True)
class Look:
    """How a name is drawn, in every chart of a page.

    Attributes:
        colour: CSS class.
        mark: One of `MARKS`.
        dash: Of its lines, as SVG writes it.
    """

    colour: str
    mark: str
    dash: str


@dataclass(frozen=True, slots=True)
class Series:
    """A line: points from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Span:
    """A row with an interval. `middle`, `low` and `high` are more than 0."""

    name: str
    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A row with a bar from 0, and what is written at its end."""

    name: str
    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a scatter plot; a filled one is on the front."""

    name: str
    x: float
    y: float
    is_filled: bool


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale, and what it says.

    Attributes:
        title: Quantity and unit, and which way is better.
        scale: From numbers to pixels.
        labels: What to write at some of its numbers, by number, instead of the numbers.
    """

    title: str
    scale: Scale
    labels: Mapping[float, str] | None = None

    def ticks(self) -> list[tuple[float, str]]:
        """Pixels and texts of its ticks."""
        if self.labels is not None:
            return [(self.scale(value), label) for value, label in self.labels.items()]
        return [(self.scale(value), short(value)) for value in self.scale.ticks()]


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each name a look: neighbours differ in colour, mark and dash, and no two of 56 in both colour and mark."""
    return {
        name: Look(f"c{n % NUM_COLOURS}", MARKS[(n + 2 * (n // NUM_COLOURS)) % len(MARKS)], DASHES[n % len(DASHES)])
        for n, name in enumerate(names)
    }


def short(value: float) -> str:
    """Write a number so that it fits an axis: 1500000 is 1.5M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            return f"{value / (1e3 if letter == 'k' else unit):.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def line_chart(series: Sequence[Series], x_title: str, y_title: str, look: Mapping[str, Look]) -> str:
    """Draw lines, both axes logarithmic; the ticks of x are the numbers that were measured.

    Args:
        series: With numbers above 0 alone, at least one.
        x_title: Of the axis below.
        y_title: Of the axis at the left, written over it.
        look: By name.
    """
    left, top = 62, HEAD + _legend_height([one.name for one in series]) + 22
    bottom = top + PLOT_HEIGHT
    xs = sorted({x for one in series for x, _ in one.points})
    ys = [y for one in series for _, y in one.points]
    across = Scale.around(xs, left, WIDTH - RIGHT, room=1.1)
    axes = (
        Axis(x_title, across, {x: short(x) for x in _apart(xs, across)}),
        Axis(y_title, Scale.around(ys, bottom, top, room=1.2)),
    )
    parts = [*_legend([one.name for one in series], look), *_frame(*axes, left, top, bottom)]
    for one in reversed(series):  # the first ones on top
        places = [(axes[0].scale(x), axes[1].scale(y), short(y)) for x, y in sorted(one.points)]
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
        own = look[one.name]
        dash = f' stroke-dasharray="{own.dash}"' if own.dash else ""
        parts.append(f'<path class="{own.colour} trace" d="{path}"{dash}/>')
        parts += [_mark(own, x, y, f"{one.name}: {label}") for x, y, label in places]
    return _svg(bottom + FOOT, f"{y_title} by {x_title}", parts)


def scatter(dots: Sequence[Dot], x_title: str, axis: Axis, look: Mapping[str, Look]) -> str:
    """Draw points over a logarithmic axis, those on the front filled and joined by steps.

    Args:
        dots: With x above 0, at least one.
        x_title: Of the axis below.
        axis: The one at the left, over pixels 0 at its lower end to -`PLOT_HEIGHT` at the upper one.
        look: By name.
    """
    left, top = 82, HEAD + _legend_height([dot.name for dot in dots]) + 22
    bottom = top + PLOT_HEIGHT
    across = Axis(x_title, Scale.around([dot.x for dot in dots], left, WIDTH - RIGHT, room=1.2))
    shifted = [(y + bottom, label) for y, label in axis.ticks()]
    parts = [*_legend([dot.name for dot in dots], look), *_grid(across.ticks(), shifted, left, top, bottom)]
    parts += _titles(across.title, axis.title, left, top, bottom)
    steps = sorted((across.scale(dot.x), axis.scale(dot.y) + bottom) for dot in dots if dot.is_filled)
    if len(steps) > 1:
        path = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}" + "".join(f" V{y:.1f} H{x:.1f}" for x, y in steps[1:])
        parts.append(f'<path class="c6 trace" style="stroke-width:1" stroke-dasharray="2 3" d="{path}"/>')
    for dot in dots:
        x, y = across.scale(dot.x), axis.scale(dot.y) + bottom
        parts.append(_mark(look[dot.name], x, y, dot.name, size=6.5, is_open=not dot.is_filled))
    return _svg(bottom + FOOT, f"{axis.title} by {x_title}", parts)


def interval_chart(sections: Mapping[str, Sequence[Span]], x_title: str, look: Mapping[str, Look]) -> str:
    """Draw intervals, a row each, under headings; a line stands at 1.

    Args:
        sections: By heading, at least one row.
        x_title: Of the axis, which is logarithmic.
        look: By name.
    """
    rows = [row for section in sections.values() for row in section]
    left = _left([row.name for row in rows])
    bottom = HEAD + _rows_height(sections)
    ends = [1.0, *(row.low for row in rows), *(row.high for row in rows)]
    axis = Axis(x_title, Scale.around(ends, left, WIDTH - RIGHT - 90, room=1.1))
    parts = [*_grid(axis.ticks(), [], left, HEAD, bottom), *_titles(x_title, "", left, HEAD, bottom)]
    parts.append(_line("one", axis.scale(1.0), HEAD, axis.scale(1.0), bottom))
    for y, heading, row in _lanes(sections):
        if row is None:
            parts.append(text(8, y, heading, "head"))
            continue
        own, label = look[row.name], f"{row.middle:.2f} ({row.low:.2f} to {row.high:.2f})"
        parts.append(_label(row.name, left, y))
        parts.append(_line(f"{own.colour} trace", axis.scale(row.low), y - 4, axis.scale(row.high), y - 4))
        parts.append(_mark(own, axis.scale(row.middle), y - 4, f"{row.name}: {label}"))
        parts += _over_lines(axis.scale(row.high) + 9, y, f"{row.middle:.2f}")
    return _svg(bottom + FOOT, x_title, parts)


def bar_chart(sections: Mapping[str, Sequence[Bar]], x_title: str, look: Mapping[str, Look], *, top: float = 0) -> str:
    """Draw bars from 0, a row each, under headings.

    Args:
        sections: By heading, at least one row.
        x_title: Of the axis.
        look: By name.
        top: What the axis reaches at least.
    """
    rows = [row for section in sections.values() for row in section]
    left = _left([row.name for row in rows])
    bottom = HEAD + _rows_height(sections)
    room = max(len(row.label) for row in rows) * LETTER + 10
    most = max(top, *(row.value for row in rows)) or 1.0
    axis = Axis(x_title, Scale(0.0, most, left, WIDTH - RIGHT - room, is_log=False))
    parts = [*_grid(axis.ticks(), [], left, HEAD, bottom), *_titles(x_title, "", left, HEAD, bottom)]
    for y, heading, row in _lanes(sections):
        if row is None:
            parts.append(text(8, y, heading, "head"))
            continue
        length = axis.scale(row.value) - left
        title = f"<title>{escaped(f'{row.name}: {row.label}')}</title>"
        parts.append(_label(row.name, left, y))
        parts.append(
            f'<rect class="{look[row.name].colour} bar" x="{left}" y="{y - 10}" '
            f'width="{max(length, 1):.1f}" height="12">{title}</rect>'
        )
        parts += _over_lines(left + length + 6, y, row.label)
    return _svg(bottom + FOOT, x_title, parts)


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    head = f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
    return "\n".join([f'{head} aria-label="{escaped(label)}">', f"<style>\n{STYLE}</style>", *parts, "</svg>"])


def _frame(across: Axis, upwards: Axis, left: float, top: float, bottom: float) -> Iterator[str]:
    yield from _grid(across.ticks(), upwards.ticks(), left, top, bottom)
    yield from _titles(across.title, upwards.title, left, top, bottom)


def _grid(
    columns: Iterable[tuple[float, str]], rows: Iterable[tuple[float, str]], left: float, top: float, bottom: float
) -> Iterator[str]:
    for x, label in columns:
        yield _line("grid", x, top, x, bottom)
        yield text(x, bottom + 16, label, "soft", anchor="middle")
    for y, label in rows:
        yield _line("grid", left, y, WIDTH - RIGHT, y)
        yield text(left - 7, y + 4, label, "soft", anchor="end")


def _titles(x_title: str, y_title: str, left: float, top: float, bottom: float) -> Iterator[str]:
    yield text((left + WIDTH - RIGHT) / 2, bottom + 36, x_title, "", anchor="middle")
    yield text(8, top - 9, y_title)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _label(name: str, left: float, y: float) -> str:
    cut = name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"
    return text(left - 9, y, cut, "", anchor="end")


def _over_lines(x: float, y: float, label: str) -> list[str]:
    """Write a label that lines of the grid do not cross: its rim, in the page's colour, is drawn first."""
    return [text(x, y, label, "rim"), text(x, y, label, "soft")]


def _left(names: Sequence[str]) -> float:
    return 20 + min(MAX_LABEL, max(len(name) for name in names)) * LETTER


def _rows_height(sections: Mapping[str, Sequence[object]]) -> int:
    return sum((SECTION if heading else 0) + len(rows) * LANE for heading, rows in sections.items())


def _lanes(sections: Mapping[str, Sequence[Row]]) -> Iterator[tuple[float, str, Row | None]]:
    """Yield the base line of each heading and of each row below it."""
    y: float = HEAD
    for heading, rows in sections.items():
        if heading:
            y += SECTION
            yield y - 8, heading, None
        for row in rows:
            y += LANE
            yield y - 5, heading, row


def _apart(values: Sequence[float], scale: Scale) -> list[float]:
    """Leave out those whose labels would stand too close to the one before."""
    found: list[float] = []
    for value in values:
        if not found or scale(value) - scale(found[-1]) > (len(short(value)) + 2) * LETTER:
            found.append(value)
    return found


def _legend(names: Sequence[str], look: Mapping[str, Look]) -> Iterator[str]:
    for x, y, name in _legend_places(names):
        own = look[name]
        dash = f' stroke-dasharray="{own.dash}"' if own.dash else ""
        yield f'<path class="{own.colour} trace" d="M{x:.1f} {y - 4} h26"{dash}/>'
        yield _mark(own, x + 13, y - 4, name)
        yield text(x + 32, y, name)


def _legend_places(names: Sequence[str]) -> Iterator[tuple[float, float, str]]:
    x, y = 8.0, float(HEAD)
    for name in names:
        width = 44 + len(name) * LETTER
        if x > 8 and x + width > WIDTH - 8:
            x, y = 8.0, y + 19
        yield x, y, name
        x += width


def _legend_height(names: Sequence[str]) -> float:
    return max(y for _, y, _ in _legend_places(names)) - HEAD + 19


def _mark(look: Look, x: float, y: float, title: str, *, size: float = 4.5, is_open: bool = False) -> str:
    kind = f"{look.colour} open" if is_open else look.colour
    if look.mark in ("plus", "cross", "bar"):
        kind = f"{look.colour} trace"  # nothing in them to fill; the front's are thicker
    width = ' style="stroke-width:3.5"' if not is_open and size > 5 and look.mark in ("plus", "cross", "bar") else ""
    return f'<path class="{kind}"{width} d="{_outline(look.mark, x, y, size)}"><title>{escaped(title)}</title></path>'


def _outline(mark: str, x: float, y: float, r: float) -> str:
    d = r * math.sqrt(2)
    outlines = {
        "circle": f"M{x - r:.1f} {y:.1f} a{r} {r} 0 1 0 {2 * r} 0 a{r} {r} 0 1 0 {-2 * r} 0 z",
        "square": f"M{x - r:.1f} {y - r:.1f} h{2 * r} v{2 * r} h{-2 * r} z",
        "diamond": f"M{x:.1f} {y - d:.1f} l{d:.2f} {d:.2f} l{-d:.2f} {d:.2f} l{-d:.2f} {-d:.2f} z",
        "up": f"M{x:.1f} {y - d:.1f} l{d:.2f} {2 * r} h{-2 * d:.2f} z",
        "down": f"M{x:.1f} {y + d:.1f} l{d:.2f} {-2 * r} h{-2 * d:.2f} z",
        "plus": f"M{x - d:.1f} {y:.1f} h{2 * d:.2f} M{x:.1f} {y - d:.1f} v{2 * d:.2f}",
        "cross": f"M{x - r:.1f} {y - r:.1f} l{2 * r} {2 * r} M{x - r:.1f} {y + r:.1f} l{2 * r} {-2 * r}",
        "bar": f"M{x:.1f} {y - d:.1f} v{2 * d:.2f}",
    }
    return outlines[mark]
