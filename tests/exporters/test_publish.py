"""A folder appears whole, or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from ortolan import Artifact
from ortolan.config import Precision
from ortolan.manifest import MANIFEST_NAME, PrecisionRecord
from ortolan_exporters import PublishError, recipe
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.publish import publishing
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace
from tests.engine.damage import GOLDEN


def put(folder: Path, text: str) -> None:
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def write_and_fail(output: Path, error: BaseException) -> None:
    with publishing(output, overwrite=True) as work:
        put(work, "new")
        raise error


def test_folder_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    with publishing(tmp_path / "new" / "out", overwrite=False) as work:
        put(work, "1")
        assert not (tmp_path / "new" / "out").exists()
    assert (tmp_path / "new" / "out" / MANIFEST_NAME).read_text(encoding="utf-8") == "1"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    output = tmp_path / "out"
    output.mkdir()
    put(output, "old")
    with pytest.raises(type(error)):
        write_and_fail(output, error)
    assert (output / MANIFEST_NAME).read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_full_disk_is_told_and_leaves_the_old_folder(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    put(output, "old")
    message = "writing it failed .*No space left on device.*; make room, or choose another place"
    with pytest.raises(PublishError, match=message):
        write_and_fail(output, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert (output / MANIFEST_NAME).read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_artifact_is_replaced_when_asked(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    put(output, "old")
    (output / "left over").touch()
    with publishing(output, overwrite=True) as work:
        put(work, "new")
    assert [path.name for path in output.iterdir()] == [MANIFEST_NAME]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with publishing(tmp_path / "out", overwrite=False) as work:
        put(work, "1")
    assert (tmp_path / "out" / MANIFEST_NAME).exists()


def test_folder_that_one_stands_in_may_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with publishing(Path(), overwrite=False) as work:
        put(work, "1")
    assert (tmp_path / "out" / MANIFEST_NAME).exists()


@pytest.mark.parametrize("at", [1, 2], ids=["before the old one moves", "between the renames"])
def test_interrupt_between_the_renames_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    put(output, "old")
    rename, count = Path.rename, 0

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), publishing(output, overwrite=True) as work:
        put(work, "new")
    assert (output / MANIFEST_NAME).read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("overwrite", [True, False], ids=["asked", "unasked"])
def test_folder_that_is_no_artifact_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "letters.txt").write_text("dear", encoding="utf-8")
    message = "there is something else, which is never replaced"
    with pytest.raises(PublishError, match=message), publishing(tmp_path, overwrite=overwrite):
        pytest.fail("nothing may be done")
    assert (tmp_path / "letters.txt").exists()


def test_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "out"
    with pytest.raises(PublishError, match="cannot write beside it"), publishing(output, overwrite=False):
        pytest.fail("nothing may be done")


# What a killed export leaves


def leave(parent: Path, name: str, text: str) -> Path:
    folder = parent / name
    folder.mkdir()
    put(folder, text)
    return folder


def test_work_of_a_killed_export_is_removed_by_the_next(tmp_path: Path) -> None:
    leave(tmp_path, ".out.123-abcd_123.partial", "half")
    with publishing(tmp_path / "out", overwrite=False) as work:
        put(work, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_artifact_that_a_killed_export_had_moved_away_comes_back(tmp_path: Path) -> None:
    leave(tmp_path, ".out.123-abcd_123.old", "old")
    leave(tmp_path, ".out.123-abcd_123.partial", "new")
    with pytest.raises(PublishError, match="there is one already"), publishing(tmp_path / "out", overwrite=False):
        pytest.fail("nothing may be done")
    assert (tmp_path / "out" / MANIFEST_NAME).read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_artifact_that_was_replaced_before_the_kill_does_not_come_back(tmp_path: Path) -> None:
    leave(tmp_path, ".out.123-abcd_123.old", "old")
    leave(tmp_path, "out", "new")
    with publishing(tmp_path / "out", overwrite=True) as work:
        put(work, "newest")
    assert (tmp_path / "out" / MANIFEST_NAME).read_text(encoding="utf-8") == "newest"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name",
    [".out.b.123-abcd_123.partial", ".other.123-abcd_123.partial", ".out.partial", "out.123-abcd_123.partial"],
)
def test_what_another_output_has_beside_it_stays(tmp_path: Path, name: str) -> None:
    other = leave(tmp_path, name, "theirs")
    with publishing(tmp_path / "out", overwrite=False) as work:
        put(work, "new")
    assert other.is_dir()


# Disks that are full


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_of_another_kind(*_: object, **__: object) -> None:
    raise Exception("No space left on device (os error 28)")


class MadeBefore:
    """Stands for the workshop: its precision is that of the artifact in the repository."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def make(self, precision: Precision) -> PrecisionRecord:
        return Artifact.open(GOLDEN).manifest.precisions[precision]

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def resolved(bert_checkpoint: Path) -> Checkpoint:
    """A checkpoint that has been resolved once. Not to be changed."""
    return resolve(bert_checkpoint, None, ExportConfig())


@pytest.fixture(scope="module")
def graph(resolved: Checkpoint) -> ir.Model:
    """Its graph. Not to be changed."""
    return trace(resolved)["model"]


@pytest.mark.parametrize(
    ("place", "failure"),
    [
        pytest.param("transformers.PreTrainedConfig.save_pretrained", full, id="config"),
        pytest.param("transformers.PreTrainedTokenizerFast.save_pretrained", full_of_another_kind, id="tokenizer"),
        pytest.param("ortolan_exporters.recipe._write_json", full, id="settings"),
        pytest.param("ortolan_exporters.graph_files.ir.save", full, id="graph"),
        pytest.param("ortolan_exporters.recipe.model_card", full, id="card"),
        pytest.param("ortolan_exporters.recipe.write_manifest", full, id="manifest"),
        pytest.param("ortolan_exporters.publish.Path.rename", full, id="rename"),
    ],
)
def test_export_to_a_full_disk_says_so_and_leaves_nothing(
    tmp_path: Path,
    resolved: Checkpoint,
    graph: ir.Model,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    failure: Callable[..., None],
) -> None:
    monkeypatch.setattr(recipe, "resolve", lambda *_: resolved)
    monkeypatch.setattr(recipe, "trace", lambda *_: {"model": graph.clone()})
    if "graph_files" not in place:
        monkeypatch.setattr(recipe, "Workshop", MadeBefore)
    monkeypatch.setattr(place, failure)
    with pytest.raises(PublishError, match="No space left on device.*; make room, or choose another place"):
        recipe.export("any", tmp_path / "out", precisions=("fp32",))
    assert list(tmp_path.iterdir()) == []


def test_file_that_the_system_refuses_to_let_grow_is_told_and_leaves_nothing(
    tmp_path: Path, resolved: Checkpoint, graph: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "resolve", lambda *_: resolved)
    monkeypatch.setattr(recipe, "trace", lambda *_: {"model": graph.clone()})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(PublishError, match=r"File too large.*; make room, or choose another place"):
            recipe.export("any", tmp_path / "out", precisions=("fp32",))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


# A runner in the background ignores ctrl-C, and its children inherit that: the first lines take it back.
# What stands for the export imports no torch, which would take seconds.
SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import ortolan_exporters
from ortolan_exporters import cli
from ortolan_exporters.publish import publishing, sole_export
def export(model, output, *_, **__):
    with sole_export(output), publishing(output, overwrite=False):
        print("working", flush=True)
        time.sleep(60)
ortolan_exporters.export = export
sys.exit(cli.main(["somewhere", "-o", sys.argv[1]]))
"""


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "terminated"])
def test_signal_in_the_middle_of_an_export_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    names = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert names == [f".out.{process.pid}", ".out.lock"], "it works beside the output"
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1] == "ortolan export: interrupted, nothing was published"
    assert list(tmp_path.iterdir()) == []
