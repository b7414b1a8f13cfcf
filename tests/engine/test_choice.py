from __future__ import annotations

import json
from pathlib import Path

import pytest

from ortolan import Artifact, ConfigError
from ortolan import choice as choice_module
from ortolan.choice import AS_EXPORTED, Choice, Way, attention_forms, choice_file, keep_choice, tuned
from ortolan.machine import Machine
from tests.engine.damage import GOLDEN, edit_json, edit_manifest

WAY = Way("int8", "packed", ("SkipLayerNormFusion",), 1)
CHOICE = Choice(WAY, "'ortolan tune' chose it")


@pytest.fixture
def kept(artifact: Path) -> Path:
    """File of a choice for the copied artifact."""
    return keep_choice(CHOICE, Artifact.open(artifact), "cpu")


def test_a_choice_that_was_kept_is_found(artifact: Path, kept: Path):
    assert tuned(Artifact.open(artifact), "cpu") == CHOICE


def test_without_a_choice_there_is_none():
    assert tuned(Artifact.open(GOLDEN), "cpu") is None


def test_a_choice_is_kept_in_the_cache(artifact: Path, kept: Path, tmp_path: Path):
    assert kept.parent == tmp_path / "cache" / "tune"


def test_another_cache_has_its_own_choices(artifact: Path, kept: Path, tmp_path: Path):
    assert tuned(Artifact.open(artifact), "cpu", tmp_path / "other") is None


def test_a_choice_holds_for_its_provider_alone(artifact: Path, kept: Path):
    assert tuned(Artifact.open(artifact), "cuda") is None


def test_a_choice_holds_for_its_content_alone(artifact: Path, kept: Path):
    edit_manifest(artifact, lambda manifest: manifest.update(ortolan="9"))
    assert tuned(Artifact.open(artifact), "cpu") is None


def test_a_choice_holds_for_a_copy_of_the_artifact(artifact: Path, kept: Path):
    assert tuned(Artifact.open(GOLDEN), "cpu") == CHOICE


def test_a_choice_holds_for_its_machine_alone(artifact: Path, kept: Path, monkeypatch: pytest.MonkeyPatch):
    other = Machine("another", (), 64, "Linux x86_64", "onnxruntime 1.32.0")
    monkeypatch.setattr(choice_module, "this_machine", lambda: other)
    assert tuned(Artifact.open(artifact), "cpu") is None


def test_a_later_choice_replaces_an_earlier_one(artifact: Path, kept: Path):
    later = Choice(Way("fp32", "packed", (), 2), "later")
    keep_choice(later, Artifact.open(artifact), "cpu")
    assert tuned(Artifact.open(artifact), "cpu") == later


def test_the_file_says_for_which_machine_it_is(kept: Path):
    assert set(json.loads(kept.read_text())["machine"]) == {
        "processor",
        "features",
        "num_threads",
        "system",
        "onnxruntime",
    }


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"way": 3}'], ids=["empty", "list", "cut", "bare", "odd"])
def test_an_unreadable_choice_is_left_out_with_a_warning(artifact: Path, kept: Path, text: str):
    kept.write_text(text)
    with pytest.warns(UserWarning, match="is left out .*: run it again, or remove the file"):
        assert tuned(Artifact.open(artifact), "cpu") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"machine_key": "other"}, "it is for another machine_key", id="machine"),
        pytest.param({"artifact": "other"}, "it is for another artifact", id="artifact"),
        pytest.param({"provider": "cuda"}, "it is for another provider", id="provider"),
        pytest.param({"format": 9}, "it is for another format", id="format"),
    ],
)
def test_a_choice_for_something_else_is_left_out_with_a_warning(
    artifact: Path, kept: Path, change: dict[str, object], reason: str
):
    edit_json(kept, lambda document: document.update(change))
    with pytest.warns(UserWarning, match=reason):
        assert tuned(Artifact.open(artifact), "cpu") is None


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"precision": "fp8"}, id="precision"),
        pytest.param({"precision": "int4"}, id="precision-not-held"),
        pytest.param({"attention": "unfused"}, id="attention"),
        pytest.param({"num_threads": 0}, id="threads"),
        pytest.param({"num_threads": None}, id="threads-of-a-wrong-type"),
        pytest.param({"disabled_optimizers": "SkipLayerNormFusion"}, id="optimizers-of-a-wrong-type"),
    ],
)
def test_a_way_that_the_artifact_does_not_have_is_left_out_with_a_warning(
    artifact: Path, kept: Path, change: dict[str, object]
):
    edit_json(kept, lambda document: document["way"].update(change))
    with pytest.warns(UserWarning, match="is left out"):
        assert tuned(Artifact.open(artifact), "cpu") is None


def test_a_cache_that_cannot_be_written_is_an_error(artifact: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it cannot be written .*; set ORTOLAN_CACHE"):
        keep_choice(CHOICE, Artifact.open(artifact), "cpu", tmp_path / "file")


def test_a_cache_that_is_a_file_holds_no_choice(artifact: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert tuned(Artifact.open(artifact), "cpu", tmp_path / "file") is None


def test_a_way_reads_as_words():
    assert [str(WAY), str(Way("fp32", "fused", (), 4))] == [
        "int8, attention packed, 1 thread, without SkipLayerNormFusion",
        "fp32, attention fused, 4 threads",
    ]


def test_the_form_chosen_at_export_is_the_first():
    record = Artifact.open(GOLDEN).manifest.precisions["fp32"]
    assert attention_forms(record) == {"packed": record.graphs["model"]}


def test_forms_that_were_kept_follow(artifact: Path):
    def keep(manifest: dict[str, dict[str, dict[str, object]]]) -> None:
        int8 = manifest["precisions"]["int8"]
        int8["forms"] = {"unfused": manifest["precisions"]["fp32"]["graphs"]["model"]}  # type: ignore[index]

    edit_manifest(artifact, keep)
    forms = attention_forms(Artifact.open(artifact).manifest.precisions["int8"])
    assert [(name, graph.file) for name, graph in forms.items()] == [
        ("packed", "onnx/model_quantized.onnx"),
        ("unfused", "onnx/model.onnx"),
    ]


def test_a_form_without_a_name_is_as_exported(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest["precisions"]["fp32"].update(providers={}))
    assert list(attention_forms(Artifact.open(artifact).manifest.precisions["fp32"])) == [AS_EXPORTED]


def test_the_file_names_artifact_machine_and_provider():
    assert choice_file(Artifact.open(GOLDEN), "cuda").name.count("-") == 2


def test_the_times_of_runs_are_kept_with_the_choice(artifact: Path, tmp_path: Path):
    opened = Artifact.open(artifact)
    keep_choice(Choice(WAY, "tuned", {"1 x 16": 1.5, "8 x 64": 20.0}), opened, "cpu", tmp_path)
    found = tuned(opened, "cpu", tmp_path)
    assert found is not None
    assert found.seconds == {(1, 16): 0.0015, (8, 64): 0.02}


@pytest.mark.parametrize("times", [{"1 x 16": -1.0}, {"much": 1.0}, [1]], ids=["below zero", "no shape", "a list"])
def test_a_choice_with_times_that_are_none_is_left_out(artifact: Path, tmp_path: Path, times: object):
    opened = Artifact.open(artifact)
    path = keep_choice(CHOICE, opened, "cpu", tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "milliseconds": times}))
    with pytest.warns(UserWarning, match="is left out"):
        assert tuned(opened, "cpu", tmp_path) is None
