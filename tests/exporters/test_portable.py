"""`layout="portable"`: standard operators, the files and names of optimum, and the tokens of transformers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import transformers
from transformers.models.gemma2 import modeling_gemma2

import ortolan
from benchmarks import zoo
from ortolan import Artifact, ConfigError
from ortolan.cli import main
from ortolan_exporters import TraceError, export, fused, portable
from ortolan_exporters.config import ExportConfig

pytestmark = pytest.mark.parity

TASKS = {
    "gpt2": "text-generation",
    "llama": "text-generation",
    "mistral": "text-generation",
    "qwen2": "text-generation",
    "opt": "text-generation",
    "bart": "text2text-generation",
    "t5": "text2text-generation",
    "marian": "text2text-generation",
}
QUICK = ("gpt2", "bart")

TEXTS = ["the film was good", "rain", "what a great day , and so very much of it"]


@pytest.fixture(
    scope="module", params=[pytest.param(one, marks=[] if one in QUICK else [pytest.mark.slow]) for one in TASKS]
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    """A checkpoint, and what was exported of it in fp32 and int8."""
    task = TASKS[request.param]
    folder = zoo.save(tmp_path_factory.mktemp(request.param) / "checkpoint", request.param, task)
    artifact = export(
        folder, folder.parent / "artifact", task, precisions=("fp32", "int8"), max_drop=0.9, layout="portable"
    )
    return folder, artifact


def with_encoder(artifact: Artifact) -> bool:
    return artifact.manifest.task == "text2text-generation"


def test_every_operator_is_one_of_onnx_itself(made: tuple[Path, Artifact]) -> None:
    files = sorted(made[1].folder.glob("onnx/*.onnx"))
    assert len(files) == (6 if with_encoder(made[1]) else 2)
    for file in files:
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=True)
        assert {entry.domain for entry in model.opset_import} == {""}
        assert all(node.domain == "" and onnx.defs.has(node.op_type) for node in model.graph.node)
        assert not model.functions


def test_files_and_names_are_those_of_optimum(made: tuple[Path, Artifact]) -> None:
    artifact = made[1]

    def names(stem: str) -> tuple[list[str], list[str]]:
        session = onnxruntime.InferenceSession(artifact.folder / "onnx" / f"{stem}.onnx")
        return [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]

    parts = ("key", "value")
    if not with_encoder(artifact):
        kept = [f"{layer}.{part}" for layer in range(2) for part in parts]
        inputs = ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{one}" for one in kept)]
        assert names("model") == (inputs, ["logits", *(f"present.{one}" for one in kept)])
        return
    own, cross = (
        [f"{layer}.{whose}.{part}" for layer in range(2) for part in parts] for whose in ("decoder", "encoder")
    )
    # key and value of the decoder, then of the encoder, layer by layer: optimum takes them by their places
    both = [*own[:2], *cross[:2], *own[2:], *cross[2:]]
    assert names("encoder_model") == (["input_ids", "attention_mask"], ["last_hidden_state"])
    inputs, outputs = names("decoder_model")
    assert set(inputs) == {"input_ids", "encoder_attention_mask", "encoder_hidden_states"}
    assert outputs == ["logits", *(f"present.{one}" for one in both)]
    inputs, outputs = names("decoder_with_past_model")
    assert inputs == ["input_ids", "encoder_attention_mask", *(f"past_key_values.{one}" for one in both)]
    assert outputs == ["logits", *(f"present.{one}" for one in own)]


@pytest.mark.parametrize("beams", [1, 2])
def test_tokens_are_those_of_transformers(made: tuple[Path, Artifact], beams: int) -> None:
    folder, artifact = made
    pipe = ortolan.pipeline(artifact.manifest.task, artifact.folder, provider="cpu", precision="fp32")
    options: dict[str, Any] = {"max_new_tokens": 9, "num_beams": beams, "do_sample": False, "return_tensors": True}
    together = [found[0] if isinstance(found, list) else found for found in pipe(TEXTS, **options)]
    [lone] = pipe(TEXTS[0], **options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    auto = transformers.AutoModelForSeq2SeqLM if with_encoder(artifact) else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(folder).eval()
    for text, found in zip(TEXTS, together, strict=True):
        with torch.inference_mode():
            encoded = tokenizer(text, return_tensors="pt")
            [wanted] = model.generate(**encoded, max_new_tokens=9, num_beams=beams, do_sample=False)
        assert found["generated_token_ids"] == wanted.tolist()
    assert lone == together[0]


def test_without_its_manifest_it_is_a_folder_of_optimum(made: tuple[Path, Artifact], tmp_path: Path) -> None:
    artifact = made[1]
    folder = shutil.copytree(artifact.folder, tmp_path / "optimum")
    (folder / "ortolan.json").unlink()
    for graph in (folder / "onnx").iterdir():
        graph.rename(folder / graph.name)
    with pytest.warns(ortolan.UnverifiedWarning):
        foreign = ortolan.pipeline(artifact.manifest.task, folder, provider="cpu", precision="fp32")
    own = ortolan.pipeline(artifact.manifest.task, artifact.folder, provider="cpu", precision="fp32")
    assert foreign(TEXTS, max_new_tokens=9, do_sample=False) == own(TEXTS, max_new_tokens=9, do_sample=False)
    assert foreign.model.artifact.manifest.precisions.keys() == artifact.manifest.precisions.keys()


def test_int8_writes_and_verifies(made: tuple[Path, Artifact], capsys: pytest.CaptureFixture[str]) -> None:
    artifact = made[1]
    pipe = ortolan.pipeline(artifact.manifest.task, artifact.folder, provider="cpu", precision="int8")
    assert all(pipe(TEXTS, max_new_tokens=5))
    assert main(["verify", str(artifact.folder)]) == 0
    assert "int8" in capsys.readouterr().out


def test_layout_is_in_manifest_card_and_inspect(
    made: tuple[Path, Artifact], capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = made[1]
    assert artifact.manifest.layout == "portable"
    assert "standard ONNX operators alone" in (artifact.folder / "README.md").read_text()
    assert main(["inspect", str(artifact.folder)]) == 0
    assert ", portable layout\n" in capsys.readouterr().out


def test_encoder_has_standard_operators_too(tmp_path: Path, bert_checkpoint: Path) -> None:
    artifact = export(bert_checkpoint, tmp_path / "bert", precisions=("fp32", "int8"), max_drop=0.5, layout="portable")
    assert sorted(path.name for path in artifact.folder.glob("onnx/*")) == [
        "model.onnx",
        "model_quantized.onnx",
    ]
    for path in artifact.folder.glob("onnx/*"):
        portable.check_standard([ir.load(path)])
    pipe = ortolan.pipeline("text-classification", artifact.folder, provider="cpu", precision="fp32")
    theirs = transformers.pipeline("text-classification", str(bert_checkpoint), device="cpu")
    for ours, wanted in zip(pipe(TEXTS), theirs(TEXTS), strict=True):
        assert ours["label"] == wanted["label"]
        np.testing.assert_allclose(ours["score"], wanted["score"], atol=1e-5)


@pytest.mark.parametrize("softcap", [None, 1.5])
def test_plain_attention_is_that_of_transformers(softcap: float | None) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    mask = torch.zeros(2, 1, 5, 7)
    mask[:, :, :, 6] = fused.MASKED
    layer = torch.nn.Module().eval()
    layer.num_key_value_groups = 2  # type: ignore[assignment]  # as those of transformers have it
    given = (layer, query, key, value, mask)
    wanted, _ = modeling_gemma2.eager_attention_forward(*given, scaling=0.3, softcap=softcap)
    found, _ = portable.plain_attention(*given, scaling=0.3, softcap=softcap)
    torch.testing.assert_close(found, wanted)


def test_operators_of_a_runtime_are_named_and_refused() -> None:
    value = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    own = ir.node("FastGelu", [value], domain="com.microsoft")
    hidden = ir.node("SimplifiedLayerNormalization", [own.outputs[0], value])  # of ONNX by its domain alone
    fine = ir.node("Relu", [hidden.outputs[0]])
    model = ir.Model(ir.Graph([value], fine.outputs, nodes=[own, hidden, fine], opset_imports={"": 20}), ir_version=10)
    with pytest.raises(TraceError, match="needs SimplifiedLayerNormalization, com.microsoft::FastGelu; export it"):
        portable.check_standard([model])


def test_layout_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="layout 'optimum' requested, no such layout; use fused or portable"):
        ExportConfig(layout="optimum")


def test_int4_needs_the_fused_layout() -> None:
    with pytest.raises(ConfigError, match="MatMulNBits"):
        ExportConfig(layout="portable", precisions=("int4",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"outputs": ("hidden_states",)}, "hidden_states of every layer are asked for too"),
        ({"precisions": ("int8-static",)}, "int8-static is not there for one with an encoder"),
    ],
)
def test_what_the_layout_has_no_place_for_is_refused(tmp_path: Path, options: Any, message: str) -> None:
    folder = zoo.save(tmp_path / "checkpoint", "t5", "text2text-generation")
    with pytest.raises(ConfigError, match=message):
        export(folder, tmp_path / "out", "text2text-generation", layout="portable", **options)
    assert not (tmp_path / "out").exists()


def test_model_that_keeps_something_else_is_refused(tmp_path: Path) -> None:
    sizes = {"vocab_size": zoo.VOCABULARY, "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    mamba = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(zoo.save(tmp_path / "words", "gpt2", "text-generation"))
    with pytest.raises(TraceError, match="export it with layout 'fused'"):
        export(mamba, tmp_path / "out", "text-generation", tokenizer, layout="portable")
