"""What does a contender answer, and how does it time itself?

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

Texts = list[tuple[str, "str | None"]]
"""Texts, each with the second one of its pair."""

Run = Callable[[Any], Any]
"""What is timed. Of a kind "forward" the bare call: a feed in, float32 [B, ...] out. Of a kind "texts" the call that
users make: texts in, `heads.Answers` out. Of a kind "write": a `Writing` in, for each prompt the ids written out."""

KINDS = ("forward", "texts", "write")

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
        task: What the checkpoint is for, as in a manifest.
        kind: One of `KINDS`: what is asked.
        provider: "cpu" or "cuda".
    """

    checkpoint: str
    folder: str
    precision: str
    threads: int
    texts: str
    calibration: list[Feed] = field(default_factory=list)
    task: str = "text-classification"
    kind: str = "forward"
    provider: str = "cpu"


@dataclass(frozen=True)
class Writing:
    """What is to be written.

    Attributes:
        prompts: Token ids, all of one length: prompts, or what an encoder reads.
        count: Tokens of each text; none ends earlier.
        beams: Of each text.
    """

    prompts: list[list[int]]
    count: int
    beams: int = 1


@dataclass
class Worker:
    """What a program knows to do; each method that follows is a request.

    Attributes:
        packages: Those whose versions matter.
        maker: Writes the files of a job, unless they are there; None where the checkpoint is all it needs.
        loader: Loads them.
        profiler: Runs a feed so many times under the tool's profiler; None where there is none.
    """

    packages: tuple[str, ...]
    maker: Callable[[Job], None] | None
    loader: Callable[[Job], Run]
    profiler: Callable[[Job, Feed, int], Nodes] | None = None
    _runs: dict[str, Run] = field(default_factory=dict)

    def make(self, job: Job) -> None:
        """Write the files of a job."""
        if self.maker is not None:
            self.maker(job)

    def load(self, job: Job) -> None:
        """Load a job's files, for `run` and `time` of its kind."""
        self._runs[job.kind] = self.loader(job)

    def run(self, asked: Any, kind: str = "forward") -> Any:
        """Return what a run answers."""
        answer = self._run_of(kind)(asked)
        # a copy: some tools hand out their own buffer
        return np.array(answer, dtype=np.float32) if isinstance(answer, np.ndarray) else answer

    def time(self, asked: Any, calls: int, warm_up_seconds: float, kind: str = "forward") -> list[float]:
        """Warm up, unless that is to take no time, then return the milliseconds of each of so many calls."""
        run = self._run_of(kind)
        until = time.perf_counter() + warm_up_seconds
        while time.perf_counter() < until:
            run(asked)
        spent = []
        for _ in range(calls):
            start = time.perf_counter()
            run(asked)
            spent.append((time.perf_counter() - start) * 1e3)
        return spent

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

    def _run_of(self, kind: str) -> Run:
        assert kind in self._runs, "load comes first"
        return self._runs[kind]


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
