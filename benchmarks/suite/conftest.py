"""What the files of the suite share: a record for all of them, and the page that is made of it at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.record import OUT
from benchmarks.suite import tools
from benchmarks.suite.races import CLOCK, Raced, seconds_of
from benchmarks.suite.session import ROUNDS, Suite
from ortolan.bench.ceilings import measure_ceilings
from ortolan.bench.records import Case, RecordWriter, read_record
from ortolan.bench.report import write_report
from ortolan.session.processors import usable_threads
from ortolan_exporters.contenders.bench import run_here

RECORD = OUT / "bench.jsonl"
MARK = "full"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what can be chosen."""
    group = parser.getgroup("ortolan")
    group.addoption("--full", action="store_true", help="all models, all tools, more cases")
    group.addoption("--rounds", type=int, default=ROUNDS, help=f"turns of each contender (default: {ROUNDS})")
    group.addoption("--record", type=Path, default=RECORD, help="JSON lines; the page goes into the folder beside it")


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of what only full runs measure."""
    config.addinivalue_line("markers", f"{MARK}: measured by make bench-full alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only full runs measure, and give pytest-benchmark the clock of the contenders."""
    left_out = [] if config.getoption("--full") else [item for item in items if item.get_closest_marker(MARK)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=CLOCK))


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[Suite]:
    """Begin a record, and at the end make the page of it."""
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = frozenset(params["case"] for params in chosen if "case" in params)
    is_full, rounds, path = map(pytestconfig.getoption, ("--full", "--rounds", "--record"))
    others, missing = tools.others(is_full=is_full)
    with RecordWriter(path) as writer:
        settings = {"suite": MARK if is_full else "quick", "rounds": rounds}
        writer.write(run_here(settings, tools.versions(others)))
        ceilings, lacking = measure_ceilings(usable_threads())
        for line in (*ceilings, *missing, *lacking):
            writer.write(line)
        yield Suite(is_full, rounds, others, writer.write, asked)
        for line in measure_ceilings(usable_threads())[0]:  # again: the machine may have been in a slow minute
            writer.write(line)
    write_report(read_record(path), path.with_suffix(""))


@pytest.fixture
def show(benchmark: Any) -> Callable[[Sequence[Case], str, str], None]:
    """Give pytest-benchmark the samples of a contender, for its table; they were taken in turns with the others'."""

    def show(cases: Sequence[Case], contender: str, reason: str) -> None:
        found = [case for case in cases if case.contender == contender]
        if not found:
            pytest.skip(reason)
        [case] = found
        left = iter(seconds_of(case))
        benchmark.group = f"{case.subject}: {case.group}, {case.case}"
        benchmark.name = case.contender
        benchmark.extra_info |= {"unit": case.unit, "rounds": len(case.rounds), "load_average": case.load_average}
        benchmark.pedantic(lambda: CLOCK.go(next(left)), rounds=len(case.samples))

    return show


@pytest.fixture
def show_raced(show: Callable[[Sequence[Case], str, str], None]) -> Callable[[Raced, str, str], None]:
    """Run a case of a race unless that is done, and show a contender's samples."""

    def show_raced(raced: Raced, case: str, contender: str) -> None:
        cases = raced.cases(case)
        show(cases, contender, raced.reason(contender))

    return show_raced


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how long each file took, and where the page is."""
    spent: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.location[0]
                spent[file] = spent.get(file, 0.0) + report.duration
    terminalreporter.section("how long each file took")
    for file, seconds in spent.items():
        terminalreporter.write_line(f"{seconds:7.1f} s  {file}")
    page = config.getoption("--record").with_suffix("") / "report.html"
    if spent:
        terminalreporter.write_line(f"{sum(spent.values()):7.1f} s  in all; the page: {page}")
