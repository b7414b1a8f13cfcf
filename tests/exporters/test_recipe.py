"""export(): from a checkpoint to a published artifact."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ortolan
from ortolan import Artifact, Model
from ortolan.errors import ConfigError
from ortolan_exporters import PublishError, export, recipe
from ortolan_exporters.example_inputs import Vocabulary, example_batch
from tests import tiny

pytestmark = pytest.mark.parity

SHAPES = [(1, 1), (1, 7), (5, 64), (3, 20)]


def torch_outputs(module: torch.nn.Module, feed: dict[str, np.ndarray], **options: bool) -> Any:
    with torch.inference_mode():
        return module(**{name: torch.from_numpy(array) for name, array in feed.items()}, **options)


def torch_logits(module: torch.nn.Module, feed: dict[str, np.ndarray]) -> np.ndarray:
    logits: np.ndarray = torch_outputs(module, feed).logits.numpy()
    return logits


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_exported_bert_answers_as_torch_does_with_padding(exported_bert: Artifact, shape: tuple[int, int]) -> None:
    names = ("input_ids", "attention_mask", "token_type_ids")
    feed = example_batch(names, *shape, vocabulary=Vocabulary(100))
    expected = torch_logits(tiny.bert(), feed)
    fp32 = Model.load(exported_bert.folder, "cpu", "fp32")(**feed).logits
    int8 = Model.load(exported_bert.folder, "cpu", "int8")(**feed).logits
    np.testing.assert_allclose(fp32, expected, atol=1e-5)
    np.testing.assert_allclose(int8, expected, atol=0.15)
    assert np.abs(int8 - expected).max() > 1e-4, "int8 that equals fp32 is not int8"


def test_distilbert_is_exported_from_a_module_with_its_tokenizer(tmp_path: Path) -> None:
    module = tiny.distilbert(num_labels=3)
    before = module.config._attn_implementation
    artifact = export(module, tmp_path / "out", tokenizer=tiny.tokenizer(), precisions=("fp32",))
    assert [spec.name for spec in Model.load(artifact.folder).signature.inputs] == ["input_ids", "attention_mask"]
    feed = example_batch(("input_ids", "attention_mask"), 5, 64, vocabulary=Vocabulary(100))
    got = Model.load(artifact.folder, "cpu")(**feed).logits
    np.testing.assert_allclose(got, torch_logits(module, feed), atol=1e-5)
    assert module.config._attn_implementation == before, "the caller's module is not changed"


def test_manifest_tells_what_was_made_and_how_good_it_is(exported_bert: Artifact) -> None:
    manifest = exported_bert.manifest
    assert (manifest.task, manifest.architecture, manifest.max_length) == ("text-classification", "bert", 64)
    assert manifest.source["name"] == "tiny-bert"
    assert manifest.versions["torch"] == version("torch")
    assert set(manifest.precisions) == {"fp32", "int8"}
    fp32, int8 = manifest.precisions["fp32"], manifest.precisions["int8"]
    assert fp32.parity["max_difference"] <= 1e-4
    assert {"1 x 7", "5 x 64", "2 x 64"} <= set(fp32.parity["shapes"])
    assert int8.quality["texts"] == len(tiny.TEXTS)
    assert int8.quality["label_agreement"] >= 0.5
    choice = int8.providers["cpu"]
    ways = {(one["attention"], tuple(one["disabled_optimizers"])) for one in choice["measured"]}
    assert len(ways) == 6
    assert (choice["attention"], tuple(choice["disabled_optimizers"])) in ways


def test_published_folder_verifies_and_names_no_path_of_this_machine(exported_bert: Artifact, tmp_path: Path) -> None:
    assert all(check.passed for check in ortolan.verify(exported_bert.folder))
    here = [str(Path(__file__).parents[2]).encode(), str(exported_bert.folder.parent).encode()]
    for file in exported_bert.folder.rglob("*"):
        assert not (file.is_file() and any(path in file.read_bytes() for path in here)), file.name


def test_card_shows_the_evidence(exported_bert: Artifact) -> None:
    card = (exported_bert.folder / "README.md").read_text(encoding="utf-8")
    assert "`onnx/model.onnx`" in card
    assert "`onnx/model_quantized.onnx`" in card
    assert "pipeline_tag: text-classification" in card


@pytest.mark.usefixtures("traced_before")
def test_failed_overwrite_leaves_the_old_artifact_untouched(
    exported_bert: Artifact, bert_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    shutil.copytree(exported_bert.folder, output)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "write_manifest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export(bert_checkpoint, output, precisions=("fp32",), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert all(check.passed for check in ortolan.verify(output))


def test_existing_artifact_is_not_overwritten_unasked(exported_bert: Artifact, bert_checkpoint: Path) -> None:
    with pytest.raises(PublishError, match="there is one already; pass --overwrite"):
        export(bert_checkpoint, exported_bert.folder)


@pytest.mark.usefixtures("traced_before")
def test_overwrite_replaces_the_artifact(exported_bert: Artifact, bert_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(exported_bert.folder, output)
    artifact = export(bert_checkpoint, output, precisions=("fp32",), overwrite=True)
    assert set(artifact.manifest.precisions) == {"fp32"}
    assert not (output / "onnx" / "model_quantized.onnx").exists()


def test_model_from_scratch_has_the_shape_of_its_config(distilbert_checkpoint: Path, tmp_path: Path) -> None:
    changes = {"n_heads": 8, "dim": 64, "hidden_dim": 96, "n_layers": 1}
    with pytest.warns(UserWarning, match="random weights; it needs training"):
        artifact = export(
            distilbert_checkpoint,
            tmp_path / "out",
            config=changes,
            num_labels=10,
            from_scratch=True,
            precisions=("fp32",),
        )
    assert {key: artifact.config[key] for key in changes} == changes
    assert artifact.manifest.source["new_weights"] == ["all"]
    assert "The weights are random" in (artifact.folder / "README.md").read_text(encoding="utf-8")
    assert len(ortolan.pipeline("text-classification", artifact.folder)("a good film", top_k=None)) == 10


def test_hidden_states_of_every_layer_come_besides_the_logits(bert_checkpoint: Path, tmp_path: Path) -> None:
    artifact = export(bert_checkpoint, tmp_path / "out", outputs=("hidden_states",), precisions=("fp32",))
    model = Model.load(artifact.folder, "cpu")
    states = [f"hidden_states.{layer}" for layer in range(3)]  # the embeddings, and after each of two layers
    assert {spec.name: spec.shape for spec in model.signature.outputs} == {
        "logits": ("batch", 2),
        **dict.fromkeys(states, ("batch", "sequence", 32)),
    }
    feed = example_batch(("input_ids", "attention_mask", "token_type_ids"), 5, 20, vocabulary=Vocabulary(100))
    expected = torch_outputs(tiny.bert(), feed, output_hidden_states=True)
    got = model(**feed)
    np.testing.assert_allclose(got["logits"], expected.logits, atol=1e-5)
    real = feed["attention_mask"].astype(bool)
    for name, wanted in zip(states, expected.hidden_states, strict=True):
        np.testing.assert_allclose(got[name][real], wanted.numpy()[real], atol=1e-4, err_msg=name)
    assert [check for check in ortolan.verify(artifact.folder) if not check.passed] == []


def test_attentions_of_every_layer_are_those_of_torch(tmp_path: Path) -> None:
    module = tiny.distilbert()
    artifact = export(
        module, tmp_path / "out", tokenizer=tiny.tokenizer(), outputs=("attentions",), precisions=("fp32",)
    )
    model = Model.load(artifact.folder, "cpu")
    assert {spec.name: spec.shape for spec in model.signature.outputs} == {
        "logits": ("batch", 2),
        "attentions.0": ("batch", 4, "sequence", "sequence"),
        "attentions.1": ("batch", 4, "sequence", "sequence"),
    }
    feed = example_batch(("input_ids", "attention_mask"), 3, 12, vocabulary=Vocabulary(100))
    got = model(**feed)
    module.set_attn_implementation("eager")
    expected = torch_outputs(module, feed, output_attentions=True)
    np.testing.assert_allclose(got["logits"], expected.logits, atol=1e-5)
    for name, wanted in zip(("attentions.0", "attentions.1"), expected.attentions, strict=True):
        np.testing.assert_allclose(got[name], wanted.numpy(), atol=1e-5, err_msg=name)
    np.testing.assert_allclose(got["attentions.0"].sum(-1), 1, atol=1e-5)


@pytest.mark.usefixtures("traced_before")
def test_artifact_with_a_long_calibration_text_verifies(bert_checkpoint: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": "film " * 100}) + "\n" + json.dumps({"text": "rain"}), encoding="utf-8")
    artifact = export(bert_checkpoint, tmp_path / "out", calibration=texts, precisions=("fp32",))
    assert [check for check in ortolan.verify(artifact.folder) if not check.passed] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precisions": ()}, "each may stand once, and one must"),
        ({"precisions": ("fp32", "int3")}, r"\['int3'\] are unknown; use some of fp32, int8"),
        ({"max_drop": 1.5}, "got 1.5; use a share from 0 up to 1"),
        ({"num_labels": 0}, "got 0; use 1 or more"),
        ({"precisions": ("fp32", "fp32")}, "each may stand once, and one must"),
        ({"outputs": ("pooler_output",)}, r"\['pooler_output'\] are unknown; use hidden_states, attentions"),
        ({"config": {"num_labels": 3}}, "it makes a new head; pass num_labels instead"),
    ],
    ids=[
        "no precision",
        "unknown precision",
        "drop over one",
        "no labels",
        "precision twice",
        "unknown output",
        "labels as config",
    ],
)
def test_options_out_of_range_are_refused_before_any_work(
    bert_checkpoint: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(bert_checkpoint, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []
