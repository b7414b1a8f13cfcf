"""Timing that a busy machine disturbs as little as possible: contenders take turns, medians are reported."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ortolan_exporters.progress import track

CALLS = 5
"""Timed calls of one contender in a round."""

REST_SECONDS = 0.1
"""Rest before a contender's turn, in which the threads of the one before stop spinning."""


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of every run of one contender in one case."""

    runs: list[float]

    @property
    def median(self) -> float:
        """The middle run."""
        return statistics.median(self.runs)

    @property
    def p95(self) -> float:
        """Nineteen of twenty runs were at least as quick."""
        return sorted(self.runs)[max(0, round(0.95 * len(self.runs)) - 1)]


def interleave(contenders: Mapping[str, Callable[[], object]], rounds: int, what: str) -> dict[str, Times]:
    """Let contenders take turns: in each round each one rests, warms up, and runs `CALLS` times.

    One call each in turn would not be fair: the threads of the one before go on spinning for a while, on the cores that
    the next one needs. torch's and ONNX Runtime's both do.

    Args:
        contenders: What to call, by name.
        rounds: How often each one's turn comes.
        what: Says in the progress bar what is timed.
    """
    runs: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in track(range(rounds), what):
        for name, call in contenders.items():
            time.sleep(REST_SECONDS)
            call()
            call()
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                runs[name].append((time.perf_counter() - start) * 1e3)
    return {name: Times(taken) for name, taken in runs.items()}


def table(head: str, rows: Mapping[str, Mapping[str, Times]], baseline: str) -> str:
    """Lay out medians, each with how many times quicker than the baseline it is, as Markdown.

    Args:
        head: Title of the first column.
        rows: For each case, the times of each contender.
        baseline: The contender that the others are compared with.
    """
    names = list(next(iter(rows.values())))
    lines = [f"| {head} | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for case, times in rows.items():
        base = times[baseline].median
        cells = [
            f"{times[name].median:.2f}" + ("" if name == baseline else f" ({base / times[name].median:.1f}x)")
            for name in names
        ]
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
