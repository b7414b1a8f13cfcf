"""Precisions: what is published of each, layers that stay in fp32, and forms that are passed over."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
import transformers

import ortolan
from benchmarks import zoo
from ortolan import Artifact, Model
from ortolan.config import SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.providers import provider_named
from ortolan_exporters import ToleranceError, choose, export, recipe
from ortolan_exporters.choose import Measured
from ortolan_exporters.example_inputs import Vocabulary, example_batch
from ortolan_exporters.graph_files import save_graph
from ortolan_exporters.resolve import Checkpoint
from tests import tiny
from tests.exporters.parity import load

pytestmark = pytest.mark.parity

FILES = {
    "fp32": "onnx/model.onnx",
    "int8": "onnx/model_quantized.onnx",
    "int8-static": "onnx/model_int8_static.onnx",
    "int4": "onnx/model_q4.onnx",
    "fp16": "onnx/model_fp16.onnx",
}
OPERATORS = {
    "fp32": set(),
    "int8": {"DynamicQuantizeLinear"},
    "int8-static": {"QuantizeLinear"},
    "int4": {"MatMulNBits"},
    "fp16": {"Cast"},
}
"""What stands in the graph of a precision and in no other."""

FORMS = {
    "fp32": {"fused", "unfused", "packed"},
    "int8": {"fused", "unfused", "packed"},
    "int8-static": {"fused", "unfused", "packed"},
    "int4": {"fused, level 4", "fused, level 1", "unfused, level 4", "unfused, level 1"},
    "fp16": set(),
}
NAMES = ("input_ids", "attention_mask", "token_type_ids")
FEED = example_batch(NAMES, 5, 20, vocabulary=Vocabulary(100))


def kinds(path: Path) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in ir.load(path).graph)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """What torch answers to `FEED`."""
    with torch.inference_mode():
        return tiny.bert()(**{name: torch.from_numpy(array) for name, array in FEED.items()}).logits.numpy()


def test_each_precision_has_a_file_and_its_operators(exported_in_all_precisions: Artifact) -> None:
    artifact = exported_in_all_precisions
    records = artifact.manifest.precisions
    assert {name: record.graphs["model"].file for name, record in records.items()} == FILES
    special = set().union(*OPERATORS.values()) - {"Cast"}
    for precision, file in FILES.items():
        assert set(kinds(artifact.folder / file)) & special == OPERATORS[precision] - {"Cast"}, precision
    sizes = {name: (artifact.folder / file).stat().st_size for name, file in FILES.items()}
    assert max(sizes, key=sizes.__getitem__) == "fp32"


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("fp32", 1e-5), ("int8", 0.15), ("int8-static", 0.3), ("int4", 1.0), ("fp16", 0.02)],
)
def test_each_precision_loads_and_answers_about_as_torch_does(
    exported_in_all_precisions: Artifact, precision: str, tolerance: float, expected: np.ndarray
) -> None:
    got = load(exported_in_all_precisions.folder / FILES[precision]).run(FEED)["logits"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=tolerance)
    assert precision == "fp32" or np.abs(got - expected).max() > 1e-5, "nothing was reduced"


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-static", "int4"])
def test_runtime_opens_each_precision_that_a_processor_runs(
    exported_in_all_precisions: Artifact, precision: str
) -> None:
    model = Model.load(exported_in_all_precisions.folder, "cpu", precision)
    assert model(**model.tokenizer(["a good film", "rain"])).logits.shape == (2, 2)


def test_artifact_of_all_precisions_verifies(exported_in_all_precisions: Artifact) -> None:
    checks = ortolan.verify(exported_in_all_precisions.folder)
    assert [check for check in checks if not check.passed] == []
    assert {check.name for check in checks} >= {f"golden outputs, {precision}" for precision in FILES}


def test_record_of_each_precision_says_how_far_it_is_from_torch(exported_in_all_precisions: Artifact) -> None:
    records = exported_in_all_precisions.manifest.precisions
    differences = {name: record.parity["max_difference"] for name, record in records.items()}
    assert differences["fp32"] < differences["fp16"] < differences["int8"] < differences["int4"]
    for record in records.values():
        assert record.quality["measure"] == "labels"
        assert record.quality["decisions"] == len(tiny.TEXTS)
        assert record.quality["max_drop"] == 0.5
    assert records["fp32"].quality["label_agreement"] == 1.0


def test_what_was_timed_is_recorded_but_for_fp16_which_this_processor_emulates(
    exported_in_all_precisions: Artifact,
) -> None:
    for precision, record in exported_in_all_precisions.manifest.precisions.items():
        choice = record.providers.get("cpu")
        if precision == "fp16":
            assert choice is None
            continue
        assert choice is not None
        assert {way["attention"] for way in choice["measured"]} == FORMS[precision]
        assert choice["attention"] in FORMS[precision]
        assert choice["measured"][0]["speed"] == max(way["speed"] for way in choice["measured"])


def test_forms_are_kept_for_tuning_and_answer_alike(exported_in_all_precisions: Artifact, expected: np.ndarray) -> None:
    artifact = exported_in_all_precisions
    for precision, record in artifact.manifest.precisions.items():
        assert set(record.forms) == FORMS[precision]
        for graph in record.forms.values():
            assert graph.file in artifact.manifest.files
            assert graph.signature == record.graphs["model"].signature
    fused = artifact.folder / artifact.manifest.precisions["fp32"].forms["fused"].file
    unfused = artifact.folder / artifact.manifest.precisions["fp32"].forms["unfused"].file
    assert kinds(fused)["MultiHeadAttention"] == 2
    assert kinds(unfused)["Softmax"] == 2


def test_forms_are_left_out_unasked(exported_bert: Artifact) -> None:
    assert [dict(record.forms) for record in exported_bert.manifest.precisions.values()] == [{}, {}]
    assert not (exported_bert.folder / "onnx" / "forms").exists()


# The gate.


def with_outliers() -> transformers.BertForSequenceClassification:
    """A BERT with two layers that int8 would ruin, and torch does not mind.

    In the first layer an activation of 20,000, which the next product ignores: with one scale for all activations no
    steps are left for the others. In the second a weight of 1,000 in each column of a product, by which an activation
    that is always zero is multiplied: with one scale a column no steps are left for the other weights.
    """
    module = tiny.bert()
    first, second = module.bert.encoder.layer
    with torch.no_grad():
        first.intermediate.dense.weight[0] = 0
        first.intermediate.dense.bias[0] = 20_000
        first.output.dense.weight[:, 0] = 0
        second.intermediate.dense.weight[0] = 0
        second.intermediate.dense.bias[0] = -1_000  # GELU makes zero of it
        second.output.dense.weight[:, 0] = 1_000
    return module


def test_gate_keeps_layers_that_int8_would_ruin_in_fp32(tmp_path: Path) -> None:
    checkpoint = tiny.save_checkpoint(tmp_path / "outliers", with_outliers())
    artifact = export(checkpoint, tmp_path / "out", precisions=("int8",))
    record = artifact.manifest.precisions["int8"]
    planted = [f"bert.encoder.layer.{number}.output.dense" for number in (0, 1)]
    assert set(planted) <= set(record.kept_fp32)
    assert len(record.kept_fp32) <= 4
    assert record.quality["mean_probability_difference"] <= 0.02
    names = {node.name for node in ir.load(artifact.folder / FILES["int8"]).graph if node.op_type == "MatMul"}
    assert set(planted) <= names, "they are float products"
    card = (artifact.folder / "README.md").read_text(encoding="utf-8")
    assert all(name in card for name in planted)


def test_model_that_writes_has_a_scale_for_each_block_where_one_for_all_does_not_pass(tmp_path: Path) -> None:
    module = zoo.model_for("gpt2", "text-generation")
    first = module.transformer.h[0].mlp
    with torch.no_grad():
        first.c_fc.weight[:, :32] = 0  # a block with the large one and 31 zeros
        first.c_fc.bias[:32] = 0
        first.c_fc.bias[0] = 20_000
        first.c_proj.weight[0] = 0
    checkpoint = tmp_path / "outliers"
    module.save_pretrained(checkpoint)
    zoo.tokenizer_for("gpt2").save_pretrained(checkpoint)
    artifact = export(checkpoint, tmp_path / "out", task="text-generation", precisions=("int8",))
    record = artifact.manifest.precisions["int8"]
    assert record.kept_fp32 == ()
    assert record.providers["cpu"]["attention"] == "fused, blocks"
    operators = kinds(artifact.folder / FILES["int8"])
    assert operators["MatMulNBits"]
    assert not operators["DynamicQuantizeLinear"]
    assert record.quality["label_agreement"] > 0.9


@pytest.mark.usefixtures("traced_before")
def test_nothing_is_published_when_no_mix_passes(
    bert_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ortolan_exporters.quality.MAX_MEAN_SHIFT", 1e-9)
    with pytest.raises(ToleranceError, match=r"int8 of 'tiny-bert' requested, .*allowed; leave it out, raise"):
        export(bert_checkpoint, tmp_path / "out")
    assert list(tmp_path.glob("*")) == []


def turned(graph: ir.Model) -> ir.Model:
    """The same graph with the weights of its classifier negated, whatever their type."""
    classifier = next(node for node in graph.graph if node.name == "classifier")
    weight = classifier.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    weight.const_value = ir.tensor(-weight.const_value.numpy(), name=weight.name)
    return graph


def test_fp32_that_differs_from_torch_is_not_published(
    bert_checkpoint: Path, bert_graph: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "trace", lambda _: {"model": turned(bert_graph.clone())})
    with pytest.raises(
        ToleranceError, match=r"fp32 of 'tiny-bert' requested, outputs differ by .* allowed; please report this"
    ):
        export(bert_checkpoint, tmp_path / "out", precisions=("fp32",))
    assert list(tmp_path.glob("*")) == []


def ranking(*ways: tuple[str, tuple[str, ...]], ruined: str) -> Callable[..., list[Measured]]:
    """Stand in for the measurement: ways in this order, the quickest first, one form of them with wrong answers."""

    def measure(files: Mapping[str, Mapping[str, Path]], *_: object) -> list[Measured]:
        save_graph(turned(ir.load(files[ruined]["model"])), files[ruined]["model"])
        return [Measured(*way, {"1 x 16": 1.0 + place}, 2.0 - place / 10) for place, way in enumerate(ways)]

    return measure


SLOW = ("SkipLayerNormFusion",)


@pytest.mark.usefixtures("traced_before")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_quickest_form_is_passed_over_where_it_answers_wrongly(
    precision: str,
    bert_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    order = ranking(("packed", ()), ("packed", SLOW), ("unfused", SLOW), ("fused", ()), ruined="packed")
    monkeypatch.setattr(choose, "measure", order)
    artifact = export(bert_checkpoint, tmp_path / "out", precisions=(precision,))
    record = artifact.manifest.precisions[precision]
    assert (record.providers["cpu"]["attention"], record.disabled_optimizers("cpu")) == ("unfused", SLOW)
    assert [way["attention"] for way in record.providers["cpu"]["measured"]] == ["packed", "packed", "unfused", "fused"]
    assert kinds(artifact.folder / FILES[precision])["Softmax"] > 0
    assert f"{precision}: packed is quickest and does not pass: " in capsys.readouterr().err
    assert [check for check in ortolan.verify(artifact.folder) if not check.passed] == []


@pytest.mark.usefixtures("traced_before")
def test_form_that_was_judged_first_is_left_where_no_other_passes(
    bert_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "measure", ranking(("unfused", ()), ("fused", ()), ruined="unfused"))
    artifact = export(bert_checkpoint, tmp_path / "out", precisions=("fp32",))
    assert artifact.manifest.precisions["fp32"].providers["cpu"]["attention"] == "fused"
    assert kinds(artifact.folder / FILES["fp32"])["MultiHeadAttention"] == 2


def load_form(files: Mapping[str, Path], disabled_optimizers: Sequence[str]) -> OrtSession:
    return OrtSession(files["model"], provider_named("cpu"), SessionConfig(provider="cpu"), disabled_optimizers)


def test_only_as_many_ways_are_timed_as_memory_holds(
    bert: Checkpoint,
    exported_in_all_precisions: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {key: {"model": exported_in_all_precisions.folder / FILES["fp32"]} for key in ("fused", "unfused")}
    size = files["fused"]["model"].stat().st_size
    monkeypatch.setattr(choose, "MAX_LOADED_BYTES", 3 * size)
    timed = choose.measure(files, load_form, bert)
    assert sorted((one.attention, one.disabled_optimizers) for one in timed) == [
        ("fused", ()),
        ("fused", SLOW),
        ("unfused", ()),
    ]
    assert "3 of 4 ways to run it are timed: more would not fit in memory" in capsys.readouterr().err
    monkeypatch.setattr(choose, "MAX_LOADED_BYTES", 0)
    assert [one.attention for one in choose.measure(files, load_form, bert)] == ["fused"], "one is left"


@pytest.mark.usefixtures("traced_before")
def test_labelled_data_decides_about_int8(bert_checkpoint: Path, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    rows = [{"text": text, "label": "LABEL_1"} for text in tiny.TEXTS]
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    artifact = export(bert_checkpoint, tmp_path / "out", eval_data=data, max_drop=0.5, precisions=("int8",))
    metric = artifact.manifest.precisions["int8"].quality["metric"]
    assert (metric["name"], metric["texts"]) == ("accuracy", len(tiny.TEXTS))
    assert metric["drop"] == pytest.approx(metric["torch"] - metric["this"])
