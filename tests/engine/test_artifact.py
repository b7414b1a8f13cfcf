from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ortolan
from ortolan import Artifact, ArtifactError, FormatVersionError, HashMismatchError, MissingFileError
from ortolan.artifact import hash_file
from ortolan.manifest import FORMAT_VERSION, FileRecord, Manifest
from tests.engine.damage import GOLDEN, as_hub_snapshot, edit_config, edit_manifest

DOCUMENT: dict[str, Any] = json.loads((GOLDEN / "ortolan.json").read_text(encoding="utf-8"))
Path_ = tuple[str | int, ...]


def entries(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The path of every entry of a JSON document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from entries(inner, (*path, key))


def holder(document: Any, path: Path_) -> Any:
    """The mapping or list in which the entry at `path` stands."""
    for key in path[:-1]:
        document = document[key]
    return document


def without(path: Path_) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    del holder(document, path)[path[-1]]
    return document


def with_entry(path: Path_, value: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    holder(document, path)[path[-1]] = value
    return document


# Opening


def test_a_missing_folder_says_so(tmp_path: Path):
    with pytest.raises(MissingFileError) as caught:
        Artifact.open(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"artifact '{tmp_path / 'nowhere'}' requested, there is no such folder; "
        "check the path, or export the model first"
    )


def test_a_folder_with_a_manifest_was_made_by_ortolan():
    assert not Artifact.open(GOLDEN).is_foreign


def test_a_folder_without_manifest_is_one_of_another_tool(artifact: Path):
    (artifact / "ortolan.json").unlink()
    assert Artifact.open(artifact).is_foreign


def test_a_folder_with_neither_manifest_nor_graphs_says_how_to_make_them(tmp_path: Path):
    with pytest.raises(MissingFileError) as caught:
        Artifact.open(tmp_path)
    assert str(caught.value) == (
        f"artifact '{tmp_path}' requested, the folder has neither ortolan.json nor model.onnx; "
        f"run: ortolan export {tmp_path} -o DIR, if it is a checkpoint"
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"format_version": 1', id="cut-off"),
        pytest.param(b"\xff\xfe", id="no-utf8"),
        pytest.param(b"[" * 100_000, id="nested-without-end"),
    ],
)
def test_a_manifest_that_is_no_json_is_a_format_error(artifact: Path, content: bytes):
    (artifact / "ortolan.json").write_bytes(content)
    with pytest.raises(FormatVersionError, match=r"ortolan\.json cannot be read \(.*\); export the checkpoint again"):
        Artifact.open(artifact)


@pytest.mark.parametrize("document", [[], "text", 5, None, {}, {"task": "x"}], ids=repr)
def test_a_document_without_format_version_is_no_manifest(artifact: Path, document: object):
    (artifact / "ortolan.json").write_text(json.dumps(document))
    with pytest.raises(FormatVersionError, match=r"ortolan\.json is not a manifest of Ortolan"):
        Artifact.open(artifact)


@pytest.mark.parametrize("version", ["1", 1.0, None, True, 0, -1], ids=repr)
def test_a_format_version_that_never_was_is_refused(version: object):
    with pytest.raises(FormatVersionError):
        Manifest.from_json(with_entry(("format_version",), version), "here")


def test_a_newer_format_asks_for_an_upgrade(artifact: Path):
    edit_manifest(artifact, lambda manifest: manifest.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(FormatVersionError) as caught:
        Artifact.open(artifact)
    assert str(caught.value) == (
        f"artifact '{artifact}' requested, its manifest has format {FORMAT_VERSION + 1} and this release reads up to "
        f"{FORMAT_VERSION}; upgrade ortolan"
    )


def test_a_missing_config_is_named(artifact: Path):
    (artifact / "config.json").unlink()
    with pytest.raises(MissingFileError, match=r"it lacks config\.json"):
        Artifact.open(artifact)


def test_a_changed_config_is_named(artifact: Path):
    (artifact / "config.json").write_text("{}")
    with pytest.raises(HashMismatchError, match=r"config\.json differs from what was exported"):
        Artifact.open(artifact)


def test_the_golden_of_format_1_opens():
    assert Artifact.open(GOLDEN).manifest.task == "text-classification"


def test_the_golden_of_format_1_answers():
    # softmax of the first golden logits in ortolan.json, -2.005749 and 0.328487
    pipe = ortolan.pipeline("text-classification", GOLDEN, provider="cpu", precision="fp32")
    assert pipe("the film was good") == [{"label": "POSITIVE", "score": pytest.approx(0.911673, abs=1e-4)}]


def test_an_artifact_laid_out_as_in_the_hub_cache_answers(artifact: Path, tmp_path: Path):
    snapshot = as_hub_snapshot(artifact, tmp_path / "models--org--name", "0" * 40)
    assert (snapshot / "onnx" / "model.onnx").is_symlink()
    pipe = ortolan.pipeline("text-classification", snapshot, provider="cpu", precision="fp32")
    assert pipe("the film was good")[0]["label"] == "POSITIVE"


# Labels


def test_labels_come_from_the_config():
    assert Artifact.open(GOLDEN).id2label == {0: "NEGATIVE", 1: "POSITIVE"}


def test_labels_that_a_config_leaves_out_are_those_transformers_gives(artifact: Path):
    # save_pretrained leaves id2label out where it is the default: two labels, named by number
    edit_config(artifact, lambda config: config.pop("id2label"))
    assert Artifact.open(artifact).id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_labels_that_are_not_numbered_are_an_artifact_error(artifact: Path):
    edit_config(artifact, lambda config: config.update(id2label={"bad": "good"}))
    with pytest.raises(ArtifactError):
        _ = Artifact.open(artifact).id2label


# The manifest


def test_a_manifest_survives_being_written_and_read():
    manifest = Manifest.from_json(DOCUMENT, "here")
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json())), "here") == manifest


def test_a_manifest_is_written_as_it_was_read():
    written = json.loads(json.dumps(Manifest.from_json(DOCUMENT, "here").to_json()))
    assert written == {**DOCUMENT, "format_version": FORMAT_VERSION, "layout": "fused"}


@pytest.mark.parametrize(
    "path",
    [
        *((key,) for key in DOCUMENT if key != "format_version"),
        *(("precisions", "fp32", key) for key in DOCUMENT["precisions"]["fp32"]),
        ("precisions", "fp32", "graphs", "model"),
        ("precisions", "fp32", "graphs", "model", "file"),
        ("precisions", "fp32", "graphs", "model", "signature"),
        ("precisions", "fp32", "graphs", "model", "signature", "inputs"),
        ("precisions", "fp32", "graphs", "model", "signature", "outputs"),
        ("precisions", "fp32", "graphs", "model", "signature", "inputs", 0, "name"),
        ("precisions", "fp32", "graphs", "model", "signature", "inputs", 0, "dtype"),
        ("precisions", "fp32", "graphs", "model", "signature", "inputs", 0, "shape"),
        ("precisions", "fp32", "golden", "values"),
        ("precisions", "fp32", "golden", "tolerance"),
        ("golden_inputs", 0, "text"),
        ("golden_inputs", 0, "text_pair"),
        ("golden_inputs", 0, "input_ids"),
        ("files", "onnx/model.onnx"),
        ("files", "onnx/model.onnx", "sha256"),
        ("files", "onnx/model.onnx", "bytes"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_manifest_that_lacks_an_entry_is_damaged(path: Path_):
    with pytest.raises(FormatVersionError, match=r"ortolan\.json is damaged \(.+\); export the checkpoint again"):
        Manifest.from_json(without(path), "here")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("max_length",), "many", id="length-that-is-no-number"),
        pytest.param(("max_length",), 1e999, id="infinite-length"),
        pytest.param(("max_length",), 0, id="length-zero"),
        pytest.param(("files",), ["a"], id="files-as-a-list"),
        pytest.param(("files", "config.json"), "abc", id="file-without-record"),
        pytest.param(("files", "config.json", "bytes"), 1e999, id="infinite-size"),
        pytest.param(("precisions",), None, id="no-precisions"),
        pytest.param(("precisions",), {}, id="precisions-empty"),
        pytest.param(("precisions", "fp32"), [], id="precision-as-a-list"),
        pytest.param(("precisions", "fp32", "graphs", "model"), None, id="graph-as-null"),
        pytest.param(("precisions", "fp32", "graphs", "model", "file"), "onnx/other.onnx", id="graph-without-hash"),
        pytest.param(("precisions", "fp32", "providers"), {"cpu": "fused"}, id="provider-without-record"),
        pytest.param(("precisions", "fp32", "providers", "cpu", "disabled_optimizers"), 5, id="optimizers-as-a-number"),
        pytest.param(("precisions", "fp32", "golden", "values"), [], id="golden-outputs-empty"),
        pytest.param(("precisions", "fp32", "golden", "values"), [[0.0, 0.0]], id="fewer-golden-outputs-than-inputs"),
        pytest.param(("precisions", "fp32", "golden", "values"), "none", id="golden-outputs-as-text"),
        pytest.param(("precisions", "fp32", "golden", "tolerance"), "small", id="tolerance-as-text"),
        pytest.param(("golden_inputs",), [], id="golden-inputs-empty"),
        pytest.param(("golden_inputs", 0, "text"), None, id="golden-text-as-null"),
        pytest.param(("golden_inputs", 0, "surprise"), 1, id="golden-input-with-an-unknown-key"),
        pytest.param(("task",), None, id="task-as-null"),
    ],
)
def test_a_manifest_with_a_wrong_entry_is_damaged(path: Path_, value: object):
    with pytest.raises(FormatVersionError, match=r"ortolan\.json is damaged \(.+\); export the checkpoint again"):
        Manifest.from_json(with_entry(path, value), "here")


SCALARS = st.sampled_from([None, True, -1, 0, 1.5, float("inf"), float("nan"), "", "x", "../x"])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["a", "model"]), SCALARS, max_size=2)


@given(st.sampled_from(list(entries(DOCUMENT))), VALUES)
@settings(max_examples=600)
def test_a_mistyped_manifest_is_read_or_is_an_artifact_error(path: Path_, value: object):
    try:
        found: object = Manifest.from_json(with_entry(path, value), "here")
    except ArtifactError as error:
        found = error
    assert isinstance(found, (Manifest, ArtifactError))


@given(st.sampled_from(list(entries(DOCUMENT))))
@settings(max_examples=300)
def test_a_manifest_with_a_hole_is_read_or_is_a_format_error(path: Path_):
    try:
        found: object = Manifest.from_json(without(path), "here")
    except FormatVersionError as error:
        found = error
    assert isinstance(found, (Manifest, FormatVersionError))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\b", "C:x", "", "."], ids=repr)
def test_a_file_name_that_leads_out_of_the_folder_is_refused(artifact: Path, name: str):
    edit_manifest(artifact, lambda manifest: manifest["files"].update({name: {"sha256": "0", "bytes": 1}}))
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(artifact)
    assert str(caught.value) == (
        f"artifact '{artifact}' requested, its manifest names a file outside the folder: {name!r}; do not use it"
    )


# Hashes


def test_an_untouched_artifact_passes_its_check(artifact: Path):
    assert Artifact.open(artifact).check() is None


def damage_one(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def damage_two(folder: Path) -> None:
    damage_one(folder)
    (folder / "onnx" / "model.onnx").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        pytest.param(damage_one, "tokenizer.json differs from what was exported", id="one"),
        pytest.param(damage_two, "onnx/model.onnx, tokenizer.json differs from what was exported", id="two"),
    ],
)
def test_every_changed_file_is_named(artifact: Path, damage: Callable[[Path], None], found: str):
    damage(artifact)
    with pytest.raises(HashMismatchError) as caught:
        Artifact.open(artifact).check()
    assert caught.value.found == found


def test_a_file_of_the_same_size_with_one_byte_changed_is_named(artifact: Path):
    graph = artifact / "onnx" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    with pytest.raises(HashMismatchError, match=r"onnx/model\.onnx differs"):
        Artifact.open(artifact).check()


def test_every_missing_file_is_named(artifact: Path):
    (artifact / "tokenizer.json").unlink()
    (artifact / "README.md").unlink()
    with pytest.raises(MissingFileError) as caught:
        Artifact.open(artifact).check()
    assert caught.value.found == "it lacks README.md, tokenizer.json"


def test_a_file_the_manifest_does_not_know_is_missing(artifact: Path):
    with pytest.raises(MissingFileError, match=r"it lacks extra\.txt"):
        Artifact.open(artifact).check(["extra.txt"])


def test_only_the_files_asked_for_are_checked(artifact: Path):
    damage_one(artifact)
    assert Artifact.open(artifact).check(["onnx/model.onnx"]) is None


def test_a_hash_is_sha256_and_size(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert hash_file(tmp_path / "file") == FileRecord(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3
    )


def test_the_optimizers_a_provider_does_without_come_from_the_manifest():
    document = json.loads((GOLDEN / "ortolan.json").read_text(encoding="utf-8"))
    document["precisions"]["fp32"]["providers"]["cpu"]["disabled_optimizers"] = ["SkipLayerNormFusion"]
    record = Manifest.from_json(document, "golden").precisions["fp32"]
    assert record.disabled_optimizers("cpu") == ("SkipLayerNormFusion",)


def test_a_provider_that_was_not_measured_does_without_none():
    assert Artifact.open(GOLDEN).manifest.precisions["fp32"].disabled_optimizers("cuda") == ()
