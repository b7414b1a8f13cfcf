"""export(): from a checkpoint to a published artifact."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import ortolan
from ortolan import Artifact, Model
from ortolan.errors import ConfigError
from ortolan_exporters import PublishError, ToleranceError, export, recipe
from ortolan_exporters.example_inputs import example_batch
from tests import tiny

pytestmark = pytest.mark.parity

SHAPES = [(1, 1), (1, 7), (5, 64), (3, 20)]


def torch_logits(module: torch.nn.Module, feed: dict[str, np.ndarray]) -> np.ndarray:
    with torch.inference_mode():
        return module(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits.numpy()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_exported_bert_answers_as_torch_does_with_padding(exported_bert: Artifact, shape: tuple[int, int]) -> None:
    names = ("input_ids", "attention_mask", "token_type_ids")
    feed = example_batch(names, *shape, vocabulary=100)
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
    feed = example_batch(("input_ids", "attention_mask"), 5, 64, vocabulary=100)
    got = Model.load(artifact.folder, "cpu")(**feed).logits
    np.testing.assert_allclose(got, torch_logits(module, feed), atol=1e-5)
    assert module.config._attn_implementation == before, "the caller's module is not changed"


def test_half_precision_checkpoint_is_exported_as_float32(tmp_path: Path) -> None:
    checkpoint = tiny.save_checkpoint(tmp_path / "half", tiny.bert().to(torch.float16))
    artifact = export(checkpoint, tmp_path / "out", precisions=("fp32",))
    reference = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    feed = example_batch(("input_ids", "attention_mask", "token_type_ids"), 2, 9, vocabulary=100)
    got = Model.load(artifact.folder, "cpu")(**feed).logits
    np.testing.assert_allclose(got, torch_logits(reference, feed), atol=1e-5)


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
    assert "`onnx/model_quantized.onnx`" in card
    assert "pipeline_tag: text-classification" in card


def test_labelled_data_decides_about_int8(bert_checkpoint: Path, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    rows = [{"text": text, "label": "LABEL_1"} for text in tiny.TEXTS]
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    artifact = export(bert_checkpoint, tmp_path / "out", eval_data=data, max_drop=0.5)
    metric = artifact.manifest.precisions["int8"].quality["metric"]
    assert metric["texts"] == len(tiny.TEXTS)
    assert metric["drop"] == pytest.approx(metric["torch"] - metric["this"])


def with_outlier() -> transformers.BertForSequenceClassification:
    """A BERT whose first feed-forward layer has an activation of 20,000 that the next layer ignores.

    Torch doesn't mind. int8 with one scale for all activations has no steps left for the others.
    """
    module = tiny.bert()
    layer = module.bert.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.weight[0] = 0
        layer.intermediate.dense.bias[0] = 20_000
        layer.output.dense.weight[:, 0] = 0
    return module


def test_gate_keeps_the_layer_that_int8_would_ruin_in_fp32(tmp_path: Path) -> None:
    checkpoint = tiny.save_checkpoint(tmp_path / "outlier", with_outlier())
    artifact = export(checkpoint, tmp_path / "out")
    record = artifact.manifest.precisions["int8"]
    assert record.kept_fp32[0] == "bert.encoder.layer.0.output.dense"
    assert len(record.kept_fp32) < 7
    assert record.quality["mean_probability_difference"] <= 0.02
    assert "bert.encoder.layer.0.output.dense" in (artifact.folder / "README.md").read_text(encoding="utf-8")


def test_nothing_is_published_when_no_mix_passes(
    bert_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ortolan_exporters.quality.MAX_MEAN_SHIFT", 1e-9)
    with pytest.raises(
        ToleranceError, match=r"int8 of 'tiny-bert' requested, .*allowed; export --precision fp32 alone"
    ):
        export(bert_checkpoint, tmp_path / "out")
    assert list(tmp_path.glob("*")) == []


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


def test_overwrite_replaces_the_artifact(exported_bert: Artifact, bert_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    shutil.copytree(exported_bert.folder, output)
    artifact = export(bert_checkpoint, output, precisions=("fp32",), overwrite=True)
    assert set(artifact.manifest.precisions) == {"fp32"}
    assert not (output / "onnx" / "model_quantized.onnx").exists()


def test_new_head_has_as_many_classes_as_asked_and_warns(distilbert_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="classifier.weight.* are new, from seed 7; the head needs training"):
        artifact = export(distilbert_checkpoint, tmp_path / "out", num_labels=10, seed=7, precisions=("fp32",))
    pipe = ortolan.pipeline("text-classification", artifact.folder, top_k=None)
    assert len(pipe("a good film", top_k=None)) == 10


def test_model_from_scratch_has_the_shape_of_its_config(distilbert_checkpoint: Path, tmp_path: Path) -> None:
    changes = {"n_heads": 8, "dim": 64, "hidden_dim": 96}
    with pytest.warns(UserWarning, match="random weights; it needs training"):
        artifact = export(
            distilbert_checkpoint, tmp_path / "out", config=changes, from_scratch=True, precisions=("fp32",)
        )
    assert {key: artifact.config[key] for key in changes} == changes
    assert artifact.manifest.source["new_weights"] == ["all"]
    card = (artifact.folder / "README.md").read_text(encoding="utf-8")
    assert "The weights are random" in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precisions": ()}, "each may stand once, and one must"),
        ({"precisions": ("fp32", "int3")}, r"\['int3'\] are unknown; use some of fp32, int8"),
        ({"max_drop": 1.5}, "got 1.5; use a share from 0 up to 1"),
        ({"num_labels": 0}, "got 0; use 1 or more"),
    ],
    ids=["no precision", "unknown precision", "drop over one", "no labels"],
)
def test_options_out_of_range_are_refused_before_any_work(
    bert_checkpoint: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(bert_checkpoint, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []
