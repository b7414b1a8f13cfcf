from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ortolan import Check, FormatVersionError, MissingFileError, ProviderError, verify
from ortolan.session import runtime
from tests.engine.damage import GOLDEN, as_optimum, edit_json, edit_manifest, rehash

NAMES = ["files", "tokenizer", "golden outputs, fp32", "golden outputs, int8"]


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def detail(checks: list[Check], name: str) -> str:
    return next(check.detail for check in checks if check.name == name)


def test_a_good_artifact_passes_every_check():
    assert [(check.name, check.passed) for check in verify(GOLDEN)] == [(name, True) for name in NAMES]


def test_a_check_says_what_was_found():
    checks = verify(GOLDEN)
    assert checks[:2] == [
        Check("files", True, "7 files match their SHA-256"),
        Check("tokenizer", True, "4 golden texts give their ids"),
    ]


def test_a_folder_of_another_tool_has_nothing_to_be_verified_against(artifact: Path):
    with pytest.raises(MissingFileError) as caught:
        verify(as_optimum(artifact))
    assert str(caught.value) == (
        f"verification of '{artifact}' requested, the folder has no ortolan.json: there is nothing to verify it "
        "against; run: ortolan export CHECKPOINT -o DIR"
    )


def test_a_damaged_graph_fails_its_hash_and_its_precision_alone(artifact: Path):
    (artifact / "onnx" / "model_quantized.onnx").write_bytes(b"damaged")
    assert failed(verify(artifact)) == ["files", "golden outputs, int8"]


def test_a_damaged_graph_is_named(artifact: Path):
    (artifact / "onnx" / "model_quantized.onnx").write_bytes(b"damaged")
    assert detail(verify(artifact), "files") == "onnx/model_quantized.onnx differs from what was exported"


def test_a_graph_that_does_not_load_is_a_failed_check(artifact: Path):
    (artifact / "onnx" / "model.onnx").write_bytes(b"damaged")
    rehash(artifact, "onnx/model.onnx")
    assert failed(verify(artifact)) == ["golden outputs, fp32"]


def test_a_graph_swapped_for_another_precision_fails_by_its_outputs(artifact: Path):
    content = (artifact / "onnx" / "model_quantized.onnx").read_bytes()
    (artifact / "onnx" / "model.onnx").write_bytes(content)
    rehash(artifact, "onnx/model.onnx")
    assert failed(verify(artifact)) == ["golden outputs, fp32"]


def test_a_missing_file_is_named(artifact: Path):
    (artifact / "README.md").unlink()
    checks = verify(artifact)
    assert (failed(checks), detail(checks, "files")) == (["files"], "it lacks README.md")


def test_a_missing_tokenizer_ends_the_checks(artifact: Path):
    (artifact / "tokenizer.json").unlink()
    assert failed(verify(artifact)) == ["files", "tokenizer"]


def test_a_damaged_tokenizer_fails_its_check(artifact: Path):
    (artifact / "tokenizer.json").write_text("{}")
    assert failed(verify(artifact)) == ["files", "tokenizer"]


def test_a_tokenizer_that_gives_other_ids_names_the_texts(artifact: Path):
    edit_json(artifact / "tokenizer.json", lambda document: document["model"]["vocab"].update(day=100, hate=100))
    rehash(artifact, "tokenizer.json")
    assert detail(verify(artifact), "tokenizer") == (
        "other ids for ['i hate the awful plot and the worst music ever !', 'what a great day']"
    )


def change_golden(artifact: Path, value: float) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["precisions"]["fp32"]["golden"]["values"][0][0] = value

    edit_manifest(artifact, change)


def test_a_golden_output_that_is_missed_fails_its_precision(artifact: Path):
    change_golden(artifact, -3.0)
    assert failed(verify(artifact)) == ["golden outputs, fp32"]


def test_a_golden_output_that_is_missed_says_by_how_much(artifact: Path):
    # the graph answers -2.0057, so that 0.99 is missing
    change_golden(artifact, -3.0)
    assert detail(verify(artifact), "golden outputs, fp32").startswith("largest difference 0.99, allowed 0.0001")


def test_a_golden_output_that_is_not_a_number_fails(artifact: Path):
    change_golden(artifact, float("nan"))
    assert failed(verify(artifact)) == ["golden outputs, fp32"]


def test_a_failure_names_what_this_cpu_lacks(artifact: Path):
    change_golden(artifact, -3.0)
    edit_manifest(artifact, lambda manifest: manifest["precisions"]["fp32"].update(cpu_features=["avx9000"]))
    assert detail(verify(artifact), "golden outputs, fp32").endswith(
        "; this CPU lacks avx9000 of the one that exported"
    )


def test_a_golden_text_longer_than_the_model_reads_is_a_failed_check(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest.update(max_length=8))
    assert "tokenizer" in failed(verify(artifact))


def test_a_missing_folder_is_an_error_and_no_check(tmp_path: Path):
    with pytest.raises(MissingFileError, match="there is no such folder"):
        verify(tmp_path / "nowhere")


def test_an_unreadable_manifest_is_an_error_and_no_check(artifact: Path):
    (artifact / "ortolan.json").write_text("{")
    with pytest.raises(FormatVersionError):
        verify(artifact)


def test_without_onnx_runtime_verify_is_an_error_and_no_check(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "installed", dict)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    runtime.onnxruntime.cache_clear()
    with pytest.raises(ProviderError, match="none is installed"):
        verify(GOLDEN)
