from __future__ import annotations

from pathlib import Path

import pytest

from ortolan import Artifact, Model
from ortolan.choice import Choice, Way, keep_choice
from tests.engine.damage import GOLDEN, edit_manifest

FP32 = Choice(Way("fp32", "packed", ("SkipLayerNormFusion",), 1), "'ortolan tune' chose it")


def threads(model: Model) -> int:
    return int(model._session._session.get_session_options().intra_op_num_threads)  # type: ignore[attr-defined]


@pytest.fixture
def kept() -> Path:
    """The cache holds a choice for the golden artifact."""
    return keep_choice(FP32, Artifact.open(GOLDEN), "cpu")


def test_auto_runs_what_tune_chose(kept: Path):
    model = Model.load(GOLDEN, "cpu")
    assert (model.precision, model.reason, threads(model)) == ("fp32", "'ortolan tune' chose it", 1)


def test_threads_that_were_asked_for_go_before_those_that_tune_chose(kept: Path):
    assert threads(Model.load(GOLDEN, "cpu", num_threads=2)) == 2


def test_a_precision_that_was_asked_for_goes_before_the_one_that_tune_chose(kept: Path):
    assert Model.load(GOLDEN, "cpu", "int8").reason == "asked for"


def test_the_choice_is_that_of_the_cache_named(kept: Path, tmp_path: Path):
    assert Model.load(GOLDEN, "cpu", cache_dir=tmp_path / "other").reason != "'ortolan tune' chose it"


def test_auto_runs_the_attention_form_that_tune_chose(artifact: Path):
    def keep_form(manifest):  # type: ignore[no-untyped-def]
        graphs = {name: record["graphs"]["model"] for name, record in manifest["precisions"].items()}
        manifest["precisions"]["fp32"]["forms"] = {"other": graphs["int8"]}

    edit_manifest(artifact, keep_form)
    keep_choice(Choice(Way("fp32", "other", (), 1), "tuned"), Artifact.open(artifact), "cpu")
    (artifact / "onnx" / "model.onnx").unlink()  # and does not read the other one
    assert Model.load(artifact, "cpu").reason == "tuned"


def test_an_unreadable_choice_is_left_out_with_a_warning(kept: Path):
    kept.write_text("{")
    with pytest.warns(UserWarning, match="is left out"):
        assert Model.load(GOLDEN, "cpu").reason != "'ortolan tune' chose it"
