"""Question: what does a record of the suite say in one table, short enough for the README?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.suite.subjects import BY_TASK, RATES, SHAPES
from benchmarks.tables import plain_table
from ortolan.bench.charts import short
from ortolan.bench.findings import beside_reference, best, by_place, is_own, losses, reference_of
from ortolan.bench.plots import plots
from ortolan.bench.records import Case, Record
from ortolan.bench.statistics import Ratio, ratio, summarize

HEAD = (
    "question",
    "of",
    "case",
    "Ortolan",
    "reference",
    "times as good",
    "best of the others",
    "times as good",
)
NARROWED = {
    **dict.fromkeys(("latency", "throughput"), tuple(f"{rows}x{length}" for rows, length in SHAPES)),
    "load": tuple(f"{rate} requests a second" for rate in RATES),
}
"""Cases that are shown, where a full run has more of the kind."""

HEADS = {model.title for model in BY_TASK.values()}
"""Left out: their layers are those of the first model."""


def summary_table(record: Record) -> str:
    """Lay out, for each case, the best of Ortolan beside the reference and beside the best of the others, as Markdown.

    Where the reference is Ortolan's too, the first of its contenders is shown and not the best: the others stand beside
    it for comparison. Ratios have their 95 % intervals where there was more than one round; below 1, and bold, is a
    loss beyond them.
    """
    places = by_place(filter(_is_shown, record.cases))
    rows = [_row(record, cases) for cases in places if any(is_own(case.contender) for case in cases)]
    return plain_table(HEAD, rows)


def losses_table(record: Record) -> str:
    """Lay out every contender that is better than the best of Ortolan beyond noise, the worst loss first, as Markdown.

    Ratios say how many times as good the other one is.
    """
    head = ("question", "of", "case", "best of Ortolan", "better", "times as good")
    rows = [
        [own.group, own.subject, own.case, _shown(own), _shown(beside.case), _told(beside.ratio, own)]
        for own, beside in losses(record)
    ]
    return plain_table(head, rows)


def num_lost(record: Record) -> str:
    """Count the cases in which somebody is better than the best of Ortolan beyond noise, such as "2 of 9"."""
    lost = {own.place for own, _ in losses(record)}
    raced = [cases for cases in by_place(record.cases) if len({is_own(case.contender) for case in cases}) == 2]
    return f"{len(lost)} of {len(raced)}"


def speed_plot(record: Record) -> str:
    """Draw how many times as quick as the reference everybody is at the first subject's latencies, as SVG."""
    return next(plot.svg for plot in plots(record) if plot.title.startswith("How many times as good"))


def _is_shown(case: Case) -> bool:
    return case.subject not in HEADS and case.case in NARROWED.get(case.group, (case.case,))


def _row(record: Record, cases: Sequence[Case]) -> list[str]:
    name = reference_of(record, cases[0])
    ratios = {beside.case.contender: beside.ratio for beside in beside_reference(record, cases)}
    ours = [case for case in cases if is_own(case.contender) and case.contender != name]
    own = next(iter(ours), None) if is_own(name) else best(ours)
    other = best([case for case in cases if not is_own(case.contender) and case.contender != name])
    common = next((case for case in cases if case.contender == name), None)
    first = cases[0]
    return [
        first.group,
        first.subject,
        first.case,
        _shown(own),
        _shown(common),
        _told(ratios.get(own.contender), own) if own else "",
        _shown(other),
        _told(ratio(own, other), own) if own and other else "",
    ]


def _shown(case: Case | None) -> str:
    return "" if case is None else f"{case.contender}: {short(summarize(case).median)} {case.unit}"


def _told(found: Ratio | None, case: Case) -> str:
    if found is None:
        return ""
    interval = f" ({found.low:.2f} to {found.high:.2f})" if len(case.rounds) > 1 else ""
    told = f"{found.middle:.2f}{interval}"
    return f"**{told}**" if found.high < 1.0 else told
