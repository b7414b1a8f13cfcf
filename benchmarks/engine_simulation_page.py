"""Puts the record of the simulation into docs/: tables between two marks, and the plot. Nothing is typed.

cp benchmarks/out/engine_simulation.json benchmarks/records/ && python -m benchmarks.engine_simulation_page

The plot needs matplotlib: pip install -c constraints.txt '.[bench]'.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine_simulation import ALONE, BUDGET, BUDGET_EACH, COUNT, COUNT_EACH, FREE, OURS, by_load
from benchmarks.tables import plain_table

RECORD = Path(__file__).parent / "records" / "engine_simulation.json"
DOCS = Path(__file__).parents[1] / "docs"
PAGE, PLOT = DOCS / "engine-simulation.md", DOCS / "engine-simulation.svg"
BEGIN, END = "<!-- numbers: made by benchmarks/engine_simulation_page.py -->", "<!-- end of numbers -->"

LINES: dict[str, tuple[str, str, str]] = {
    OURS: ("#0072B2", "-", "o"),
    BUDGET: ("#D55E00", "-", "s"),
    BUDGET_EACH: ("#D55E00", "--", "s"),
    COUNT: ("#009E73", "-", "^"),
    COUNT_EACH: ("#009E73", "--", "^"),
    ALONE: ("#777777", "-", "x"),
}
"""Colour (of Okabe and Ito, told apart by everybody), stroke and mark of each policy."""

MOST_MS = 2000
"""Top of the panels: a line that leaves them grows without end."""

Points = Mapping[str, Mapping[str, Mapping[str, Any]]]


def main() -> int:
    """Rewrite the part of the page between the marks, and the plot."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{numbers(record)}\n\n{END}{after}", encoding="utf-8")
    draw(record["cases"]["open"], PLOT)
    return 0


def numbers(record: Mapping[str, Any]) -> str:
    """All tables of the page, and what they were made with."""
    cases = record["cases"]
    parts = ["### Without deadlines", *(_open(mix, cases) for mix in cases["open"])]
    deadline = f"{record['settings']['deadline_ms']:.0f} ms"
    parts += [
        f"### With a deadline of {deadline}",
        *(_deadline(mix, cases["deadline"][mix]) for mix in cases["deadline"]),
    ]
    parts += ["### Where another policy does better", _losses(cases)]
    parts += ["### On paper: 64 cores and 8 GPUs", _assumptions(record["settings"]["paper"])]
    parts += [_paper(name, found) for name, found in cases["paper"].items()]
    parts += ["### What a decision costs", _decisions(cases["decisions_us"]), _source(record)]
    return "\n\n".join(parts)


def draw(found: Mapping[str, Points], path: Path) -> None:
    """Draw latency by load: a column for each mix, p50 above p99.

    Args:
        found: By mix, load and policy, what was found.
        path: Where to; its ending says in which format.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        sys.exit("matplotlib is missing: pip install -c constraints.txt '.[bench]'")
    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "ortolan", "font.size": 9, "svg.fonttype": "none"})
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        2, len(found), figsize=(10, 6.2), sharex=True, sharey="row", squeeze=False, facecolor="white"
    )
    for column, (mix, points) in enumerate(found.items()):
        for row, number in enumerate(("p50_ms", "p99_ms")):
            panel = panels[row][column]
            for name, (colour, stroke, mark) in LINES.items():
                known = {float(load): policies[name][number] for load, policies in points.items() if name in policies}
                width, above = (2.2, 3) if name == OURS else (1.2, 2)
                panel.plot(
                    list(known), list(known.values()), stroke, color=colour, marker=mark, markersize=4,
                    linewidth=width, zorder=above, label=name,
                )  # fmt: skip
            panel.set_yscale("log")
            panel.set_ylim(top=MOST_MS)
            panel.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            panel.grid(True, which="major", color="#dddddd", linewidth=0.6)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_ylabel(f"{number.split('_')[0]}, milliseconds" if column == 0 else "")
        panels[0][column].set_title(f"{mix} texts")
        panels[1][column].set_xlabel("load, share of capacity")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)


def _open(mix: str, cases: Mapping[str, Any]) -> str:
    points, bound = cases["open"][mix], cases["capacity"][mix]
    head = f"**{mix}**: capacity {bound['a second']:.0f} texts a second, reached by {bound['by']}. "
    return (
        f"{head}Milliseconds, p50 / p95 / p99, by load:\n\n{by_load(_without(points, FREE), _latencies)}\n\n"
        f"Answers a second, and share of padding:\n\n{by_load(_without(points, FREE), _carried)}"
    )


def _deadline(mix: str, points: Points) -> str:
    cells = by_load(_without(points, FREE), _fates)
    return f"**{mix}**: per cent answered in time / refused / answered too late, by load:\n\n{cells}"


def _losses(cases: Mapping[str, Any]) -> str:
    """Every point at which another policy has a smaller latency, or answers more in time."""
    rows = []
    for mix, points in cases["open"].items():
        for load, policies in _without(points, FREE).items():
            for number in ("p50_ms", "p95_ms", "p99_ms"):
                own = policies[OURS][number]
                name = min(policies, key=lambda policy: policies[policy][number])
                if policies[name][number] < 0.99 * own:
                    rows.append(
                        [mix, load, number.replace("_ms", ", ms"), f"{own:.1f}", name, f"{policies[name][number]:.1f}"]
                    )
    for mix, points in cases["deadline"].items():
        for load, policies in _without(points, FREE).items():
            own = policies[OURS]["in_time"]
            name = max(policies, key=lambda policy: policies[policy]["in_time"])
            if policies[name]["in_time"] > own + 0.001:
                rows.append(
                    [mix, load, "in time, %", f"{100 * own:.1f}", name, f"{100 * policies[name]['in_time']:.1f}"]
                )
    if not rows:
        return "Nowhere, by more than 1 % of a latency or 0.1 % of the requests."
    head = "Every number that another policy has better by more than 1 %, or 0.1 % of the requests:"
    return f"{head}\n\n" + plain_table(["mix", "load", "number", OURS, "best", "its number"], rows)


def _assumptions(paper: Mapping[str, float]) -> str:
    return (
        "Assumptions, not measurements. 64 cores: what a run costs on one thread here, times "
        f"{paper['memory_slowdown']:g} for memory that all share; a run on w threads takes "
        f"{paper['serial_share']:g} + {1 - paper['serial_share']:g} / w of that, and {paper['sync_us']:g} µs times "
        f"log2(w). A GPU: {paper['gpu_run_ms']:g} ms a run and {paper['gpu_tokens_a_second']:,.0f} tokens a second. "
        "The decisions cost what they cost on the machine of the record, one at a time. Bimodal lengths; the others "
        "also choose how the cores are divided: 1 x 64, 4 x 16, 16 x 4 or 64 x 1."
    )


def _paper(name: str, found: Mapping[str, Any]) -> str:
    bound = found["capacity"]
    head = f"**{name}**: capacity {bound['a second']:,.0f} texts a second, reached by {bound['by']}"
    return f"{head}. Milliseconds, p50 / p95 / p99, by load:\n\n{by_load(found['points'], _latencies)}"


def _decisions(by_depth: Mapping[str, float]) -> str:
    cells = {depth: f"{taken:.0f}" for depth, taken in by_depth.items() if depth != "0"}
    return (
        "Median microseconds of `Queue.next_job`, right after the cost tables learned from a run, "
        "by texts that wait:\n\n"
        f"{plain_table(['texts', *cells], [['µs', *cells.values()]])}"
    )


def _source(record: Mapping[str, Any]) -> str:
    settings, measured = record["settings"], record["settings"]["costs"]
    warning = " **The costs are those of a quick look on a busy machine.**" if settings["quick_costs"] else ""
    return (
        f"`python -m benchmarks.engine_simulation`, record `benchmarks/records/engine_simulation.json`: "
        f"{settings['requests']:,} requests a point, seed {settings['seed']}; settings of the others chosen on the "
        f"first {settings['requests_to_choose']:,}. Costs: `benchmarks/records/cost_tables.json`, "
        f"{measured['processor']}, {measured['threads']} cores of a shared machine, "
        f"onnxruntime {measured['versions']['onnxruntime']}.{warning}"
    )


def _latencies(found: Mapping[str, Any]) -> str:
    return " / ".join(f"{found[number]:.3g}" if found[number] < 100 else f"{found[number]:.0f}" for number in _NUMBERS)


_NUMBERS = ("p50_ms", "p95_ms", "p99_ms")


def _carried(found: Mapping[str, Any]) -> str:
    return f"{found['throughput']:.0f}, {100 * found['padding']:.0f} %"


def _fates(found: Mapping[str, Any]) -> str:
    return " / ".join(f"{100 * found[fate]:.1f}" for fate in ("in_time", "refused", "late"))


def _without(points: Points, left_out: str) -> dict[str, dict[str, Mapping[str, Any]]]:
    return {load: {name: one for name, one in found.items() if name != left_out} for load, found in points.items()}


if __name__ == "__main__":
    sys.exit(main())
