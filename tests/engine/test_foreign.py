from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ortolan
from ortolan import Artifact, ArtifactError, MissingFileError, Model, SignatureError, UnverifiedWarning, foreign
from ortolan.foreign import precision_of
from ortolan.graph_file import GraphFile
from ortolan.manifest import FileRecord
from ortolan.session.base import Signature, TensorSpec
from tests.engine.damage import (
    GOLDEN,
    as_hub_snapshot,
    as_optimum,
    as_sentence_transformers,
    as_transformers_js,
    edit_json,
)

TEXTS = ["the film was good", "what a great day, and rain"]
AXES = ["batch", "sequence"]
CLASSIFIER = "BertForSequenceClassification"


def load(folder: Path, precision: str = "fp32") -> Model:
    """Load a folder of another tool, as its users do who know what they load."""
    with pytest.warns(UnverifiedWarning):
        return Model.load(folder, "cpu", precision)


def say(folder: Path, **entries: object) -> Path:
    """Change config.json."""
    edit_json(folder / "config.json", lambda config: config.update(entries))
    return folder


def put_graph(
    path: Path,
    inputs: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = ("logits",),
    dtype: int = TensorProto.INT64,
    answer: int = TensorProto.FLOAT,
) -> None:
    """Write a graph that answers with the first of its inputs, cast; axes of an input by its name."""
    inputs = {"input_ids": AXES, "attention_mask": AXES} if inputs is None else inputs
    first, axes = next(iter(inputs.items()))
    made = [helper.make_tensor_value_info(name, dtype, axes) for name, axes in inputs.items()]
    answers = [helper.make_tensor_value_info(name, answer, axes) for name in outputs]
    nodes = [helper.make_node("Cast", [first], [name], to=answer) for name in outputs]
    graph = helper.make_graph(nodes, "g", made, answers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


@pytest.fixture
def optimum(artifact: Path) -> Path:
    """The golden model as optimum lays it out."""
    return as_optimum(artifact)


# Answers


@pytest.mark.parametrize("lay_out", [as_optimum, as_transformers_js], ids=["optimum", "transformers-js"])
def test_a_folder_of_another_tool_answers_as_the_artifact_does(artifact: Path, lay_out: Callable[[Path], Path]):
    expected = ortolan.pipeline("text-classification", GOLDEN, provider="cpu", precision="fp32")(TEXTS)
    with pytest.warns(UnverifiedWarning):
        pipe = ortolan.pipeline("text-classification", lay_out(artifact), provider="cpu", precision="fp32")
    assert pipe(TEXTS) == expected


def test_each_precision_is_the_graph_of_that_precision(optimum: Path):
    model, expected = load(optimum, "int8"), Model.load(GOLDEN, "cpu", "int8")
    inputs = model.tokenizer(TEXTS)
    assert model.precision == "int8"
    np.testing.assert_array_equal(model(**inputs).logits, expected(**inputs).logits)


def with_external_weights(folder: Path, file: str) -> Path:
    graph = onnx.load(folder / "model.onnx")
    onnx.save_model(graph, folder / "model.onnx", save_as_external_data=True, location=file, size_threshold=0)
    assert (folder / file).stat().st_size > 10_000
    return folder


@pytest.mark.parametrize("file", ["model.onnx_data", "model.onnx.data", "weights.bin"])
def test_weights_may_be_kept_in_a_file_of_their_own(optimum: Path, file: str):
    expected = load(optimum)(**load(optimum).tokenizer(TEXTS)).logits
    model = load(with_external_weights(optimum, file))
    np.testing.assert_array_equal(model(**model.tokenizer(TEXTS)).logits, expected)
    assert file in model.artifact.manifest.files


def test_weights_in_a_file_of_their_own_are_found_through_the_links_of_the_hub_s_cache(optimum: Path, tmp_path: Path):
    with_external_weights(optimum, "model.onnx_data")
    snapshot = as_hub_snapshot(optimum, tmp_path / "models--org--name", "0" * 40)
    assert load(snapshot).precision == "fp32"


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.INT32], ids=["int64", "int32"])
def test_inputs_may_have_32_or_64_bits(optimum: Path, dtype: int):
    put_graph(optimum / "model.onnx", dtype=dtype)
    model = load(optimum)
    assert model(input_ids=[[3, 4]], attention_mask=[[1, 1]]).logits.tolist() == [[3.0, 4.0]]


def test_positions_count_the_real_tokens_before(optimum: Path):
    put_graph(optimum / "model.onnx", {"position_ids": AXES, "input_ids": AXES})
    answer = load(optimum)(input_ids=[[9, 9, 9], [0, 9, 9]], attention_mask=[[1, 1, 0], [0, 1, 1]]).logits
    assert answer.tolist() == [[0, 1, 1], [0, 0, 1]]


def test_positions_that_are_passed_are_used(optimum: Path):
    put_graph(optimum / "model.onnx", {"position_ids": AXES, "input_ids": AXES})
    assert load(optimum)(input_ids=[[9, 9]], position_ids=[[5, 6]]).logits.tolist() == [[5, 6]]


def test_answers_in_float16_become_float32(optimum: Path):
    put_graph(optimum / "model.onnx", answer=TensorProto.FLOAT16)
    assert load(optimum)(input_ids=[[3]], attention_mask=[[1]]).logits.dtype == np.float32


# What is said


def test_a_warning_says_that_nothing_is_known_and_what_was_chosen(optimum: Path):
    with pytest.warns(UnverifiedWarning) as caught:
        Model.load(optimum, "cpu", "int8")
    [one] = caught
    assert str(one.message) == (
        f"'{optimum}' was exported by another tool, and nothing says how far its answers are from those of the "
        "original; int8 is model_quantized.onnx; for evidence, run: ortolan export CHECKPOINT -o DIR"
    )


def test_a_warning_names_the_graphs_that_were_not_chosen(optimum: Path):
    (optimum / "model_O2.onnx").write_bytes((optimum / "model.onnx").read_bytes())
    with pytest.warns(UnverifiedWarning, match=r"fp32 is model\.onnx and not model_O2\.onnx; for evidence"):
        Model.load(optimum, "cpu", "fp32")


def test_an_artifact_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Model.load(GOLDEN, "cpu", "fp32").artifact.is_foreign


def test_the_manifest_holds_what_the_files_say_and_no_evidence(optimum: Path):
    opened = Artifact.open(optimum)
    manifest = opened.manifest
    graph = manifest.precisions["int8"].graphs["model"]
    assert opened.is_foreign
    assert (manifest.task, manifest.architecture, manifest.max_length) == ("text-classification", "bert", 64)
    assert list(manifest.precisions) == ["fp32", "int8"]
    assert (graph.file, graph.signature.outputs) == (
        "model_quantized.onnx",
        (TensorSpec("logits", "float32", ("batch", 2)),),
    )
    assert manifest.files["model.onnx"] == FileRecord("", (optimum / "model.onnx").stat().st_size)
    assert manifest.golden_inputs == ()
    assert manifest.source == {"name": str(optimum), "left_out": {}}


def test_a_file_that_vanished_since_is_named(optimum: Path):
    opened = Artifact.open(optimum)
    (optimum / "model.onnx").unlink()
    with pytest.raises(MissingFileError, match=r"it lacks model\.onnx"):
        opened.check()


# Tasks


@pytest.mark.parametrize(
    ("name", "outputs", "task"),
    [
        pytest.param(CLASSIFIER, ("logits",), "text-classification", id="classifier"),
        pytest.param("XLMRobertaForTokenClassification", ("logits",), "token-classification", id="tagger"),
        pytest.param("BertForQuestionAnswering", ("start_logits", "end_logits"), "question-answering", id="questions"),
        pytest.param("DistilBertForMaskedLM", ("logits",), "fill-mask", id="masks"),
        pytest.param("LlamaForCausalLM", ("logits",), "text-generation", id="generator"),
        pytest.param("GPT2LMHeadModel", ("logits",), "text-generation", id="older-generator"),
        pytest.param("BertModel", ("last_hidden_state", "pooler_output"), "feature-extraction", id="no-head"),
        pytest.param("MPNetForMaskedLM", ("last_hidden_state",), "feature-extraction", id="head-left-out"),
        pytest.param(None, ("last_hidden_state",), "feature-extraction", id="nothing-said"),
    ],
)
def test_the_class_in_the_config_names_the_task(optimum: Path, name: str | None, outputs: tuple[str, ...], task: str):
    say(optimum, architectures=name and [name])
    put_graph(optimum / "model.onnx", outputs=outputs)
    assert load(optimum).artifact.manifest.task == task


@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings", "sentence_embedding"])
def test_a_model_of_sentence_transformers_embeds_sentences(artifact: Path, output: str):
    as_sentence_transformers(artifact)
    put_graph(artifact / "onnx" / "model.onnx", outputs=(output,))
    model = load(artifact)
    assert model.artifact.manifest.task == "sentence-embedding"
    assert "1_Pooling/config.json" in model.artifact.manifest.files


def test_a_task_that_the_model_does_not_serve_is_refused(optimum: Path):
    say(optimum, architectures=["BertModel"])
    put_graph(optimum / "model.onnx", outputs=("last_hidden_state",))
    with (
        pytest.warns(UnverifiedWarning),
        pytest.raises(ortolan.UnknownTaskError, match="the model serves 'feature-extraction'"),
    ):
        ortolan.pipeline("text-classification", optimum, provider="cpu", precision="fp32")


# Precisions


def graph_with(operators: set[str], weights: dict[str, int] | None = None, bits: int = 4) -> GraphFile:
    return GraphFile(Signature((), ()), frozenset(operators), weights or {"float32": 3}, frozenset({bits}), ())


@pytest.mark.parametrize(
    ("graph", "precision"),
    [
        pytest.param(graph_with({"MatMul"}), "fp32", id="float32"),
        pytest.param(graph_with({"MatMul"}, {"float16": 9, "float32": 1}), "fp16", id="float16"),
        pytest.param(graph_with({"DynamicQuantizeLinear", "MatMulInteger"}), "int8", id="dynamic"),
        pytest.param(graph_with({"DynamicQuantizeMatMul"}), "int8", id="dynamic-fused"),
        pytest.param(graph_with({"QuantizeLinear", "DequantizeLinear"}), "int8-static", id="static-pairs"),
        pytest.param(graph_with({"QLinearMatMul", "QuantizeLinear"}), "int8-static", id="static-operators"),
        pytest.param(graph_with({"MatMulNBits"}, {"float16": 9}), "int4", id="weights-in-4-bits"),
        pytest.param(graph_with({"MatMulNBits"}, bits=8), None, id="weights-in-8-bits"),
        pytest.param(graph_with({"MatMulBnb4"}), None, id="weights-as-bitsandbytes-packs-them"),
        pytest.param(graph_with({"DequantizeLinear", "MatMul"}), None, id="weights-alone-quantized"),
    ],
)
def test_the_precision_is_what_is_in_a_graph(graph: GraphFile, precision: str | None):
    assert precision_of(graph) == precision


def test_a_name_that_says_otherwise_is_not_believed(optimum: Path):
    (optimum / "model_quantized.onnx").rename(optimum / "model.onnx")
    assert list(Artifact.open(optimum).manifest.precisions) == ["int8"]


def test_a_folder_without_a_graph_of_a_known_precision_is_refused(optimum: Path):
    (optimum / "model.onnx").unlink()
    node = helper.make_node("MatMulBnb4", ["input_ids"], ["logits"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [], [])), optimum / "model_quantized.onnx")
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(optimum)
    assert str(caught.value) == (
        f"artifact '{optimum}' requested, none of model_quantized.onnx is fp32, int8, int8-static, int4, fp16; "
        "run: ortolan export CHECKPOINT -o DIR"
    )


# Lengths


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        pytest.param({"max_position_embeddings": 128}, {}, 128, id="positions"),
        pytest.param({"n_positions": 48}, {}, 48, id="positions-of-gpt2"),
        pytest.param({"model_type": "roberta", "max_position_embeddings": 514}, {}, 512, id="roberta"),
        pytest.param({"model_type": "xlm-roberta", "max_position_embeddings": 514}, {}, 512, id="xlm-roberta"),
        pytest.param(
            {"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 1}, {}, 512, id="padding-is-1"
        ),
        pytest.param(
            {"model_type": "esm", "max_position_embeddings": 1026, "pad_token_id": 0}, {}, 1025, id="padding-is-0"
        ),
        pytest.param({"max_position_embeddings": 128}, {"model_max_length": 32}, 32, id="tokenizer-says-less"),
        pytest.param({"max_position_embeddings": 128}, {"model_max_length": 512}, 128, id="tokenizer-says-more"),
        pytest.param({"max_position_embeddings": 128}, {"model_max_length": 10**30}, 128, id="tokenizer-without-limit"),
        pytest.param({}, {"model_max_length": 32}, 32, id="only-the-tokenizer-says"),
        pytest.param({}, {}, 512, id="nothing-said"),
        pytest.param({"max_position_embeddings": -1}, {"model_max_length": "many"}, 512, id="nothing-sensible-said"),
    ],
)
def test_a_length_is_the_smallest_that_the_files_say(
    optimum: Path, config: dict[str, Any], tokenizer: dict[str, Any], expected: int
):
    (optimum / "config.json").write_text(json.dumps({"architectures": [CLASSIFIER], **config}))
    (optimum / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert Artifact.open(optimum).manifest.max_length == expected


def test_sentence_transformers_own_limit_counts(artifact: Path):
    assert Artifact.open(as_sentence_transformers(artifact)).manifest.max_length == 32


# Graphs that can't be used


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        pytest.param(
            {},
            {"input_ids": AXES, "past_key_values.0.key": ["batch", 2, "past", 8]},
            "it reads input_ids, past_key_values.0.key; export it with inputs among input_ids, attention_mask, "
            "token_type_ids, position_ids, input_ids at least",
            id="past-of-a-classifier",
        ),
        pytest.param(
            {"architectures": ["GPTBigCodeForCausalLM"]},
            {"input_ids": AXES, "past_key_values.0.key_value": ["batch", "past", 16]},
            "past_key_values.0.key_value is int64['batch', 'past', 16]; export it with [batch, heads, past, size], the "
            "second and last fixed",
            id="past-of-another-shape",
        ),
        pytest.param(
            {},
            {"input_ids": AXES, "global_attention_mask": AXES},
            "it reads input_ids, global_attention_mask; export it with inputs among input_ids, attention_mask, "
            "token_type_ids, position_ids, input_ids at least",
            id="another-input",
        ),
        pytest.param(
            {"model_type": "roberta"},
            {"input_ids": AXES, "position_ids": AXES},
            "it reads input_ids, position_ids; export it with inputs among input_ids, attention_mask, token_type_ids, "
            "input_ids at least",
            id="positions-that-count-from-the-padding",
        ),
        pytest.param(
            {},
            {"attention_mask": AXES},
            "it reads attention_mask; export it with inputs among input_ids, attention_mask, token_type_ids, "
            "position_ids, input_ids at least",
            id="no-input-ids",
        ),
        pytest.param(
            {},
            {"input_ids": [1, 128]},
            "input_ids is int64[1, 128]; export it with int64 inputs of axes that vary: [batch, sequence]",
            id="fixed-shape",
        ),
        pytest.param(
            {},
            {"input_ids": ["batch"]},
            "input_ids is int64['batch']; export it with int64 inputs of axes that vary: [batch, sequence]",
            id="one-axis",
        ),
    ],
)
def test_a_graph_with_other_inputs_is_refused(
    optimum: Path, config: dict[str, Any], inputs: dict[str, Any], message: str
):
    say(optimum, **config)
    put_graph(optimum / "model.onnx", inputs)
    with pytest.raises(SignatureError) as caught:
        Model.load(optimum, "cpu", "fp32")
    assert str(caught.value) == f"graph 'model.onnx' requested, {message}"


def test_a_graph_that_reads_fractions_is_refused(optimum: Path):
    put_graph(optimum / "model.onnx", {"input_ids": AXES}, dtype=TensorProto.DOUBLE)
    with pytest.raises(SignatureError, match=r"input_ids is float64\['batch', 'sequence'\]"):
        Model.load(optimum, "cpu", "fp32")


@pytest.mark.parametrize(
    ("name", "outputs", "found"),
    [
        pytest.param(
            CLASSIFIER,
            ("last_hidden_state",),
            "it gives last_hidden_state and text-classification reads logits",
            id="classifier-without-head",
        ),
        pytest.param(
            "BertForQuestionAnswering",
            ("start_logits",),
            "it gives start_logits and question-answering reads start_logits and end_logits",
            id="half-an-answer",
        ),
        pytest.param(
            "BertForMultipleChoice",
            ("logits",),
            "it gives logits and feature-extraction reads last_hidden_state",
            id="unknown-head",
        ),
    ],
)
def test_a_graph_without_what_its_task_reads_is_refused(optimum: Path, name: str, outputs: tuple[str, ...], found: str):
    say(optimum, architectures=[name])
    put_graph(optimum / "model.onnx", outputs=outputs)
    with pytest.raises(SignatureError) as caught:
        Model.load(optimum, "cpu", "fp32")
    assert caught.value.found == found


def test_a_model_in_pieces_is_refused(optimum: Path):
    (optimum / "model.onnx").rename(optimum / "encoder_model.onnx")
    (optimum / "model_quantized.onnx").rename(optimum / "decoder_model_merged.onnx")
    with pytest.raises(ArtifactError, match=r"pieces of a model that generates: decoder_model_merged\.onnx, encoder_m"):
        Model.load(optimum)


# Files that are missing, damaged or outside


def test_a_folder_without_graphs_says_how_to_make_some(optimum: Path):
    for graph in optimum.glob("*.onnx"):
        graph.unlink()
    with pytest.raises(MissingFileError) as caught:
        Artifact.open(optimum)
    assert str(caught.value) == (
        f"artifact '{optimum}' requested, the folder has neither ortolan.json nor model.onnx; "
        f"run: ortolan export {optimum} -o DIR, if it is a checkpoint"
    )


def test_without_a_fast_tokenizer_the_slow_one_needs_converting(optimum: Path):
    (optimum / "tokenizer.json").rename(optimum / "vocab.txt")
    with pytest.raises(MissingFileError) as caught:
        Model.load(optimum)
    assert str(caught.value) == (
        f"artifact '{optimum}' requested, it lacks tokenizer.json, and has a slow tokenizer: vocab.txt; "
        "convert it where transformers is installed: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
    )


def test_without_any_tokenizer_only_that_is_said(optimum: Path):
    (optimum / "tokenizer.json").unlink()
    with pytest.raises(MissingFileError) as caught:
        Model.load(optimum)
    assert caught.value.found == "it lacks tokenizer.json"


def test_a_missing_config_is_named(optimum: Path):
    (optimum / "config.json").unlink()
    with pytest.raises(MissingFileError, match=r"it lacks config\.json; copy or download it again"):
        Artifact.open(optimum)


def test_missing_weights_are_named(optimum: Path):
    (with_external_weights(optimum, "model.onnx_data") / "model.onnx_data").unlink()
    with pytest.raises(MissingFileError, match=r"it lacks model\.onnx_data; copy or download it again"):
        Artifact.open(optimum)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param("{", r"config\.json cannot be read \(", id="cut-off"),
        pytest.param("\ufffe" * 2, r"config\.json cannot be read \(", id="no-json"),
        pytest.param("[" * 100_000, r"config\.json cannot be read \(", id="nested-without-end"),
        pytest.param("[]", r"config\.json is no JSON object", id="list"),
    ],
)
def test_a_damaged_config_is_named(optimum: Path, content: str, found: str):
    (optimum / "config.json").write_text(content)
    with pytest.raises(ArtifactError, match=found):
        Artifact.open(optimum)


def test_a_config_without_end_is_not_read_to_its_end(optimum: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(foreign, "MAX_JSON_BYTES", 100)
    with pytest.raises(ArtifactError, match=r"config\.json cannot be read \(more than 100 bytes\)"):
        Artifact.open(optimum)


def test_a_damaged_graph_is_named(optimum: Path):
    (optimum / "model_quantized.onnx").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"model_quantized\.onnx' requested, it is no ONNX graph"):
        Artifact.open(optimum)


def name_weights(folder: Path, location: str) -> None:
    """Let a graph say that its weights are somewhere else."""
    with_external_weights(folder, "model.onnx_data")
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    for weight in graph.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = location
    (folder / "model.onnx").write_bytes(graph.SerializeToString())


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "C:\\secret", "..\\secret"])
def test_weights_outside_the_folder_are_refused(optimum: Path, location: str):
    name_weights(optimum, location)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(optimum)
    assert (caught.value.found, caught.value.remedy) == (
        f"'model.onnx' reads weights outside the folder: {location!r}",
        "do not use it",
    )


@pytest.mark.parametrize("location", ["x" * 5000, "a\0b"], ids=["too-long", "null"])
def test_weights_in_a_file_that_cannot_be_are_missing(optimum: Path, location: str):
    name_weights(optimum, location)
    with pytest.raises(MissingFileError, match="it lacks "):
        Artifact.open(optimum)


@pytest.mark.parametrize("path", ["../other", "/etc", "1_Pooling/../../x"])
def test_modules_outside_the_folder_are_refused(artifact: Path, path: str):
    modules = as_sentence_transformers(artifact) / "modules.json"
    modules.write_text(json.dumps([{"idx": 0, "name": "0", "path": path, "type": "any"}]))
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(artifact)
    assert caught.value.found == f"modules.json names a folder outside: {path!r}"


@pytest.mark.parametrize("document", [5, {"path": "x"}, ["1_Pooling"], [{"type": "any"}], None], ids=repr)
def test_a_list_of_modules_that_is_none_is_refused(artifact: Path, document: object):
    (as_sentence_transformers(artifact) / "modules.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"modules\.json is no list of modules"):
        Artifact.open(artifact)
