"""A folder appears whole, or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ortolan.manifest import MANIFEST_NAME
from ortolan_exporters import PublishError
from ortolan_exporters.publish import publishing


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


# A runner in the background ignores ctrl-C, and its children inherit that: the first lines take it back.
SLEEPER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from ortolan_exporters import cli, recipe
def resolve(*_):
    print("working", flush=True)
    time.sleep(60)
recipe.resolve = resolve
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
    assert len(list(tmp_path.iterdir())) == 1, "it works beside the output"
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1] == "ortolan export: interrupted, nothing was published"
    assert list(tmp_path.iterdir()) == []
