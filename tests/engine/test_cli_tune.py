from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ortolan import timing
from ortolan.cli import main
from ortolan.commands import tune
from ortolan.tune import measure, schedule
from tests.engine.damage import GOLDEN

TUNE = ("tune", str(GOLDEN), "--provider", "cpu", "--budget", "60s")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MAX_LOOKS", 1)
    monkeypatch.setattr(timing, "REST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(measure, "growth_in_child", lambda *_: 1_000_000)


def test_tune_prints_the_table_and_the_choice(capsys: pytest.CaptureFixture[str]):
    assert main(TUNE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0].startswith("tiny-bert on cpu: "), lines[-1].startswith("chosen for latency: ")) == (True, True)


def test_tune_says_on_stderr_what_it_does(capsys: pytest.CaptureFixture[str]):
    main(TUNE)
    assert f"ways to run '{GOLDEN}' on cpu, 0 of them measured before" in capsys.readouterr().err


def test_tune_with_json_prints_one_document(capsys: pytest.CaptureFixture[str]):
    assert main([*TUNE, "--json", "--prefer", "memory"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["provider"], document["prefer"]) == ("cpu", "memory")


def test_tune_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*TUNE, "--report", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "tune.txt").read_text() == capsys.readouterr().out


def test_tune_compares_on_texts_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "texts.txt").write_text("the film was good\nrain\n")
    assert main([*TUNE, "--texts", str(tmp_path / "texts.txt")]) == 0
    assert "your texts: answered as by fp32, of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--budget", "soon"], "a budget of 'soon' requested, it is no time; write", id="budget"),
        pytest.param(["--budget", "0"], "a budget of 0.0 seconds requested, that is no time", id="no-budget"),
        pytest.param(["--provider", "tpu"], "provider 'tpu' requested, no such provider", id="provider"),
        pytest.param(["--texts", "/no/such"], "texts from '/no/such' requested, it cannot be read", id="texts"),
    ],
)
def test_tune_ends_a_failure_with_one_line_on_stderr(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    assert main([*TUNE, *words]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ortolan tune: error: {message}")


def test_tune_refuses_an_unknown_preference():
    with pytest.raises(SystemExit) as caught:
        main([*TUNE, "--prefer", "beauty"])
    assert caught.value.code == 2


def test_tune_interrupted_says_in_one_line_that_it_can_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "tune", interrupted)
    assert main(TUNE) == 1
    assert capsys.readouterr().err == (
        "ortolan tune: interrupted; what was measured is kept, and another run goes on with it\n"
    )


def test_tune_leaves_the_handling_of_signals_as_it_was():
    before = signal.getsignal(signal.SIGTERM)
    main(TUNE)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.integration
def test_a_process_that_is_terminated_keeps_what_it_measured(tmp_path: Path):
    words = [sys.executable, "-m", "ortolan.cli", *TUNE]
    environment = {**os.environ, "ORTOLAN_CACHE": str(tmp_path)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment)
    kept = tmp_path / "tune"
    until = time.monotonic() + 60
    while time.monotonic() < until and not any(
        '"looks": [\n' in path.read_text() for path in kept.glob("*.measured.json")
    ):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    [file] = kept.glob("*.measured.json")
    assert (process.returncode, out, len(json.loads(file.read_text())["seen"]) > 0) == (1, b"", True)
    assert err.splitlines()[-1].startswith(b"ortolan tune: interrupted; what was measured is kept")
