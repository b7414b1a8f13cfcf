"""How does a benchmark talk to a contender? One request at a time, over the pipes of a process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from ortolan_exporters.contenders.environments import FOLDER, PACKAGE, file_of, module_of

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CI": "true",  # nncf and openvino report their use over the network elsewhere
}


class WorkerError(Exception):
    """A contender can't do what it was asked; the message is its tool's own."""


class Process:
    """A running program. Use it in a `with` statement, at the end of which it is stopped."""

    def __init__(self, python: Path, program: str, log: Path) -> None:
        """Start a program.

        Args:
            python: Of its environment.
            program: One of this package, or a module.
            log: What it and its libraries print goes there.
        """
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                _command(python, program),
                cwd=_root_of(program),  # where Python finds the module
                env=_environment(python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, WorkerError):
            self._process.kill()  # interrupted: a long call would have to end first
        self._process.communicate()  # closes its stdin, at whose end it stops

    def ask(self, request: str, *arguments: object) -> Any:
        """Send a request, a method of `serving.Worker`, and wait for the answer.

        Raises:
            WorkerError: It failed, or the program is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((request, arguments), self._process.stdin)
            self._process.stdin.flush()
            status, answer = pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()
            raise WorkerError(lines[-1] if lines else "the process ended without a word") from None
        if status != "done":
            raise WorkerError(_first_line(str(answer)))
        return answer


def _command(python: Path, program: str) -> list[str]:
    module = module_of(program)
    if _is_own(python):
        return [str(python), "-m", module]
    folder = [] if module.startswith(PACKAGE) else [str(_root_of(program))]
    return [str(python), str(FOLDER / "launch.py"), module, *folder]


def _environment(python: Path) -> dict[str, str]:
    """The environment of a process: another Python has packages of its own, and this one's must not come first."""
    own = {**os.environ, **SETTINGS}
    return own if _is_own(python) else {name: value for name, value in own.items() if name != "PYTHONPATH"}


def _is_own(python: Path) -> bool:
    return str(python) == sys.executable


def _root_of(program: str) -> Path:
    """The folder that holds the outermost package of a program."""
    return file_of(program).parents[module_of(program).count(".")]


def _first_line(message: str) -> str:
    lines = [line for line in message.splitlines() if line.strip()]
    return lines[0].strip() if lines else "it failed without a word"
