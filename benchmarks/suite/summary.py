"""Question: what does a record of the suite say in one table, short enough for the README?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.tables import plain_table
from ortolan.bench.charts import short
from ortolan.bench.findings import beside_reference, is_own, reference_of
from ortolan.bench.plots import plots
from ortolan.bench.records import Case, Record
from ortolan.bench.statistics import Ratio, summarize

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


def summary_table(record: Record) -> str:
    """Lay out, for each case, the best of Ortolan, the reference and the best of the others, as Markdown.

    Where the reference is Ortolan's too, the first of its contenders is shown and not the best: the others stand beside
    it for comparison. Ratios are against the reference, with their 95 % intervals where there was more than one round.
    """
    places: dict[tuple[str, str, str], list[Case]] = {}
    for case in record.cases:
        places.setdefault(case.place, []).append(case)
    rows = [_row(record, cases) for cases in places.values() if any(is_own(case.contender) for case in cases)]
    return plain_table(HEAD, rows)


def speed_plot(record: Record) -> str:
    """Draw how many times as quick as the reference everybody is at the first subject's latencies, as SVG."""
    return next(plot.svg for plot in plots(record) if plot.title.startswith("How many times as good"))


def _row(record: Record, cases: Sequence[Case]) -> list[str]:
    name = reference_of(record, cases[0])
    ratios = {beside.case.contender: beside.ratio for beside in beside_reference(record, cases)}
    ours = [case for case in cases if is_own(case.contender) and case.contender != name]
    own = next(iter(ours), None) if is_own(name) else _best(ours)
    other = _best([case for case in cases if not is_own(case.contender) and case.contender != name])
    common = next((case for case in cases if case.contender == name), None)
    first = cases[0]
    return [
        first.group,
        first.subject,
        first.case,
        _shown(own),
        _shown(common),
        _ratio(own, ratios),
        _shown(other),
        _ratio(other, ratios),
    ]


def _best(cases: Sequence[Case]) -> Case | None:
    def badness(case: Case) -> float:
        middle = summarize(case).median
        return middle if case.better == "less" else -middle

    return min(cases, key=badness, default=None)


def _shown(case: Case | None) -> str:
    return "" if case is None else f"{case.contender}: {short(summarize(case).median)} {case.unit}"


def _ratio(case: Case | None, ratios: dict[str, Ratio]) -> str:
    found = None if case is None else ratios.get(case.contender)
    if case is None or found is None:
        return ""
    interval = f" ({found.low:.2f} to {found.high:.2f})" if len(case.rounds) > 1 else ""
    return f"{found.middle:.2f}{interval}"
