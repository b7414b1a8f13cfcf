"""Question: how does a benchmark talk to a worker? One request at a time, over the pipes of a process."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CI": "true",  # nncf and openvino report their use over the network elsewhere
}


class WorkerError(Exception):
    """A worker can't do what it was asked; the message is its tool's own."""


class Process:
    """A running worker. Use it in a `with` statement, at the end of which it is stopped."""

    def __init__(self, python: Path, program: str, log: Path) -> None:
        """Start a worker.

        Args:
            python: Of its environment.
            program: Its module in benchmarks/workers/.
            log: What it and its libraries print goes there.
        """
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(python), "-m", f"benchmarks.workers.{program}"],
                cwd=ROOT,  # where Python finds the module, whatever the environment
                env={**os.environ, **SETTINGS},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its stdin, at whose end it stops

    def ask(self, request: str, *arguments: object) -> Any:
        """Send a request, a method of `serving.Worker`, and wait for the answer.

        Raises:
            WorkerError: It failed, or the worker is gone.
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
            raise WorkerError(str(answer).strip().splitlines()[0])
        return answer
