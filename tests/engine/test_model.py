from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortolan import (
    ConfigError,
    HashMismatchError,
    InvalidInputError,
    MissingFileError,
    Model,
    ModelOutput,
    ProviderError,
    SessionError,
    ShapeError,
    SignatureError,
)
from ortolan import model as model_module
from ortolan.session import providers
from ortolan.session.base import Stop
from ortolan.session.providers import PROVIDERS
from tests.engine.damage import GOLDEN, edit_manifest, rehash
from tests.engine.fakes import IDS, MASK, FakeOnnxRuntime, FakeSession, fake_model

IDS_OF_A_TEXT = [[2, 5, 7, 8, 9, 3]]
GOLDEN_LOGITS = [-2.005749, 0.328487]  # what ortolan.json records for it in fp32


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(GOLDEN, provider="cpu", precision="fp32", num_threads=1)


def arrays(rows: int = 1, columns: int = 3) -> dict[str, Any]:
    return {name: np.ones((rows, columns), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}


# Outputs


@pytest.fixture
def output() -> ModelOutput:
    return ModelOutput({"logits": np.array([[1.0, 2.0]]), "pooled": np.array([[3.0]])})


def test_an_output_is_found_as_attribute(output: ModelOutput):
    assert output.logits.tolist() == [[1.0, 2.0]]


def test_an_output_is_found_by_key(output: ModelOutput):
    assert output["pooled"].tolist() == [[3.0]]


@pytest.mark.parametrize(("index", "value"), [(0, [[1.0, 2.0]]), (1, [[3.0]]), (-1, [[3.0]])])
def test_an_output_is_found_by_place(output: ModelOutput, index: int, value: list[list[float]]):
    assert output[index].tolist() == value


def test_an_unknown_attribute_names_the_outputs(output: ModelOutput):
    with pytest.raises(AttributeError, match=r"no output 'hidden'; there are \['logits', 'pooled'\]"):
        _ = output.hidden


def test_an_unknown_key_is_a_key_error(output: ModelOutput):
    with pytest.raises(KeyError, match="hidden"):
        output["hidden"]


def test_outputs_are_a_mapping(output: ModelOutput):
    assert (list(output), len(output), "logits" in output) == (["logits", "pooled"], 2, True)


def test_outputs_show_types_and_shapes(output: ModelOutput):
    assert repr(output) == "ModelOutput(logits: float64[1, 2], pooled: float64[1, 1])"


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda output: pickle.loads(pickle.dumps(output))], ids=str
)
def test_outputs_can_be_copied(output: ModelOutput, duplicate: Any):
    assert duplicate(output).logits.tolist() == [[1.0, 2.0]]


# Running


def test_a_run_gives_the_golden_logits(model: Model):
    outputs = model(input_ids=IDS_OF_A_TEXT, attention_mask=np.ones((1, 6)), token_type_ids=np.zeros((1, 6)))
    assert outputs.logits[0].tolist() == pytest.approx(GOLDEN_LOGITS, abs=1e-4)


def test_token_type_ids_default_to_zeros(model: Model):
    outputs = model(input_ids=IDS_OF_A_TEXT, attention_mask=np.ones((1, 6)))
    assert outputs.logits[0].tolist() == pytest.approx(GOLDEN_LOGITS, abs=1e-4)


def test_int32_inputs_are_cast(model: Model):
    encoded = {name: array.astype(np.int32) for name, array in model.tokenizer("the film was good").items()}
    assert model(**encoded).logits[0].tolist() == pytest.approx(GOLDEN_LOGITS, abs=1e-4)


def test_a_row_answers_the_same_alone_and_padded_beside_a_longer_one(model: Model):
    together = model(**model.tokenizer(["the film was good", "i hate the awful plot and the worst music ever !"]))
    assert together.logits[0].tolist() == pytest.approx(GOLDEN_LOGITS, abs=1e-4)


def test_inputs_may_come_as_one_mapping(model: Model):
    found = model.run(model.tokenizer("the film was good"))
    assert found.logits[0].tolist() == pytest.approx(GOLDEN_LOGITS, abs=1e-4)


def test_a_stop_ends_a_run(model: Model):
    stop = Stop()
    stop.set()
    with pytest.raises(SessionError, match="it was stopped before it was done"):
        model.run(model.tokenizer("the film was good"), stop)


def test_an_input_that_the_graph_does_not_read_is_ignored(artifact: Path):
    session = FakeSession(inputs=(IDS, MASK))
    fake_model(artifact, session)(**arrays(), position_ids=np.ones((1, 3)))
    assert set(session.feed) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("name", ["input_ids", "attention_mask"])
def test_a_missing_input_is_named(model: Model, name: str):
    inputs = arrays()
    del inputs[name]
    with pytest.raises(InvalidInputError) as caught:
        model(**inputs)
    assert str(caught.value) == (
        f"a run with {sorted(inputs)} requested, {name} is missing; pass model(**tokenizer(texts))"
    )


def test_no_input_at_all_names_every_one_that_is_missing(model: Model):
    with pytest.raises(InvalidInputError, match="input_ids, attention_mask, token_type_ids is missing"):
        model()


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({**arrays(), "attention_mask": np.ones((1, 2))}, id="other-length"),
        pytest.param({**arrays(), "attention_mask": np.ones((2, 3))}, id="other-number-of-rows"),
        pytest.param({name: array[0] for name, array in arrays().items()}, id="no-batch-axis"),
        pytest.param({name: array[None] for name, array in arrays().items()}, id="three-axes"),
        pytest.param(arrays(0, 3), id="no-rows"),
        pytest.param(arrays(1, 0), id="no-tokens"),
        pytest.param(arrays(1, 65), id="longer-than-the-model-reads"),
    ],
)
def test_a_wrong_shape_is_refused_with_what_is_right(artifact: Path, inputs: dict[str, Any]):
    with pytest.raises(ShapeError, match="inputs are \\[B, S\\], equal, not empty, with S at most 64"):
        fake_model(artifact)(**inputs)


def test_a_wrong_shape_is_refused_before_the_graph_runs(artifact: Path):
    session = FakeSession()
    with pytest.raises(ShapeError):
        fake_model(artifact, session)(**arrays(1, 65))
    assert session.shapes == []


def test_rows_of_different_length_are_refused(model: Model):
    with pytest.raises(ShapeError):
        model(**{**arrays(), "input_ids": [[1, 2, 3], [4]]})


def test_the_longest_row_that_the_model_reads_runs(model: Model):
    assert model(**arrays(2, 64)).logits.shape == (2, 2)


def test_ids_that_are_not_numbers_are_refused(model: Model):
    with pytest.raises(InvalidInputError):
        model(**{**arrays(), "input_ids": [["the", "film", "was"]]})


# Loading


def test_a_loaded_model_says_what_it_is(model: Model):
    assert (model.precision, model.provider, model.reason) == ("fp32", "cpu", "asked for")


@pytest.mark.parametrize(
    ("features", "precision"), [({"avx512_vnni"}, "int8"), ({"avx2"}, "fp32")], ids=["vnni", "no-vnni"]
)
def test_auto_takes_the_precision_that_suits_the_cpu(
    monkeypatch: pytest.MonkeyPatch, features: set[str], precision: str
):
    monkeypatch.setattr(providers, "cpu_features", lambda: frozenset(features))
    monkeypatch.setattr(providers, "int8_saturates", lambda: "avx512_vnni" not in features)
    assert Model.load(GOLDEN, provider="cpu").precision == precision


@pytest.mark.parametrize("precision", ["fp8", "INT8", "", None], ids=repr)
def test_an_unknown_precision_names_the_known(precision: Any):
    with pytest.raises(ConfigError) as caught:
        Model.load(GOLDEN, precision=precision)
    known = "auto, fp32, int8, int8-static, int4, fp16"
    assert str(caught.value) == f"precision {precision!r} requested, no such precision; use {known}"


def test_a_precision_that_the_provider_has_no_kernels_for_names_who_has(artifact: Path):
    def add_fp16(manifest: dict[str, Any]) -> None:
        manifest["precisions"]["fp16"] = manifest["precisions"]["fp32"]

    edit_manifest(artifact, add_fp16)
    with pytest.raises(ConfigError) as caught:
        Model.load(artifact, provider="cpu", precision="fp16")
    assert str(caught.value) == (
        "precision 'fp16' on provider 'cpu' requested, it runs int8, int8-static, fp32, int4; "
        "choose one of those, or provider cuda, tensorrt, dml, openvino, coreml"
    )


def test_a_precision_that_the_artifact_lacks_names_what_it_has(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest["precisions"].pop("int8"))
    with pytest.raises(ConfigError) as caught:
        Model.load(artifact, provider="cpu", precision="int8")
    assert str(caught.value) == (
        "precision 'int8' requested, the artifact holds fp32; choose one of those, or export it with --precision"
    )


def test_auto_takes_the_only_precision_there_is(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest["precisions"].pop("fp32"))
    assert Model.load(artifact, provider="cpu").precision == "int8"


def test_an_unknown_provider_is_refused():
    with pytest.raises(ConfigError, match="provider 'tpu' requested, no such provider"):
        Model.load(GOLDEN, provider="tpu")


def test_an_option_that_the_provider_does_not_take_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match="provider_options for 'cuda' requested, there is no 'graphs'"):
        Model.load("/nowhere", "cuda", provider_options={"graphs": True})


def test_options_without_a_named_provider_are_refused():
    with pytest.raises(ConfigError, match="provider is 'auto'"):
        Model.load(GOLDEN, provider_options={"arena_bytes": 1 << 30})


def test_a_provider_that_this_build_lacks_is_refused_and_not_replaced(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(providers, "onnxruntime", lambda: FakeOnnxRuntime("CPUExecutionProvider"))
    with pytest.raises(
        ProviderError, match=r"available: \['CPUExecutionProvider'\]; run: pip install 'ortolan\[gpu\]'"
    ):
        Model.load(GOLDEN, provider="cuda")


def fail_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with CUDA on a machine without a driver: cuda does not come up, cpu does."""
    real = model_module.open_graphs

    def open_graphs(artifact: Any, provider: Any, *rest: Any) -> Any:
        if provider.name == "cuda":
            raise ProviderError("provider 'CUDAExecutionProvider' requested", "no driver", "choose 'cpu'")
        return real(artifact, provider, *rest)

    monkeypatch.setattr(model_module, "open_graphs", open_graphs)
    monkeypatch.setattr(model_module, "candidates", lambda name: [PROVIDERS["cuda"], PROVIDERS["cpu"]])


def test_auto_goes_on_to_the_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch):
    fail_on_cuda(monkeypatch)
    monkeypatch.setattr(providers, "cpu_features", lambda: frozenset({"avx_vnni"}))
    monkeypatch.setattr(providers, "int8_saturates", lambda: False)
    model = Model.load(GOLDEN)
    assert (model.provider, model.reason) == ("cpu", "cuda: no driver; the CPU has AVX-VNNI")


def test_a_named_provider_that_does_not_come_up_is_not_replaced(monkeypatch: pytest.MonkeyPatch):
    fail_on_cuda(monkeypatch)
    with pytest.raises(ProviderError, match="no driver"):
        Model.load(GOLDEN, provider="cuda")


def test_decoder_that_writes_its_cache_in_place_is_refused_where_memory_is_not_that_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
):
    device = replace(PROVIDERS["cpu"], name="cuda")  # runs anything; only its name is that of a device
    monkeypatch.setattr(model_module, "candidates", lambda name: [device, PROVIDERS["cpu"]])
    message = "provider 'cuda' for a model that writes requested, its cache lies in main memory, .*layout 'portable'"
    with pytest.raises(ProviderError, match=message):
        Model.load(GOLDEN.with_name("artifact-v3"), "cuda", "fp32")
    model = Model.load(GOLDEN.with_name("artifact-v3"), "auto", "fp32")
    assert model.provider == "cpu"
    assert model.reason.startswith("cuda: its cache lies in main memory")


def test_no_provider_at_all_is_a_provider_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_module, "candidates", lambda name: [])
    with pytest.raises(ProviderError, match="a provider requested, none comes up: none is available"):
        Model.load(GOLDEN)


def test_a_changed_graph_is_named(artifact: Path):
    (artifact / "onnx" / "model.onnx").write_bytes(b"other")
    with pytest.raises(HashMismatchError, match=r"onnx/model\.onnx differs"):
        Model.load(artifact, provider="cpu", precision="fp32")


def test_a_graph_of_another_precision_is_not_read(artifact: Path):
    (artifact / "onnx" / "model_quantized.onnx").unlink()
    assert Model.load(artifact, provider="cpu", precision="fp32").precision == "fp32"


def test_a_changed_tokenizer_is_named(artifact: Path):
    (artifact / "tokenizer.json").write_text("{}")
    with pytest.raises(HashMismatchError, match=r"tokenizer\.json differs"):
        Model.load(artifact, provider="cpu")


def test_a_missing_graph_is_named(artifact: Path):
    (artifact / "onnx" / "model.onnx").unlink()
    with pytest.raises(MissingFileError, match=r"it lacks onnx/model\.onnx"):
        Model.load(artifact, provider="cpu", precision="fp32")


def test_a_graph_that_cannot_be_loaded_is_a_session_error(artifact: Path):
    (artifact / "onnx" / "model.onnx").write_bytes(b"other")
    rehash(artifact, "onnx/model.onnx")
    with pytest.raises(SessionError, match=r"'model\.onnx' on provider 'CPUExecutionProvider' requested"):
        Model.load(artifact, provider="cpu", precision="fp32")


def swap_graph(folder: Path) -> None:
    """Put a graph with other inputs in the place of the model, hash included."""
    import onnx
    from onnx import TensorProto, helper

    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence"])
    node = helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)
    graph = helper.make_graph([node], "other", [ids], [logits])
    other = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(other, folder / "onnx" / "model.onnx")
    rehash(folder, "onnx/model.onnx")


def test_a_graph_with_another_signature_is_refused_although_its_hash_is_right(artifact: Path):
    swap_graph(artifact)
    with pytest.raises(SignatureError) as caught:
        Model.load(artifact, provider="cpu", precision="fp32")
    assert "attention_mask" in caught.value.found


def test_a_graph_of_another_shape_shows_where_it_differs(artifact: Path):
    def five_labels(manifest: dict[str, Any]) -> None:
        manifest["precisions"]["fp32"]["graphs"]["model"]["signature"]["outputs"][0]["shape"] = ["batch", 5]

    edit_manifest(artifact, five_labels)
    with pytest.raises(SignatureError) as caught:
        Model.load(artifact, provider="cpu", precision="fp32")
    # names alone are the same on both sides
    assert "5" in caught.value.found
