"""A folder appears whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ortolan.manifest import MANIFEST_NAME
from ortolan_exporters.errors import PublishError


@contextmanager
def publishing(output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to, and put it in the place of `output` when the block ends well.

    Written beside `output`, so that the final step is a rename within one file system. If the block raises, or the
    process is interrupted, the folder is removed and what was there before stays.

    Args:
        output: Where the artifact shall be.
        overwrite: Whether an artifact that is there may be replaced.

    Raises:
        PublishError: There is something at `output` that may not be replaced, or it can't be written.
    """
    asked = f"artifact '{output}' requested"
    try:
        output = output.resolve()  # "." and links: what is renamed is the folder itself
        check_output(output, overwrite)
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
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
    if (output / MANIFEST_NAME).is_file():
        if not overwrite:
            raise PublishError(asked, "there is one already", "pass --overwrite (overwrite=True) or another folder")
    elif output.exists():
        raise PublishError(asked, "there is something else, which is never replaced", "choose another folder")


def _swap(work: Path, output: Path, overwrite: bool) -> None:
    check_output(output, overwrite)  # another export may have been quicker
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
