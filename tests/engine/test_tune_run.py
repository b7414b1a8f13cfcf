from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ortolan import Artifact, ConfigError, InvalidInputError, MissingFileError, SessionError, timing
from ortolan.choice import Way, tuned
from ortolan.tune import measure, schedule, ways
from ortolan.tune.api import tune
from tests.engine.damage import GOLDEN, edit_manifest


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways, looked at as briefly as can be, and no child process."""
    monkeypatch.setattr(schedule, "MAX_LOOKS", 4)
    monkeypatch.setattr(timing, "REST_SECONDS", 0.0)
    monkeypatch.setattr(timing, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(ways, "usable_threads", lambda: 1)
    monkeypatch.setattr(ways, "DISABLED_OPTIMIZERS", ((),))
    monkeypatch.setattr(measure, "growth_in_child", lambda task, _: 1000 * len(task.file))


PLAIN = [Way("int8", "packed", (), 1), Way("fp32", "packed", (), 1)]


def test_tuning_measures_every_way_and_chooses_one():
    report = tune(GOLDEN, budget_seconds=60, provider="cpu")
    assert ({one.way for one in report.ways}, report.choice.way in PLAIN) == (set(PLAIN), True)


def test_the_choice_is_kept_for_auto():
    report = tune(GOLDEN, budget_seconds=60, provider="cpu")
    assert tuned(Artifact.open(GOLDEN), "cpu") == report.choice


def test_the_file_of_the_choice_is_named(tmp_path: Path):
    report = tune(GOLDEN, budget_seconds=60, provider="cpu", cache_dir=tmp_path / "mine")
    assert json.loads(Path(report.choice_file).read_text())["reason"] == report.choice.reason


def test_auto_measures_the_provider_that_would_run():
    assert tune(GOLDEN, budget_seconds=60).provider == "cpu"


def test_a_second_run_goes_on_with_what_was_measured(capsys: pytest.CaptureFixture[str]):
    first = tune(GOLDEN, budget_seconds=60, provider="cpu")
    second = tune(GOLDEN, budget_seconds=60, provider="cpu")
    assert (second.ways, "2 of them measured before" in capsys.readouterr().err) == (first.ways, True)


def test_a_fresh_run_forgets(capsys: pytest.CaptureFixture[str]):
    tune(GOLDEN, budget_seconds=60, provider="cpu")
    tune(GOLDEN, budget_seconds=60, provider="cpu", fresh=True)
    assert "2 of them" not in capsys.readouterr().err


@pytest.mark.parametrize(("load", "is_said"), [(0.4, False), (9.0, True)], ids=["idle", "busy"])
def test_a_busy_machine_is_mentioned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], load: float, is_said: bool
):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    tune(GOLDEN, budget_seconds=60, provider="cpu")
    assert ("the machine is busy (load 9.0 on 2 processors)" in capsys.readouterr().err) == is_said


def test_golden_answers_are_checked_here():
    report = tune(GOLDEN, budget_seconds=60, provider="cpu")
    differences = [one.golden_difference for one in report.ways]
    assert all(difference is not None and difference < 0.05 for difference in differences)


def make_unsafe(artifact: Path, precision: str) -> None:
    def change(manifest: dict[str, dict[str, dict[str, dict[str, list[list[float]]]]]]) -> None:
        manifest["precisions"][precision]["golden"]["values"][0][0] += 1.0

    edit_manifest(artifact, change)


def test_a_precision_whose_golden_answers_are_off_here_is_never_chosen(artifact: Path):
    make_unsafe(artifact, "int8")
    report = tune(artifact, budget_seconds=60, provider="cpu", prefer="memory")
    [fault] = [one.fault for one in report.ways if one.fault is not None]
    assert (report.choice.way.precision, fault) == ("fp32", "golden answers differ by 1 here, allowed 0.05")


def test_a_graph_that_is_damaged_is_a_fault_of_its_ways(artifact: Path):
    (artifact / "onnx" / "model.onnx").write_bytes(b"damaged")
    report = tune(artifact, budget_seconds=60, provider="cpu")
    faults = {one.way.precision: one.fault for one in report.ways}
    assert faults == {"int8": None, "fp32": "onnx/model.onnx differs from what was exported"}


def test_where_every_way_has_a_fault_nothing_is_chosen(artifact: Path):
    make_unsafe(artifact, "int8")
    make_unsafe(artifact, "fp32")
    with pytest.raises(SessionError, match="each of the 2 that were tried has a fault"):
        tune(artifact, budget_seconds=60, provider="cpu")


def test_texts_compare_precisions_with_fp32():
    report = tune(GOLDEN, budget_seconds=60, provider="cpu", texts=["the film was good", {"text": "rain"}])
    assert (report.num_texts, {one.way.precision: one.agreement for one in report.ways}) == (
        2,
        {"fp32": 1.0, "int8": 1.0},
    )


def test_a_text_that_is_too_long_is_cut():
    assert tune(GOLDEN, budget_seconds=60, provider="cpu", texts=["rain " * 500]).num_texts == 1


def test_texts_need_fp32(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest["precisions"].pop("fp32"))
    with pytest.raises(ConfigError, match="it holds no fp32 to compare with"):
        tune(artifact, provider="cpu", texts=["rain"])


def test_a_text_that_cannot_be_read_is_an_error():
    with pytest.raises(InvalidInputError, match="at index 1"):
        tune(GOLDEN, provider="cpu", texts=["rain", ""])


def test_a_budget_that_is_too_small_for_anything_says_so():
    with pytest.raises(ConfigError, match="it was spent before anything could be measured; use a larger one"):
        tune(GOLDEN, budget_seconds=1e-6, provider="cpu")


def test_an_unknown_provider_is_an_error():
    with pytest.raises(ConfigError, match="no such provider"):
        tune(GOLDEN, provider="tpu")


def test_a_cache_that_cannot_be_written_is_an_error_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it cannot be written"):
        tune(GOLDEN, provider="cpu", cache_dir=tmp_path / "file")


def test_a_folder_of_another_tool_is_refused(artifact: Path):
    (artifact / "ortolan.json").unlink()
    with pytest.raises(MissingFileError, match=r"has no ortolan\.json: nothing says which precision keeps its quality"):
        tune(artifact, provider="cpu")


def test_an_empty_folder_is_an_error(tmp_path: Path):
    with pytest.raises(MissingFileError):
        tune(tmp_path, provider="cpu")
