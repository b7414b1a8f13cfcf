"""Question: what does a worker that writes answer, and how does it time itself? Runs in every environment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

Write = Callable[[list[list[int]], int, int], list[list[int]]]
"""Token ids of prompts, how many tokens to write, beams of each: the ids that were written."""


@dataclass(frozen=True)
class WritingJob:
    """What one contender is made of and how it runs.

    Attributes:
        checkpoint: Folder of the checkpoint, with its tokenizer.
        folder: Where the tool keeps what it makes; all its contenders share it.
        precision: Such as "fp32" or "int8"; each program has its own list.
        threads: Of one run.
        has_encoder: Whether the model writes to what an encoder reads.
    """

    checkpoint: str
    folder: str
    precision: str
    threads: int
    has_encoder: bool


@dataclass
class WritingWorker:
    """What a program knows to do; each method that follows is a request (benchmarks/workers/serving.py).

    Attributes:
        packages: Those whose versions matter.
        maker: Writes the files of a job, unless they are there.
        loader: Loads them.
    """

    packages: tuple[str, ...]
    maker: Callable[[WritingJob], None]
    loader: Callable[[WritingJob], Write]
    _write: Write | None = None

    def make(self, job: WritingJob) -> None:
        """Write the files of a job."""
        self.maker(job)

    def load(self, job: WritingJob) -> None:
        """Load a job's files, for `write` and `time`."""
        self._write = self.loader(job)

    def write(self, prompts: list[list[int]], count: int, beams: int) -> list[list[int]]:
        """Return the ids that are written."""
        assert self._write is not None, "load comes first"
        return self._write(prompts, count, beams)

    def time(self, prompts: list[list[int]], count: int, beams: int, calls: int) -> list[float]:
        """Return the milliseconds of each of so many calls."""
        taken = []
        for _ in range(calls):
            start = time.perf_counter()
            self.write(prompts, count, beams)
            taken.append((time.perf_counter() - start) * 1e3)
        return taken

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that matter."""
        return {name: metadata.version(name) for name in self.packages}
