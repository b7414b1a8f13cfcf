"""The benchmark suite: who is raced, what is written, and what is made of the record."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.suite import subjects, tools
from benchmarks.suite.races import Raced, seconds_of
from benchmarks.suite.subjects import BY_TASK, kept
from benchmarks.suite.summary import losses_table, num_lost, speed_plot, summary_table
from ortolan import timing
from ortolan.bench.records import Case, Line, Missing, Record, read_record
from ortolan_exporters.contenders import environments, race
from ortolan_exporters.contenders.registry import ALL, asked_for, own
from ortolan_exporters.contenders.subject import open_subject
from tests.engine.bench_records import CASE, RUN, full_record
from tests.engine.damage import GOLDEN

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "benchmarks" / "suite").glob("test_*.py"))
PAGE = (ROOT / "docs" / "benchmarking.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_states_its_question_and_has_a_row_on_the_page(path: Path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r'"""Question: [^\n]+\?\n', text)
    assert f"| `{path.name}` |" in PAGE


def test_a_quick_run_leaves_out_whose_environment_is_not_made_and_says_how_to_make_it():
    contenders, missing = tools.others(is_full=False)  # the cache of a test is empty
    assert {one.name for one in contenders} >= {"eager fp32", "eager bf16", "transformers pipeline fp32"}
    reasons = {line.contender: line.reason for line in missing}
    assert "python -m ortolan_exporters.contenders.environments" in reasons["OpenVINO int8"]
    assert "make bench-full" in reasons["torch.compile fp32"]
    everybody = [one.name for one in asked_for([ALL])]
    assert sorted([*reasons, *(one.name for one in contenders)]) == sorted(everybody)


def test_a_quick_run_races_whose_environment_is_there(tmp_path: Path):
    folder = tmp_path / "cache" / "environments" / "ctranslate2_model"
    folder.mkdir(parents=True)
    shutil.copyfile(environments.FOLDER / "ctranslate2_model.txt", folder / environments.INSTALLED)
    assert "CTranslate2 int8" in {one.name for one in tools.others(is_full=False)[0]}
    (folder / environments.INSTALLED).write_text("ctranslate2==1.0\n")
    assert "CTranslate2 int8" not in {one.name for one in tools.others(is_full=False)[0]}


def test_a_full_run_leaves_out_nobody():
    contenders, missing = tools.others(is_full=True)
    assert (contenders, missing) == (list(asked_for([ALL])), [])


def test_versions_are_those_of_the_environment_that_a_contender_runs_in():
    found = tools.versions(list(asked_for([ALL])))
    assert found["optimum"]["transformers"] == environments.pinned_versions("optimum_onnx")["transformers"]
    assert found["eager"] == found["Ortolan"]
    assert "torch" in found["eager"]
    assert environments.pinned_versions("torch_eager") == {}


def test_seconds_are_those_of_a_call():
    assert seconds_of(replace(CASE, rounds=((20.0,), (40.0,)))) == [0.02, 0.04]
    assert seconds_of(replace(CASE, unit="s", rounds=((2.0,),))) == [2.0]
    assert seconds_of(replace(CASE, unit="tok/s", tokens=32, rounds=((64.0,),))) == [0.5]


def test_what_was_made_is_kept_until_a_source_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "source" / "module.py"
    source.parent.mkdir()
    source.write_text("")
    os.utime(source, (1, 1))
    monkeypatch.setattr(subjects, "SOURCES", (source.parent,))
    made: list[Path] = []

    def make(folder: Path) -> None:
        folder.mkdir()
        made.append(folder)

    for _ in range(2):
        kept(tmp_path / "artifact", make)
    assert len(made) == 1
    source.touch()
    os.utime(tmp_path / "artifact", (2, 2))
    kept(tmp_path / "artifact", make)
    assert len(made) == 2


@pytest.fixture
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (race, timing):
        monkeypatch.setattr(module, "REST_SECONDS", 0.0)
        monkeypatch.setattr(module, "WARM_UP_SECONDS", 0.0)


@pytest.mark.integration
@pytest.mark.usefixtures("_hurry")
def test_a_case_is_run_once_and_written_under_the_title_of_its_subject(tmp_path: Path):
    lines: list[Line] = []
    settings = race.Settings(folder=tmp_path, logs=tmp_path, threads=1, rounds=2, kinds=("forward",))
    contenders = (*asked_for(["fastembed"]), *own(("fp32", "int8")))
    with Raced("a title", open_subject(GOLDEN, shapes=((1, 8),)), contenders, settings, lines.append) as raced:
        first = raced.cases("1x8")
        assert raced.cases("1x8") is first
        assert raced.cases("9x9") == []
        assert raced.reason("fastembed fp32") == "it has nothing for text-classification"
        assert raced.reason("somebody") == "it has nothing for text-classification"
    assert [(line.subject, line.contender) for line in lines if isinstance(line, Case)] == [
        ("a title", "Ortolan fp32"),
        ("a title", "Ortolan int8"),
    ]
    assert [line.subject for line in lines if isinstance(line, Missing)] == ["a title"]


def test_the_summary_has_the_best_of_ortolan_beside_the_reference_and_the_best_of_the_others():
    def case(contender: str, ms: float, **others: Any) -> Case:
        return replace(CASE, contender=contender, rounds=((ms,),) * 7, **others)

    own_place: dict[str, Any] = {"case": "400 requests a second", "group": "load", "reference": "Ortolan, one session"}
    cases = (
        case("eager fp32", 10.0),
        case("OpenVINO int8", 4.0),
        case("OpenVINO fp32", 8.0),
        case("Ortolan fp32", 5.0),
        case("Ortolan int8", 2.5),
        case("Ortolan engine", 3.0, **own_place),
        case("Ortolan, plain loop", 2.0, **own_place),
        case("Ortolan, one session", 6.0, **own_place),
        case("somebody", 1.0, case="8x128"),
        case("Ortolan int8", 2.0, case="1x256"),
        case("Ortolan int8", 2.0, subject=next(iter(BY_TASK.values())).title),
    )
    rows = [line.strip("| ").split(" | ") for line in summary_table(Record(RUN, cases=cases)).splitlines()[2:]]
    assert [row[3:] for row in rows] == [
        [
            "Ortolan int8: 2.5 ms",
            "eager fp32: 10 ms",
            "4.00 (4.00 to 4.00)",
            "OpenVINO int8: 4 ms",
            "1.60 (1.60 to 1.60)",
        ],
        ["Ortolan engine: 3 ms", "Ortolan, one session: 6 ms", "2.00 (2.00 to 2.00)"],
    ]


def test_a_loss_is_bold_in_the_summary():
    def case(contender: str, *taken: float) -> Case:
        return replace(CASE, contender=contender, rounds=tuple((ms,) for ms in taken))

    ours, theirs = case("Ortolan int8", *[2.0] * 7), case("OpenVINO int8", *[1.5] * 7)
    assert "| **0.75 (0.75 to 0.75)** |" in summary_table(Record(RUN, cases=(ours, theirs)))
    unsure = case("OpenVINO int8", 1.5, 2.5, 1.5, 2.5, 1.5, 2.5, 1.5)
    assert "**" not in summary_table(Record(RUN, cases=(ours, unsure)))


def test_the_plot_is_that_of_the_first_latencies():
    assert "times as good as eager fp32" in speed_plot(full_record())


@pytest.mark.parametrize("page", report.PAGES, ids=lambda page: page.name)
def test_the_pages_are_what_the_records_say(page: Path):
    text = page.read_text(encoding="utf-8")
    assert report.with_numbers(text, report.PAGES[page]()) == text


def test_no_case_is_in_two_parts_of_the_suite():
    places = [(*case.place, case.contender) for case in report.suite_record().cases]
    assert len(set(places)) == len(places)


def test_losses_are_told_and_counted():
    def case(contender: str, ms: float, **others: Any) -> Case:
        return replace(CASE, contender=contender, rounds=((ms,),) * 7, **others)

    lost = (case("Ortolan int8", 2.0), case("Ortolan fp32", 3.0), case("OpenVINO int8", 1.0), case("eager fp32", 9.0))
    won = (case("Ortolan int8", 2.0, case="1x8"), case("eager fp32", 9.0, case="1x8"))
    alone = (case("Ortolan int8", 2.0, case="1x9"),)
    record = Record(RUN, cases=(*lost, *won, *alone))
    [row] = losses_table(record).splitlines()[2:]
    assert row == ("| latency | tiny | 1x128 | Ortolan int8: 2 ms | OpenVINO int8: 1 ms | 2.00 (2.00 to 2.00) |")
    assert num_lost(record) == "1 of 2"


def test_no_record_is_left_untold():
    told = [*report.IN_SHORT, *(name for parts in report.AT_LENGTH.values() for name in parts)]
    elsewhere = {"cost_tables", "engine_simulation", "run_layouts", "support"}  # pages of their own, and decisions
    names = [path.stem for path in report.RECORDS.iterdir()]
    assert not [name for name in names if not any(fnmatch(name, one) for one in (*told, *elsewhere))]
    assert not [one for one in (*told, *elsewhere) if not any(fnmatch(name, one) for name in names)]


def test_the_plot_is_what_the_record_says():
    assert report.SUITE_PLOT.read_text(encoding="utf-8") == speed_plot(report.suite_record())


def suite_run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks/suite", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.integration
def test_a_run_writes_a_record_and_a_page(tmp_path: Path):
    done = suite_run("-k", "test_tokenizing or test_server", "--rounds", "2", "--record", str(tmp_path / "some.jsonl"))
    assert done.returncode == 0, done.stdout
    record = read_record(tmp_path / "some.jsonl")
    assert record.run.settings == {"suite": "quick", "rounds": 2}
    assert {case.contender for case in record.cases} == {"tokenizers", "transformers", "Ortolan"}
    assert {case.reference for case in record.cases} == {"transformers"}
    assert {len(case.rounds) for case in record.cases} == {2}
    assert "there is no server in this release" in {line.reason for line in record.missing}
    assert {path.name for path in (tmp_path / "some").iterdir()} == {"report.html", "report.md", "report.csv"}
    assert "benchmarks/suite/test_tokenization.py" in done.stdout


@pytest.mark.slow
@pytest.mark.integration
def test_a_full_run_has_more_cases_than_a_quick_one(tmp_path: Path):
    def collected(*words: str) -> set[str]:
        return {line for line in suite_run("--collect-only", *words).stdout.splitlines() if "::" in line}

    quick, full = collected(), collected("--full")
    assert quick < full
    assert not any("t5-small" in name for name in quick)
    assert any("t5-small" in name for name in full)
