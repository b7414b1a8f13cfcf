"""Tables and records made of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ortolan.timing import Times


def table(head: str, rows: Mapping[str, Mapping[str, Times]], baseline: str) -> str:
    """Lay out medians, each with how many times as quick as the baseline it is, as Markdown.

    Args:
        head: Title of the first column.
        rows: For each case, the times of each contender.
        baseline: The contender that the others are compared with.
    """
    names = list(next(iter(rows.values())))
    lines = [f"| {head} | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for case, times in rows.items():
        ratios = {name: times[name].times_as_quick_as(times[baseline]) for name in names if name != baseline}
        cells = [f"{times[name].median:.1f}" + (f" ({ratios[name]:.1f}x)" if name in ratios else "") for name in names]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out cells as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def to_json(rows: Mapping[str, Mapping[str, Times]]) -> dict[str, dict[str, list[list[float]]]]:
    """Turn times into what a record holds: every call."""
    return {case: {name: times.rounds for name, times in found.items()} for case, found in rows.items()}
