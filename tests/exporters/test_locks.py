"""One export of a folder at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ortolan import MissingFileError
from ortolan_exporters import PublishError
from ortolan_exporters.publish import publishing, sole_export
from ortolan_exporters.recipe import export
from tests.engine.damage import GOLDEN

HOLDER = """
import sys
from pathlib import Path
from ortolan_exporters.publish import publishing, sole_export
with sole_export(Path(sys.argv[1])), publishing(Path(sys.argv[1]), overwrite=False) as work:
    (work / "ortolan.json").write_text("{}")
    print("working", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_process(output: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is exporting to `output`, and is done when it reads a line."""
    command = [sys.executable, "-c", HOLDER, str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.integration
def test_second_export_is_refused_at_once_and_the_first_one_goes_on(tmp_path: Path) -> None:
    with another_process(tmp_path / "out") as process:
        with pytest.raises(PublishError) as caught:
            export("anything", tmp_path / "out")
        process.communicate("go on\n", timeout=30)
    assert str(caught.value) == (
        f"artifact '{tmp_path / 'out'}' requested, process {process.pid} is exporting to it; "
        "let it finish (--wait, wait=True), or choose another folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.integration
def test_export_that_was_killed_blocks_nobody_and_leaves_nothing(tmp_path: Path) -> None:
    with another_process(tmp_path / "out") as process:
        process.kill()
        process.wait()
    assert len(list(tmp_path.iterdir())) == 2, "its lock and its work"
    with sole_export(tmp_path / "out") as waited, publishing(tmp_path / "out", overwrite=False) as work:
        (work / "ortolan.json").touch()
    assert not waited
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_lock_is_gone_after_the_export(tmp_path: Path) -> None:
    with sole_export(tmp_path / "new" / "out") as waited:
        assert [path.name for path in (tmp_path / "new").iterdir()] == [".out.lock"]
    assert not waited
    assert list((tmp_path / "new").iterdir()) == []


def test_failure_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), sole_export(tmp_path / "out"):
        raise KeyboardInterrupt
    with sole_export(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_thread_of_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with (
        sole_export(tmp_path / "out"),
        publishing(tmp_path / "out", overwrite=False) as work,
        pytest.raises(PublishError, match=f"process {os.getpid()} is exporting to it"),
        sole_export(tmp_path / "out"),
    ):
        pytest.fail("nothing may be done")
    assert not work.exists()


def test_link_to_a_folder_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    with (
        sole_export(tmp_path / "out"),
        pytest.raises(PublishError, match="another process is exporting to it"),
        sole_export(tmp_path / "link"),
    ):
        pytest.fail("nothing may be done")


def test_other_folders_are_free(tmp_path: Path) -> None:
    with sole_export(tmp_path / "out"), sole_export(tmp_path / "out2") as waited:
        assert not waited


def test_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PublishError, match="cannot write beside it"), sole_export(tmp_path / "file" / "out"):
        pytest.fail("nothing may be done")


# Waiting


@contextmanager
def exporting(output: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Another export, which puts an artifact at `output` once somebody waits for it."""
    started = threading.Event()

    def work() -> None:
        with sole_export(output):
            started.set()
            while "waiting for " not in capsys.readouterr().err:
                threading.Event().wait(0.02)
            shutil.copytree(GOLDEN, output)

    other = threading.Thread(target=work)
    other.start()
    started.wait()
    yield
    other.join()


def test_who_waits_takes_what_the_other_has_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exporting(tmp_path / "out", capsys):
        artifact = export("no-such-model", tmp_path / "out", wait=True)  # it is never looked for
    assert artifact.folder == tmp_path / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_who_waits_and_overwrites_exports_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        exporting(tmp_path / "out", capsys),
        pytest.raises(MissingFileError, match="model 'no-such-model' requested"),
    ):
        export("no-such-model", tmp_path / "out", wait=True, overwrite=True)
    assert (tmp_path / "out" / "ortolan.json").is_file()


def test_who_need_not_wait_exports(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="model 'no-such-model' requested"):
        export("no-such-model", tmp_path / "out", wait=True)


def test_artifact_that_was_there_before_is_not_taken_for_one_that_was_waited_for(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "out")
    with pytest.raises(PublishError, match="there is one already"):
        export("no-such-model", tmp_path / "out", wait=True)
