"""A folder appears whole, or not at all, and one export makes it at a time."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from ortolan.manifest import MANIFEST_NAME
from ortolan.progress import say
from ortolan_exporters.errors import PublishError

POLL_SECONDS = 0.2
"""How often one who waits looks whether the other is done."""


@contextmanager
def sole_export(output: Path, *, wait: bool = False) -> Iterator[bool]:
    """Keep other exports away from a folder while the block runs.

    The lock is one of the operating system, on a file beside `output`: a process that was killed leaves the file, and
    nobody is kept away by it.

    Args:
        output: Where the artifact shall be.
        wait: Wait for an export that is under way, instead of refusing.

    Yields:
        Whether one was waited for.

    Raises:
        PublishError: Another one is under way, or nothing can be written beside `output`.
    """
    asked = f"artifact '{output}' requested"
    try:
        output = output.resolve()
        output.parent.mkdir(parents=True, exist_ok=True)
        file = output.with_name(f".{output.name}.lock")
        lock = filelock.FileLock(file)
        waited = _acquire(lock, output, asked, wait)
    except OSError as error:
        raise PublishError(asked, f"cannot write beside it ({error})", "choose another place") from error
    try:
        yield waited
    finally:
        with suppress(OSError):  # a system that keeps open files; there the release removes it
            file.unlink(missing_ok=True)  # while it is held: who waits for it sees that it is gone, and makes another
        lock.release()


@contextmanager
def publishing(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to, and put it in the place of `output` when the block ends well.

    Written beside `output`, so that the final step is a rename within one file system. If the block raises, or the
    process is interrupted, the folder is removed and what was there before stays. To be used within `sole_export`:
    what an export that was killed has left is removed first, or put back if it is the artifact itself.

    Args:
        output: Where the artifact shall be.
        overwrite: Whether an artifact that is there may be replaced.

    Raises:
        PublishError: There is something at `output` that may not be replaced, or it can't be written.
    """
    asked = f"artifact '{output}' requested"
    try:
        output = output.resolve()  # "." and links: what is renamed is the folder itself
        _clear_up(output)
        check_output(output, overwrite)
        output.parent.mkdir(parents=True, exist_ok=True)
        # with the number of the process: whoever is refused is told
        prefix = f".{output.name}.{os.getpid()}-"
        work = Path(tempfile.mkdtemp(prefix=prefix, suffix=".partial", dir=output.parent))
    except OSError as error:
        raise PublishError(asked, f"cannot write beside it ({error})", "choose another place") from error
    try:
        yield work
        work.chmod(0o777 & ~_umask())  # mkdtemp makes folders that only their owner can read
        _swap(work, output, overwrite)
    except OSError as error:
        raise PublishError(asked, f"writing it failed ({error})", "make room, or choose another place") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse a place that is taken, before any work is done.

    Raises:
        PublishError: An artifact is there and `overwrite` is false, or something that is not an artifact.
    """
    asked = f"artifact '{output}' requested"
    if output.is_dir() and not any(output.iterdir()):
        return
    if is_artifact(output):
        if not overwrite:
            raise PublishError(asked, "there is one already", "pass --overwrite (overwrite=True) or another folder")
    elif output.exists():
        raise PublishError(asked, "there is something else, which is never replaced", "choose another folder")


def is_artifact(folder: Path) -> bool:
    """Whether an artifact is there."""
    return (folder / MANIFEST_NAME).is_file()


def _acquire(lock: filelock.BaseFileLock, output: Path, asked: str, wait: bool) -> bool:
    try:
        lock.acquire(timeout=0)
        return False
    except filelock.Timeout as error:
        others = [pid for folder in output.parent.iterdir() if (pid := _owner(folder, output)) is not None]
        who = f"process {others[0]}" if others else "another process"
        if not wait:
            raise PublishError(
                asked, f"{who} is exporting to it", "let it finish (--wait, wait=True), or choose another folder"
            ) from error
    say(f"waiting for {who}, which is exporting to {output}")
    lock.acquire(timeout=-1, poll_interval=POLL_SECONDS)
    return True


def _clear_up(output: Path) -> None:
    """Finish what a killed export has left: the artifact that it was about to replace goes back, its own work goes."""
    left = [path for path in output.parent.glob(".*") if _owner(path, output) is not None]
    for path in left:
        if path.suffix == ".old" and not output.exists():
            path.rename(output)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _owner(folder: Path, output: Path) -> int | None:
    """Number of the process that made a folder in order to publish `output`; None if it is no such folder."""
    found = re.fullmatch(rf"\.{re.escape(output.name)}\.(\d+)-[a-z0-9_]{{8}}\.(partial|old)", folder.name)
    return int(found[1]) if found else None


def _swap(work: Path, output: Path, overwrite: bool) -> None:
    check_output(output, overwrite)  # something else than an export may have been there first
    old = work.with_suffix(".old")
    try:
        if output.exists():
            output.rename(old)
        work.rename(output)
    finally:  # an interrupt may fall between any two of these lines
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            old.rename(output)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
