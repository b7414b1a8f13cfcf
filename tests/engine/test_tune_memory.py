from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ortolan.tune import memory
from ortolan.tune.memory import MemoryTask, growth, growth_in_child, resident_bytes
from tests.engine.damage import GOLDEN

TASK = MemoryTask(str(GOLDEN / "onnx" / "model.onnx"), "cpu", (), [2, 5, 3], [[1, 16], [2, 8]])


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="other systems can't tell yet")
def test_a_child_tells_how_much_a_graph_takes():
    grown = growth_in_child(TASK, 60.0)
    # the graph has 0.1 MB; ONNX Runtime itself, which has 30, is not counted
    assert grown is not None
    assert 100_000 < grown < 30_000_000


@pytest.mark.integration
def test_a_child_that_fails_tells_nothing(tmp_path: Path):
    assert growth_in_child(replace(TASK, file=str(tmp_path / "nowhere.onnx")), 60.0) is None


@pytest.mark.integration
def test_a_child_that_takes_too_long_is_ended_and_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    assert growth_in_child(TASK, 0.0) is None


def test_where_memory_cannot_be_told_nothing_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: None)
    assert growth(TASK) is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems can't tell yet")
def test_this_process_occupies_some_memory():
    occupied = resident_bytes()
    assert occupied is not None
    assert occupied > 10_000_000


def test_a_child_prints_the_bytes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["-c", memory.json.dumps(asdict(TASK))])
    monkeypatch.setattr(memory, "resident_bytes", iter([1000, 5000]).__next__)
    memory.main()
    assert capsys.readouterr().out == "4000\n"
