from __future__ import annotations

from pathlib import Path

import pytest

from ortolan import ArtifactError, layouts
from ortolan.layouts import check_is_whole, files_in, files_to_fetch, graphs_among, graphs_of, has_weights

XENOVA = [
    *("README.md", "config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    *(
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "onnx/model_bnb4.onnx",
        "onnx/model_fp16.onnx",
        "onnx/model_int8.onnx",
    ),
    *("onnx/model_q4.onnx", "onnx/model_q4f16.onnx", "onnx/model_quantized.onnx", "onnx/model_uint8.onnx"),
]
SENTENCES = [
    *("1_Pooling/config.json", "config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json"),
    *("onnx/model.onnx", "onnx/model_O1.onnx", "onnx/model_O4.onnx", "onnx/model_qint8_arm64.onnx"),
    *("onnx/model_qint8_avx512.onnx", "onnx/model_qint8_avx512_vnni.onnx", "onnx/model_quint8_avx2.onnx"),
    *("openvino/openvino_model.xml", "train_script.py"),
]
SETTINGS = ["config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"]
SENTENCE_SETTINGS = SENTENCES[:5]


@pytest.fixture(autouse=True)
def _a_cpu_with_vnni(monkeypatch: pytest.MonkeyPatch):
    set_features(monkeypatch, "avx2", "avx512_vnni")


def set_features(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    monkeypatch.setattr(layouts, "cpu_features", lambda: frozenset(features))


def test_files_are_those_of_the_folder_and_of_onnx(tmp_path: Path):
    for name in ("config.json", "onnx/model.onnx", "onnx/deeper/model.onnx", "other/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_in(tmp_path) == ["config.json", "onnx/model.onnx"]


@pytest.mark.parametrize(
    "name",
    [
        *("encoder_model.onnx", "onnx/decoder_model_merged.onnx", "model.onnx_data", "model.onnx.data", "my.onnx"),
        *("other/model.onnx", "onnx/deeper/model.onnx", "model.safetensors", "remodel.onnx"),
    ],
)
def test_what_is_no_whole_model_is_no_graph(name: str):
    assert graphs_among([name]) == []


def test_the_graph_that_the_tools_load_by_default_comes_first():
    names = ["model_O1.onnx", "model_mine.onnx", "model.onnx", "model_optimized.onnx"]
    assert graphs_among(names) == ["model.onnx", "model_optimized.onnx", "model_O1.onnx", "model_mine.onnx"]


@pytest.mark.parametrize(
    ("features", "best"),
    [
        pytest.param(["avx2", "avx512_vnni"], "qint8_avx512_vnni", id="avx512-vnni"),
        pytest.param(["avx2", "avx_vnni"], "qint8_avx512_vnni", id="avx-vnni"),
        pytest.param(["avx2", "avx512f"], "quint8_avx2", id="avx512-without-vnni"),
        pytest.param(["avx2"], "quint8_avx2", id="avx2"),
        pytest.param(["asimddp"], "qint8_arm64", id="arm"),
        pytest.param([], "quint8_avx2", id="unknown"),
    ],
)
def test_the_int8_graph_that_fits_the_cpu_comes_first(monkeypatch: pytest.MonkeyPatch, features: list[str], best: str):
    set_features(monkeypatch, *features)
    int8 = [name for name in graphs_among(SENTENCES) if "int8" in name]
    assert int8[0] == f"onnx/model_{best}.onnx"
    assert len(int8) == 4


def test_a_model_may_be_three_graphs_of_each_precision():
    stems = ("encoder_model", "decoder_model", "decoder_with_past_model")
    names = [f"onnx/{stem}{suffix}.onnx" for suffix in ("", "_quantized") for stem in stems]
    names += ["onnx/decoder_model_merged.onnx", "onnx/decoder_model_q4.onnx"]  # alone these are no model
    check_is_whole(names, "x requested")
    assert graphs_among(names) == ["onnx/decoder_model.onnx", "onnx/decoder_model_quantized.onnx"]
    assert list(graphs_of("onnx/decoder_model_quantized.onnx").items()) == [
        ("encoder", "onnx/encoder_model_quantized.onnx"),
        ("decoder", "onnx/decoder_model_quantized.onnx"),
        ("decoder_with_past", "onnx/decoder_with_past_model_quantized.onnx"),
    ]
    assert files_to_fetch([*names, "config.json"], "int8") == [*names[3:6], "config.json"]
    assert graphs_of("model.onnx") == {"model": "model.onnx"}


def test_a_model_in_pieces_needs_all_of_them():
    with pytest.raises(ArtifactError) as caught:
        check_is_whole(["config.json", "onnx/decoder_model_merged.onnx", "onnx/encoder_model.onnx"], "x requested")
    assert str(caught.value) == (
        "x requested, its graphs are pieces of a model that generates: onnx/decoder_model_merged.onnx, "
        "onnx/encoder_model.onnx; use a model that is one graph, model.onnx, or three: encoder_model.onnx, "
        "decoder_model.onnx, decoder_with_past_model.onnx"
    )


@pytest.mark.parametrize("names", [["config.json"], ["encoder_model.onnx", "model.onnx"]], ids=["none", "whole-too"])
def test_a_model_that_is_not_in_pieces_is_fine(names: list[str]):
    check_is_whole(names, "x requested")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("model.safetensors", True, id="safetensors"),
        pytest.param("model-00001-of-00002.safetensors", True, id="shard"),
        pytest.param("adapter/model.safetensors", False, id="in-a-subfolder"),
        pytest.param("pytorch_model.bin", False, id="pickle"),
        pytest.param("onnx/model.onnx", False, id="graph"),
    ],
)
def test_weights_are_those_that_can_be_exported(name: str, expected: bool):
    assert has_weights([name]) is expected


@pytest.mark.parametrize(
    ("precision", "graphs"),
    [
        pytest.param("fp32", ["onnx/model.onnx", "onnx/model.onnx_data"], id="fp32-with-its-weights"),
        pytest.param("int8", ["onnx/model_quantized.onnx"], id="int8"),
        pytest.param("int4", ["onnx/model_q4.onnx"], id="int4"),
        pytest.param("fp16", ["onnx/model_fp16.onnx"], id="fp16"),
        pytest.param("auto", ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_quantized.onnx"], id="auto"),
        pytest.param("fp8", ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_quantized.onnx"], id="unknown"),
    ],
)
def test_only_graphs_of_the_wanted_precision_are_fetched(precision: str, graphs: list[str]):
    assert files_to_fetch(XENOVA, precision) == [*SETTINGS, *graphs]


def test_where_no_name_tells_the_precision_every_graph_is_fetched():
    graphs = [name for name in XENOVA if name.startswith("onnx/")]
    assert files_to_fetch(XENOVA, "int8-static") == [*SETTINGS, *graphs]


def test_settings_of_modules_are_fetched_and_nothing_else_in_subfolders():
    assert files_to_fetch(SENTENCES, "int8") == [*SENTENCE_SETTINGS, "onnx/model_qint8_avx512_vnni.onnx"]
