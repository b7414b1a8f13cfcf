"""Graphs whose weights are too many for one file: they go to a second one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import ortolan
from ortolan import Artifact, HashMismatchError, MissingFileError, Model
from ortolan_exporters import export, graph_files

pytestmark = pytest.mark.parity

DATA = ("onnx/model.onnx_data", "onnx/model_quantized.onnx_data")
TEXTS = ["the film was good", "rain"]


@pytest.fixture(scope="module")
def large(bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small artifact, exported as if it were large. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_files, "MAX_FILE_BYTES", 10_000)
        return export(bert_checkpoint, tmp_path_factory.mktemp("large") / "bert")


@pytest.fixture
def copied(large: Artifact, tmp_path: Path) -> Path:
    """A copy, at another place. Free to be damaged."""
    return Path(shutil.copytree(large.folder, tmp_path / "elsewhere"))


def logits(folder: Path, precision: str) -> np.ndarray:
    model = Model.load(folder, "cpu", precision)
    return model(**model.tokenizer(TEXTS)).logits


@pytest.mark.parametrize("name", DATA)
def test_weights_lie_in_a_file_of_their_own_that_the_manifest_knows(large: Artifact, name: str) -> None:
    graph, data = large.folder / name.removesuffix("_data"), large.folder / name
    assert graph.stat().st_size < data.stat().st_size
    record = large.manifest.files[name]
    assert (record.sha256, record.bytes) == (hashlib.sha256(data.read_bytes()).hexdigest(), data.stat().st_size)


def test_nothing_else_is_left_beside_the_graphs(large: Artifact) -> None:
    names = sorted(path.relative_to(large.folder).as_posix() for path in (large.folder / "onnx").iterdir())
    assert names == sorted([*DATA, *(name.removesuffix("_data") for name in DATA)])


def test_artifact_verifies(large: Artifact) -> None:
    failed = [check for check in ortolan.verify(large.folder) if not check.passed]
    assert failed == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_copy_at_another_place_gives_the_same_answers(large: Artifact, copied: Path, precision: str) -> None:
    expected = logits(large.folder, precision)
    np.testing.assert_array_equal(logits(copied, precision), expected)


def test_fp32_answers_are_those_of_one_file(large: Artifact, exported_bert: Artifact) -> None:
    np.testing.assert_allclose(logits(large.folder, "fp32"), logits(exported_bert.folder, "fp32"), atol=1e-5)


@pytest.mark.parametrize(("precision", "name"), [("fp32", DATA[0]), ("int8", DATA[1])])
def test_damaged_weights_are_refused(copied: Path, precision: str, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(HashMismatchError, match=f"{name} differs from what was exported"):
        Model.load(copied, "cpu", precision)


def test_missing_weights_are_named(copied: Path) -> None:
    (copied / DATA[0]).unlink()
    with pytest.raises(MissingFileError, match=f"it lacks {DATA[0]}"):
        Model.load(copied, "cpu", "fp32")
