"""`ortolan bench` as it is called. Rounds are drawn, not timed: what is measured is of no interest here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ortolan.bench.records import Case, Missing, Record, Run, Samples, write_record
from ortolan.cli import main
from ortolan.session import providers
from tests.engine.damage import GOLDEN

OWN, OTHER = "Ortolan int8", "eager fp32"
SHAPES = {"1x16": 4.0, "1x128": 20.0, "8x128": 150.0}
"""Milliseconds of a call of the reference; Ortolan takes half of that."""


def rounds(middle: float, draw: np.random.Generator, minutes: Sequence[float]) -> tuple[Samples, ...]:
    """Three calls in each of so many minutes, some of which are slow; now and then a call takes much longer."""
    found = []
    for minute in minutes:
        calls = middle * minute * (1.0 + 0.04 * draw.gamma(1.0, size=3))
        calls[draw.random(3) < 0.03] *= 3.0
        found.append(tuple(map(float, calls)))
    return tuple(found)


def record(seed: int, slower: float = 1.0) -> Record:
    """What a run would leave in which Ortolan takes so many times as long."""
    draw = np.random.default_rng(seed)
    run = Run(
        commit=f"seed-{seed}",
        started="2026-01-01T00:00:00+00:00",
        processor="a processor",
        cpu_features=("avx2",),
        threads=2,
        system="Linux x86_64",
        versions={"eager": {"torch": "2"}, "Ortolan": {"ortolan": "1"}},
    )
    cases = []
    for shape, middle in SHAPES.items():
        minutes = 1.0 + 0.5 * draw.random() * (draw.random(15) < 0.3)
        for contender, factor in ((OTHER, 1.0), (OWN, 0.5 * slower)):
            case = Case(
                group="latency",
                subject="tiny",
                case=shape,
                contender=contender,
                unit="ms",
                better="less",
                rounds=rounds(factor * middle, draw, minutes),
                load_average=0.5,
            )
            cases.append(case)
    missing = Missing(subject="tiny", contender="OpenVINO int8", reason="No matching distribution found")
    return Record(run, (), tuple(cases), (missing,))


def written(folder: Path, name: str, seed: int, slower: float = 1.0) -> str:
    path = folder / f"{name}.jsonl"
    write_record(record(seed, slower), path)
    return str(path)


def test_a_slow_down_of_20_percent_is_found_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old, new = written(tmp_path, "old", 0), written(tmp_path, "new", 1, slower=1.2)
    assert main(["bench", new, "--compare", old]) == 1
    told = capsys.readouterr()
    for shape in SHAPES:
        assert any(shape in line and OWN in line for line in told.out.splitlines() if "worse" in line)
    assert "3 of 3 cases are slower" in told.err or "slower than before" in told.err


def test_noise_alone_is_no_slow_down_in_ten_runs(tmp_path: Path):
    old = written(tmp_path, "old", 0)
    assert [main(["bench", written(tmp_path, "new", seed), "--compare", old]) for seed in range(1, 11)] == [0] * 10


def test_a_slow_down_below_the_threshold_is_let_pass(tmp_path: Path):
    old, new = written(tmp_path, "old", 0), written(tmp_path, "new", 1, slower=1.2)
    assert main(["bench", new, "--compare", old, "--threshold", "0.5"]) == 0


def test_a_record_becomes_a_page_with_its_tables_beside_it(tmp_path: Path):
    assert main(["bench", written(tmp_path, "old", 0), "--report", str(tmp_path / "report" / "page.html")]) == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"page.html", "page.md", "page.csv"}
    assert "OpenVINO int8" in (tmp_path / "report" / "page.html").read_text(encoding="utf-8")


def test_who_is_missing_is_listed_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["bench", written(tmp_path, "old", 0)])
    [line] = [line for line in capsys.readouterr().out.splitlines() if "OpenVINO int8" in line]
    assert "No matching distribution found" in line


def test_json_is_one_document_with_every_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old, new = written(tmp_path, "old", 0), written(tmp_path, "new", 1, slower=1.2)
    assert main(["bench", new, "--compare", old, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert {one["case"] for one in document["cases"]} == set(SHAPES)
    assert document["missing"] == [{"contender": "OpenVINO int8", "reason": "No matching distribution found"}]
    assert {one["verdict"] for one in document["changes"] if one["contender"] == OWN} == {"worse"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["/no/such"], "artifact '/no/such' requested, there is no such folder", id="no-artifact"),
        pytest.param(["/no/such.jsonl"], "record '/no/such.jsonl' requested, it cannot be read", id="no-record"),
        pytest.param([str(GOLDEN), "--compare", "/no/such"], "record '/no/such' requested", id="no-old-record"),
        pytest.param([str(GOLDEN), "--against", "tvm"], "--against tvm requested, no such contender", id="contender"),
        pytest.param([str(GOLDEN), "--against", "torch"], "a race of", id="no-checkpoint"),
        pytest.param([str(GOLDEN), "--shapes", "16"], "--shapes 16 requested, '16' is no shape", id="shape"),
        pytest.param([str(GOLDEN), "--shapes", "0x16"], "--shapes 0x16 requested, '0x16' is no shape", id="no-rows"),
        pytest.param([str(GOLDEN), "--shapes", "9999x8"], "a benchmark of", id="many-rows"),
        pytest.param([str(GOLDEN), "--rounds", "1"], "1 rounds requested, that is no race", id="rounds"),
        pytest.param([str(GOLDEN), "--threshold", "0"], "--threshold 0.0 requested, it is no share", id="threshold"),
        pytest.param([str(GOLDEN), "--report", "page"], "--report page requested, a report is a page", id="report"),
        pytest.param([str(GOLDEN), "--texts", "/no/such"], "texts from '/no/such' requested", id="texts"),
    ],
)
def test_bench_ends_a_failure_with_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    assert main(["bench", *words]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ortolan bench: error: {message}")


def test_without_its_checkpoint_an_artifact_is_told_how_to_name_it(capsys: pytest.CaptureFixture[str]):
    main(["bench", str(GOLDEN), "--against", "torch"])
    assert "pass --checkpoint DIR, or leave --against out" in capsys.readouterr().err


def test_a_record_is_not_raced_against_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", written(tmp_path, "old", 0), "--against", "torch"]) == 1
    assert "it is a record, and nothing is measured" in capsys.readouterr().err


def test_a_provider_that_is_not_there_is_told_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(providers.onnxruntime(), "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert main(["bench", str(GOLDEN), "--provider", "cuda"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ortolan bench: error: provider 'CUDAExecutionProvider' requested, available: ['CPU")


def test_an_unknown_provider_is_wrong_usage():
    with pytest.raises(SystemExit) as caught:
        main(["bench", str(GOLDEN), "--provider", "tpu"])
    assert caught.value.code == 2
