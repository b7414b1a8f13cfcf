"""Question: with which Python does each worker run?

A program in benchmarks/workers/ with a list of requirements beside it gets a virtual environment of its own, made once
under benchmarks/out/environments/ and again when the list changes; one without runs in this environment.

    python -m benchmarks.peer_environments
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.record import OUT
from ortolan.progress import say

WORKERS = Path(__file__).parent / "workers"
ENVIRONMENTS = OUT / "environments"


class InstallError(Exception):
    """An environment can't be made; the message is the installer's own."""


def python_of(program: str) -> Path:
    """Find the Python of a worker program, and make its environment first if need be.

    Args:
        program: Its module in benchmarks/workers/.

    Raises:
        InstallError: Something it needs can't be installed here.
    """
    wanted = WORKERS / f"{program}.txt"
    if not wanted.exists():
        return Path(sys.executable)
    folder = ENVIRONMENTS / program
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    installed = folder / "requirements.txt"  # written last: an interrupted install starts again
    if not installed.exists() or installed.read_text("utf-8") != wanted.read_text("utf-8"):
        say(f"making an environment for {program}: minutes, once")
        _call(sys.executable, "-m", "venv", "--clear", str(folder))
        _call(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted))
        shutil.copyfile(wanted, installed)
    return python


def main() -> int:
    """Make all environments, and say which can't be made."""
    for path in sorted(WORKERS.glob("*.txt")):
        try:
            print(f"{path.stem}: {python_of(path.stem)}")
        except InstallError as error:
            print(f"{path.stem}: {error}")
    return 0


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        raise InstallError(errors[0] if errors else f"{command[0]} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
