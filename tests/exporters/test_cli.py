"""`ortolan export`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

import ortolan_exporters
from ortolan import Artifact
from ortolan.cli import main
from ortolan_exporters import ToleranceError, cli
from tests.engine.damage import GOLDEN


def test_help_shows_examples_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--max-drop SHARE" in text
    assert "ortolan export models/sentiment-minilm -o sentiment" in text


def test_wrong_usage_exits_with_two() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["export"])
    assert stop.value.code == 2


@pytest.mark.parity
def test_json_is_one_document_and_nothing_else(
    tmp_path: Path, distilbert_checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(distilbert_checkpoint), "--precision", "fp32", "--json", "--num-labels", "10"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["artifact"], document["task"]) == ("tiny-distilbert", "text-classification")
    assert document["precisions"]["fp32"]["parity"]["max_difference"] <= 1e-4
    assert "ortolan export: warning: " in printed.err
    assert "the head needs training" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-distilbert"], "named after the model, in this folder"


class Export:
    """Stands for the exporter: keeps what it is told, and gives an artifact or fails."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self._failure = failure
        self.place: tuple[object, ...] = ()
        self.options: dict[str, object] = {}

    def __call__(self, *place: object, **options: object) -> Artifact:
        self.place, self.options = place, options
        if self._failure is not None:
            raise self._failure
        return Artifact.open(GOLDEN)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Export:
    """Stands for the exporter."""
    made = Export()
    monkeypatch.setattr(ortolan_exporters, "export", made, raising=False)
    return made


def test_what_no_flag_says_is_left_to_the_recipe(exporter: Export) -> None:
    assert main(["export", "somewhere"]) == 0
    assert exporter.place == ("somewhere", None, None, None, None, False)
    said = {name for name, value in exporter.options.items() if value not in (None, False, (), {}, "fused")}
    assert said == set()


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        (["--wait"], "wait", True),
        (["--trust-remote-code"], "trust_remote_code", True),
        (["--allow-pickle"], "allow_pickle", True),
        (["--revision", "v2"], "revision", "v2"),
        (["--eval", "a.jsonl"], "eval_data", Path("a.jsonl")),
        (["--calibration", "b.jsonl"], "calibration", Path("b.jsonl")),
        (["--max-drop", "0.02"], "max_drop", 0.02),
        (["--output", "hidden_states,attentions"], "outputs", ("hidden_states", "attentions")),
        (["--config", "dim=512", "--config", "activation=gelu"], "config", {"dim": 512, "activation": "gelu"}),
        (["--from-scratch"], "from_scratch", True),
        (["--seed", "7"], "seed", 7),
        (["--num-labels", "10"], "num_labels", 10),
        (["--layout", "portable"], "layout", "portable"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_flag_is_an_option_of_the_export(exporter: Export, words: list[str], option: str, value: object) -> None:
    assert main(["export", "somewhere", "-o", "out", *words]) == 0
    assert exporter.place[:2] == ("somewhere", Path("out"))
    assert exporter.options[option] == value


def test_precisions_are_told_apart_by_commas(exporter: Export) -> None:
    assert main(["export", "somewhere", "--precision", "int8,int4"]) == 0
    assert exporter.place[4] == ("int8", "int4")


# Tuning


class Report:
    """Stands for what was tuned."""

    def to_json(self) -> dict[str, object]:
        return {"choice": "int8"}

    def to_text(self) -> str:
        return "chosen: int8\n"


def test_tune_keeps_every_form_and_tunes_what_was_published(
    exporter: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = []
    monkeypatch.setattr(cli, "tune", lambda folder: tuned.append(folder) or Report())
    assert main(["export", "somewhere", "--tune"]) == 0
    assert exporter.options["keep_forms"] is True
    assert tuned == [GOLDEN]
    assert capsys.readouterr().out == "chosen: int8\n"


def test_tune_with_json_is_part_of_the_document(
    exporter: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "tune", lambda _: Report())
    assert main(["export", "somewhere", "--tune", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["artifact"], document["tune"]) == (str(GOLDEN), {"choice": "int8"})


def test_without_the_flag_nothing_is_tuned(exporter: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "tune", lambda _: pytest.fail("nobody asked for it"))
    assert main(["export", "somewhere"]) == 0
    assert exporter.options["keep_forms"] is False


def test_interrupt_while_tuning_says_that_the_artifact_is_there(
    exporter: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "tune", interrupt)
    assert main(["export", "somewhere", "--tune"]) == 1
    assert capsys.readouterr().err == f"ortolan export: interrupted, {GOLDEN} is published and not tuned\n"


# Failures


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


def test_gate_that_fails_exits_with_one_and_the_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = ToleranceError("int8 of 'tiny' requested", "accuracy falls from 0.9 to 0.8", "leave it out")
    monkeypatch.setattr(ortolan_exporters, "export", Export(failure), raising=False)
    assert main(["export", "somewhere"]) == 1
    assert capsys.readouterr().err == (
        "ortolan export: error: int8 of 'tiny' requested, accuracy falls from 0.9 to 0.8; leave it out\n"
    )
