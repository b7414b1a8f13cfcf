"""With which Python does a contender's program run?

A program with a list of requirements beside it gets a virtual environment of its own, made once in the user's cache
folder and again when the list changes; one without runs in this environment.

    python -m ortolan_exporters.contenders.environments
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from ortolan.locate import cache_folder
from ortolan.progress import say

PACKAGE = "ortolan_exporters.contenders"
FOLDER = Path(__file__).resolve().parent
INSTALLED = "requirements.txt"
"""In an environment: the list that it was made of."""


class InstallError(Exception):
    """An environment can't be made; the message is the installer's own."""


def module_of(program: str) -> str:
    """Name the module of a program: a name without dots is one of this package."""
    return program if "." in program else f"{PACKAGE}.{program}"


def file_of(program: str) -> Path:
    """Find the file of a program."""
    spec = importlib.util.find_spec(module_of(program))
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve()


def python_of(program: str) -> Path:
    """Find the Python of a program, and make its environment first if need be.

    Args:
        program: One of this package, or a module.

    Raises:
        InstallError: Something it needs can't be installed here.
    """
    wanted = _list_of(program)
    if not wanted.exists():
        return Path(sys.executable)
    folder = _folder_of(wanted)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not is_ready(program):
        say(f"making an environment for {wanted.stem} in {folder}: minutes, once")
        _call(sys.executable, "-m", "venv", "--clear", str(folder))
        _call(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(wanted))
        shutil.copyfile(wanted, folder / INSTALLED)  # last: an interrupted install starts again
    return python


def is_ready(program: str) -> bool:
    """Whether `python_of` has nothing to install for a program."""
    wanted = _list_of(program)
    installed = _folder_of(wanted) / INSTALLED
    return not wanted.exists() or (installed.exists() and _packages(installed) == _packages(wanted))


def pinned_versions(program: str) -> dict[str, str]:
    """Read from a program's list the versions that it asks for; nothing where it has no list."""
    wanted = _list_of(program)
    pins = (line.partition("==") for line in (_packages(wanted) if wanted.exists() else ()))
    return {package: version for package, _, version in pins if version}


def _list_of(program: str) -> Path:
    return file_of(program).with_suffix(".txt")


def _folder_of(wanted: Path) -> Path:
    return (cache_folder() / "environments" / wanted.stem).absolute()


def main() -> int:
    """Make all environments, and say which can't be made."""
    for path in sorted(FOLDER.glob("*.txt")):
        try:
            print(f"{path.stem}: {python_of(path.stem)}")
        except InstallError as error:
            print(f"{path.stem}: {error}")
    return 0


def _packages(path: Path) -> list[str]:
    """What a list asks for, without its comments."""
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line]


def _call(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InstallError(f"{command[0]} does not run ({error})") from error
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said[-1:]
        raise InstallError(errors[0] if errors else f"{command[0]} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
