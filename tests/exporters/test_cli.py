"""`ortolan export`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from ortolan.cli import main
from tests import tiny


def test_help_shows_examples_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--max-drop SHARE" in text
    assert "ortolan export models/sentiment-minilm -o sentiment" in text


def test_wrong_usage_exits_with_two() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export", "somewhere"])
    assert stop.value.code == 2


@pytest.mark.parity
def test_json_is_one_document_and_nothing_else(
    tmp_path: Path, distilbert_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    words = ["export", str(distilbert_checkpoint), "-o", str(output), "--precision", "fp32", "--json"]
    assert main([*words, "--num-labels", "10"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["artifact"], document["task"]) == (str(output), "text-classification")
    assert document["precisions"]["fp32"]["parity"]["max_difference"] <= 1e-4
    assert "ortolan export: warning: " in printed.err
    assert "the head needs training" in printed.err


def test_failure_is_one_line_and_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("ortolan export: error: checkpoint ")
    assert lines[-1].endswith("the folder has no config.json; pass a folder that save_pretrained wrote")


def test_failure_with_json_is_a_document_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "./nowhere", "-o", str(tmp_path / "out"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "MissingFileError"


def test_config_that_is_not_key_and_value_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "x", "-o", str(tmp_path / "out"), "--config", "dim"]) == 1
    assert "--config 'dim' requested, it is not KEY=VALUE" in capsys.readouterr().err


def test_missing_extra_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("torch", "onnx") else find(name))
    assert main(["export", "x", "-o", str(tmp_path / "out")]) == 1
    assert "torch, onnx are not installed; run: pip install 'ortolan[export]'" in capsys.readouterr().err


@pytest.mark.parity
def test_gate_that_fails_exits_with_one_and_the_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ortolan_exporters.quality.MAX_MEAN_SHIFT", 1e-9)
    checkpoint = tiny.save_checkpoint(tmp_path / "tiny", tiny.bert())
    assert main(["export", str(checkpoint), "-o", str(tmp_path / "out")]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "int8 of 'tiny' requested, mean probability difference 0.0" in last
    assert not (tmp_path / "out").exists()
