"""Question: what does a worker answer, and how does it time itself?

It reads pickled requests from stdin and writes pickled answers to stdout, one for one, until stdin ends. Calls are
timed in here, so that pipes and pickles cost a contender nothing. Runs in every environment: needs numpy alone.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Feed = dict[str, NDArray[np.int64]]
"""int64 [B, S] for each input that the checkpoint's architecture has."""

Run = Callable[[Feed], NDArray[np.float32]]
"""The bare call: a feed in, logits float32 [B, V] out."""

Nodes = dict[tuple[str, str], list[float]]
"""Milliseconds of each run, for each node, named by operator and name."""


@dataclass(frozen=True)
class Job:
    """What one contender is made of and how it runs.

    Attributes:
        checkpoint: Folder of the checkpoint, with its tokenizer.
        folder: Where the tool keeps what it makes; all its contenders share it.
        precision: Such as "fp32" or "int8"; each program has its own list.
        threads: Of one run.
        texts: File of calibration texts, jsonl with `text`.
        calibration: The same texts tokenized, one a feed.
    """

    checkpoint: str
    folder: str
    precision: str
    threads: int
    texts: str
    calibration: list[Feed] = field(default_factory=list)


@dataclass
class Worker:
    """What a program knows to do; each method that follows is a request.

    Attributes:
        packages: Those whose versions matter.
        maker: Writes the files of a job, unless they are there.
        loader: Loads them.
        profiler: Runs a feed so many times under the tool's profiler; None where there is none.
    """

    packages: tuple[str, ...]
    maker: Callable[[Job], None]
    loader: Callable[[Job], Run]
    profiler: Callable[[Job, Feed, int], Nodes] | None = None
    _run: Run | None = None

    def make(self, job: Job) -> None:
        """Write the files of a job."""
        self.maker(job)

    def load(self, job: Job) -> None:
        """Load a job's files, for `run` and `time`."""
        self._run = self.loader(job)

    def run(self, feed: Feed) -> NDArray[np.float32]:
        """Return the logits of a feed."""
        assert self._run is not None, "load comes first"
        return np.array(self._run(feed), dtype=np.float32)  # a copy: some tools hand out their own buffer

    def time(self, feed: Feed, calls: int, warm_up_seconds: float) -> list[float]:
        """Warm up, then return the milliseconds of each of so many calls."""
        assert self._run is not None, "load comes first"
        until = time.perf_counter() + warm_up_seconds
        self._run(feed)
        while time.perf_counter() < until:
            self._run(feed)
        taken = []
        for _ in range(calls):
            start = time.perf_counter()
            self._run(feed)
            taken.append((time.perf_counter() - start) * 1e3)
        return taken

    def profile(self, job: Job, feed: Feed, runs: int) -> Nodes:
        """Return where the time of a run goes."""
        if self.profiler is None:
            raise NotImplementedError("this tool has no profiler")
        return self.profiler(job, feed, runs)

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that matter."""
        return {name: metadata.version(name) for name in self.packages}

    def serve(self) -> int:
        """Answer requests until there are no more."""
        return serve(self)


def serve(worker: object) -> int:
    """Answer requests, which name methods of a worker, until there are no more."""
    answers = _claim_stdout()
    for name, arguments in _requests(sys.stdin.buffer):
        try:
            answer = ("done", getattr(worker, name)(*arguments))
        except Exception as error:  # noqa: BLE001  # whatever a tool raises, the others go on
            answer = ("failed", f"{type(error).__name__}: {error}")
        pickle.dump(answer, answers)
        answers.flush()
    return 0


def _claim_stdout() -> BinaryIO:
    """Keep stdout for answers: what libraries print, in Python or in C, goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _requests(stream: BinaryIO) -> Iterable[tuple[str, tuple[Any, ...]]]:
    while True:
        try:
            yield pickle.load(stream)
        except EOFError:
            return
