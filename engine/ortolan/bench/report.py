"""A record as people read it: one HTML page, a Markdown table, CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ortolan.bench.charts import short
from ortolan.bench.findings import beside_reference, contenders, in_order, losses, reference, reference_of, subjects
from ortolan.bench.plots import plots
from ortolan.bench.records import Case, Record
from ortolan.bench.statistics import Ratio, summarize
from ortolan.errors import ConfigError
from ortolan.svg import escaped

PAGE_STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, "DejaVu Sans", Helvetica, Arial, sans-serif; color: #1d2733; background: #ffffff;
  max-width: 860px; margin: 0 auto; padding: 20px; }
h1 { font-size: 26px; line-height: 1.25; } h2 { font-size: 18px; margin: 34px 0 4px; }
p { margin: 6px 0; } .soft { color: #55636f; }
svg.chart { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0; }
th, td { text-align: left; padding: 3px 9px; border-bottom: 1px solid #dbe0e6; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
"""

DARK_PAGE_STYLE = """\
body { color: #e6ebf0; background: #14191f; }
.soft { color: #a3b0bd; }
th, td { border-color: #303a45; }
"""

PRINT_STYLE = """\
@page { margin: 14mm; }
body { font-size: 10pt; max-width: none; padding: 0; }
section { break-inside: avoid; } section.long { break-inside: auto; } h2 { break-after: avoid; }
tr { break-inside: avoid; } table { font-size: 8pt; } th, td { padding: 2px 5px; } .scroll { overflow: visible; }
svg.chart { max-height: 235mm; }
"""

COLUMNS = (
    "group", "subject", "case", "contender", "unit", "better", "median", "p95", "rounds", "samples", "reference",
    "ratio", "ratio_low", "ratio_high", "same_label", "cosine", "difference", "tokens", "rows", "load_average",
)  # fmt: skip
"""Of the CSV file."""


def write_report(record: Record, folder: Path, words: Sequence[str] = ()) -> None:
    """Write report.html, report.md and report.csv into a folder, which is made if need be.

    Args:
        record: What was measured.
        folder: Where to.
        words: What a profile says, a sentence each, for the page.

    Raises:
        ConfigError: They can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(html_page(record, words), encoding="utf-8")
        (folder / "report.md").write_text(markdown_table(record), encoding="utf-8")
    except OSError as error:
        raise _not_written(folder, error) from error
    write_csv(record, folder / "report.csv")


def html_page(record: Record, words: Sequence[str] = ()) -> str:
    """Make one page that needs nothing but itself: plots, tables, and what it was measured with.

    It has no script, and reads on white, on black and on paper.

    Args:
        record: What was measured.
        words: What a profile says, a sentence each.
    """
    record = in_order(record)
    title = f"Benchmark of {_listed(subjects(record))}"
    style = f"{PAGE_STYLE}@media screen and (prefers-color-scheme: dark) {{\n{DARK_PAGE_STYLE}}}\n"
    style += f"@media print {{\n{PRINT_STYLE}}}\n"
    head = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style></head>\n<body>\n"
    )
    return head + "\n".join([f"<h1>{escaped(title)}</h1>", *_sections(record, words)]) + "\n</body></html>\n"


def markdown_table(record: Record) -> str:
    """Lay out medians as Markdown, a table for each group and subject, and what is missing below.

    In brackets: how many times as good as the reference, with the 95 % interval. A table whose reference is not that
    of the whole record names it.
    """
    record = in_order(record)
    name = reference(record)
    ratios = _ratios(record)
    parts = []
    for (group, subject), cases in _by_group(record).items():
        columns = list(dict.fromkeys(case.case for case in cases))
        units = {case.case: case.unit for case in cases}
        by_name: dict[str, dict[str, Case]] = {}
        for case in cases:
            by_name.setdefault(case.contender, {})[case.case] = case
        others = {case.case: reference_of(record, case) for case in cases}
        own = set(others.values())
        beside = f", beside {own.pop()}" if len(own) == 1 and own != {name} else ""
        apart = {column: f", beside {other}" for column, other in others.items() if other != name and not beside}
        labels = [f"{column}, {units[column]}{apart.get(column, '')}" for column in columns]
        head = [f"{subject}, {group}{beside}", *labels]
        rows = [
            [contender, *(_markdown_cell(by_name[contender].get(column), ratios) for column in columns)]
            for contender in contenders(record)
            if contender in by_name
        ]
        parts.append(_markdown([head, ["---"] * len(head), *rows]))
    if parts:
        parts.append(f"Medians; in brackets how many times as good as {_cell(_named(record))}, with a 95 % interval.")
    if record.missing:
        lines = [[one.contender, one.subject or "all", one.reason] for one in record.missing]
        parts.append(_markdown([["missing", "of", "why"], ["---"] * 3, *lines]))
    return "\n\n".join(parts) + "\n"


def write_csv(record: Record, path: Path) -> None:
    """Write a line for each case, for tables and scripts; raw samples are in the record.

    Raises:
        ConfigError: It can't be written.
    """
    ratios = _ratios(record)
    try:
        with path.open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(COLUMNS)
            for case in record.cases:
                rows.writerow(_csv_row(case, ratios.get(id(case)), reference_of(record, case)))
    except OSError as error:
        raise _not_written(path, error) from error


def _sections(record: Record, words: Sequence[str]) -> Iterator[str]:
    run = record.run
    count = f"{run.threads} thread{'s' * (run.threads != 1)}"
    machine = f"{run.processor}, {count}, {run.system}. {run.started}, commit {run.commit}."
    yield f'<p class="soft">{escaped(machine)}</p>'
    yield (
        "<p>All contenders had the same inputs and threads, and took turns round by round, so that slow minutes of the "
        f"machine hit all of them. Ratios are against {escaped(_named(record))}, within rounds; above 1 is better.</p>"
    )
    if words:
        yield _section("Where the time goes", "".join(f"<p>{escaped(line)}</p>" for line in words))
    for plot in plots(record):
        yield _section(plot.title, f"<p>{escaped(plot.words)}</p>\n{plot.svg}")
    yield _section("Where others are better than Ortolan", _losses(record))
    for subject in subjects(record):
        yield _section(f"All contenders: {subject}", _all(record, subject), is_long=True)
    yield _section("Missing", _missing(record))
    yield _section("Limits of this machine", _ceilings(record))
    yield _section("Made with", _made_with(record), is_long=True)


def _listed(names: Sequence[str]) -> str:
    """Name a few, and count the rest."""
    shown = "; ".join(names[:3]) or "nothing"
    return shown if len(names) <= 3 else f"{shown}; and {len(names) - 3} more"


def _section(title: str, content: str, *, is_long: bool = False) -> str:
    kind = ' class="long"' if is_long else ""
    return f"<section{kind}><h2>{escaped(title)}</h2>\n{content}\n</section>"


def _losses(record: Record) -> str:
    rows = [
        [
            own.subject,
            f"{own.group}, {own.case}",
            own.contender,
            _shown(own),
            beside.case.contender,
            _shown(beside.case),
            _interval(beside.ratio, own),
        ]
        for own, beside in losses(record)
    ]
    if not rows:
        return "<p>Nowhere, beyond noise, among what was measured.</p>"
    head = ["of", "case", "best of Ortolan", "", "better", "", "times as good"]
    return "<p>The best of Ortolan, and each contender that is better beyond noise.</p>" + _table(head, rows, {3, 5, 6})


def _all(record: Record, subject: str) -> str:
    """Lay out all cases of a subject, contenders of a case together."""
    ratios = _ratios(record)
    order = contenders(record)
    cases = [case for case in record.cases if case.subject == subject]
    places = list(dict.fromkeys(case.place for case in cases))
    rows = []
    for case in sorted(cases, key=lambda case: (places.index(case.place), order.index(case.contender))):
        summary, ratio = summarize(case), ratios.get(id(case))
        rows.append(
            [
                f"{case.group}, {case.case}",
                case.contender,
                _shown(case),
                short(summary.p95),
                _beside(case, ratio, reference_of(record, case)),
                _quality(case),
                f"{summary.num_rounds}, {summary.num_samples}",
                f"{case.load_average:.1f}",
            ]
        )
    head = ["case", "contender", "median", "p95", "beside the reference", "answers", "rounds, samples", "load"]
    return _table(head, rows, {2, 3, 4, 6, 7})


def _missing(record: Record) -> str:
    if not record.missing:
        return "<p>Nothing: every contender that was asked for was measured.</p>"
    return _table(
        ["contender", "of", "why"], [[one.contender, one.subject or "all", one.reason] for one in record.missing], set()
    )


def _ceilings(record: Record) -> str:
    if not record.ceilings:
        return "<p>They were not measured.</p>"
    reached: dict[tuple[str, str], list[float]] = {}
    for one in record.ceilings:
        reached.setdefault((one.name, one.unit), []).extend(one.samples)
    rows = [
        [name, f"{short(max(found))} {unit}", f"{short(sorted(found)[len(found) // 2])} {unit}", str(len(found))]
        for (name, unit), found in reached.items()
    ]
    words = "<p>The most that was reached in this run; the middle one says how quiet the machine was.</p>"
    return words + _table(["limit", "most", "middle", "tries"], rows, {1, 2, 3})


def _made_with(record: Record) -> str:
    run = record.run
    versions = [
        [program, ", ".join(f"{package} {number}" for package, number in found.items())]
        for program, found in run.versions.items()
    ]
    rows = [
        ["processor", run.processor],
        ["instruction sets", ", ".join(run.cpu_features)],
        ["threads", str(run.threads)],
        ["system", run.system],
        ["started", run.started],
        ["commit", run.commit],
        *([f"versions, {program}", found] for program, found in versions),
        *([f"setting {name}", str(value)] for name, value in run.settings.items()),
    ]
    return _table(["", ""], rows, set())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: set[int]) -> str:
    """Lay out cells as HTML; those of the columns in `numbers` stand at the right."""
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    lines = []
    for row in rows:
        cells = (
            f'<td class="number">{escaped(cell)}</td>' if column in numbers else f"<td>{escaped(cell)}</td>"
            for column, cell in enumerate(row)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    header = f"<thead><tr>{top}</tr></thead>" if any(head) else ""
    return f'<div class="scroll"><table>{header}<tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"


def _ratios(record: Record) -> Mapping[int, Ratio]:
    """Ratios to the reference by the id of the case, of those that have one."""
    return {id(one.case): one.ratio for one in beside_reference(record, record.cases)}


def _by_group(record: Record) -> dict[tuple[str, str], list[Case]]:
    found: dict[tuple[str, str], list[Case]] = {}
    for case in record.cases:
        found.setdefault((case.group, case.subject), []).append(case)
    return found


def _shown(case: Case) -> str:
    return f"{short(summarize(case).median)} {case.unit}"


def _interval(ratio: Ratio, case: Case) -> str:
    if len(case.rounds) == 1:
        return f"{ratio.middle:.2f} (one round)"
    return f"{ratio.middle:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _named(record: Record) -> str:
    """Name the reference of a record, and say where there are others."""
    own = any(case.reference not in (None, reference(record)) for case in record.cases)
    return reference(record) + ", or the one that is named" * own


def _beside(case: Case, ratio: Ratio | None, name: str) -> str:
    if ratio is not None:
        return _interval(ratio, case)
    return "the reference" if case.contender == name else ""


def _quality(case: Case) -> str:
    if case.quality is None:
        return ""
    found = case.quality
    parts = (
        ("same label", None if found.same_label is None else f"{found.same_label:.1%}"),
        ("cosine", None if found.cosine is None else f"{found.cosine:.6f}"),
        ("difference", None if found.difference is None else f"{found.difference:.2g}"),
    )
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


def _markdown_cell(case: Case | None, ratios: Mapping[int, Ratio]) -> str:
    if case is None:
        return ""
    ratio, middle = ratios.get(id(case)), short(summarize(case).median)
    return middle if ratio is None else f"{middle} ({_interval(ratio, case).replace(' (', ', ', 1)}"


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(content: str) -> str:
    """Make text harmless in a Markdown table, where a line is a row and HTML is HTML."""
    flat = " ".join(content.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")


def _csv_row(case: Case, ratio: Ratio | None, name: str) -> list[object]:
    summary, quality = summarize(case), case.quality
    found = [None] * 3 if quality is None else [quality.same_label, quality.cosine, quality.difference]
    return [
        *case.place, case.contender, case.unit, case.better, summary.median, summary.p95, summary.num_rounds,
        summary.num_samples, "" if ratio is None else name,
        *([None] * 3 if ratio is None else [ratio.middle, ratio.low, ratio.high]), *found,
        case.tokens, case.rows, case.load_average,
    ]  # fmt: skip


def _not_written(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"a report in '{path}' requested", f"it cannot be written ({error})", "choose another folder")
