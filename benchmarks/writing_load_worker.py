"""The measured side of benchmarks/writing_load.py: a process without torch, as users have it."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ortolan
from benchmarks.open_loop import percentile, poisson_arrivals
from ortolan.generation.scheduler import Scheduler
from ortolan.generation.seats import Request
from ortolan.progress import say

COUNT, RATE = 32, 32.0
"""Requests that come, and how many a second: twice as many as batches of eight answer, which never wait for one."""

STATIC = 8
PROMPT_TOKENS, NEW_TOKENS = (8, 128), (8, 128)
WRITERS, LONG_PROMPT, WRITTEN = 4, 900, 160
LOWEST, HIGHEST = 10, 30_000
BEFORE, AFTER = 32, 64
"""Tokens of each writer before the long prompt comes, and tokens after which all had time to be quiet again."""


@dataclass
class Asked:
    """A request, and when its tokens came.

    Attributes:
        prompt: Text.
        count: Tokens to write.
        due: When it comes, seconds from the start.
        moments: When tokens came, seconds from the start.
    """

    prompt: str
    count: int
    due: float = 0.0
    moments: list[float] = field(default_factory=list)


def main() -> int:
    """Measure: the folder of the artifact, and how many rounds."""
    folder, rounds = sys.argv[1], int(sys.argv[2])
    assert "torch" not in sys.modules, "users have no torch"
    pipe = ortolan.pipeline("text-generation", ortolan.Model.load(folder, "cpu", "int8"))
    arrivals, long_prompt = [], []
    assert pipe.writer is not None
    alike = {
        "continuous": pipe.writer.scheduler(reuses_prefixes=False),
        "static": pipe.writer.scheduler(max_requests=STATIC, reuses_prefixes=False),
    }  # they stay, with their memory, as those of an engine do
    with ortolan.Engine(pipe) as engine:
        for number in range(rounds + 1):  # the first one warms up
            found = {
                "continuous": played(pipe, alike["continuous"], asked_ones(number)),
                "static": batched(pipe, alike["static"], asked_ones(number)),
                "static, all rows to the end": batched(pipe, alike["static"], asked_ones(number), leaves=False),
            }
            gaps = asyncio.run(disturb(engine, number))
            if number:
                arrivals.append(found)
                long_prompt.append(gaps)
                say(f"{found['continuous']['seconds']:.2f} s, static {found['static']['seconds']:.2f} s; {gaps}")
    print(json.dumps({"arrivals": arrivals, "long_prompt": long_prompt}))
    return 0


def asked_ones(seed: int) -> list[Asked]:
    """Draw requests that come over time."""
    draw = random.Random(seed)
    return [
        Asked(text_of(draw.randint(*PROMPT_TOKENS), draw), draw.randint(*NEW_TOKENS), due)
        for due in poisson_arrivals(RATE, COUNT, seed)
    ]


def text_of(tokens: int, draw: random.Random) -> str:
    """Draw a text of so many tokens."""
    return " ".join(f"t{draw.randrange(LOWEST, HIGHEST)}" for _ in range(tokens))


def played(pipe: ortolan.Pipeline, scheduler: Scheduler, asked: list[Asked]) -> dict[str, Any]:
    """Let requests come to a scheduler, each when it is due."""
    left = deque(asked)
    start = time.perf_counter()
    while left or scheduler.num_active or scheduler.num_waiting:
        while left and left[0].due <= time.perf_counter() - start:
            one = left.popleft()
            scheduler.add(request(pipe, one, start, one.count))
        if not scheduler.step() and left:
            time.sleep(max(0.0, left[0].due - (time.perf_counter() - start)))
    return summary(asked, time.perf_counter() - start)


async def read(engine: ortolan.Engine, one: Asked, start: float) -> None:
    """Read a text as it is written."""
    options = {"max_new_tokens": one.count, "min_new_tokens": one.count, "do_sample": False, "return_full_text": False}
    async for _ in engine.stream(one.prompt, **options):
        one.moments.append(time.perf_counter() - start)


def batched(pipe: ortolan.Pipeline, scheduler: Scheduler, asked: list[Asked], *, leaves: bool = True) -> dict[str, Any]:
    """Let requests wait until eight have come, and write these to their ends; then the next eight.

    Args:
        pipe: Reads the requests.
        scheduler: Writes.
        asked: Requests, by when they are due.
        leaves: Whether texts that are done leave their batch, or take part to its end as those of a rectangular batch.
    """
    start = time.perf_counter()
    for at in range(0, len(asked), STATIC):
        batch = asked[at : at + STATIC]
        time.sleep(max(0.0, batch[-1].due - (time.perf_counter() - start)))
        write_batch(pipe, scheduler, batch, start, leaves=leaves)
    return summary(asked, time.perf_counter() - start)


def write_batch(
    pipe: ortolan.Pipeline, scheduler: Scheduler, batch: Sequence[Asked], start: float, *, leaves: bool
) -> None:
    """Write texts side by side; none takes the place of one that leaves."""
    for one in batch:
        count = one.count if leaves else max(other.count for other in batch)
        scheduler.add(request(pipe, one, start, count))
    while scheduler.step():
        pass


def request(pipe: ortolan.Pipeline, one: Asked, start: float, count: int) -> Request:
    """Make a request that notes when its tokens come."""
    assert pipe.writer is not None
    encoded = pipe.encode(one.prompt, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return pipe.writer.request(encoded.rows[0], pipe.writing(encoded), _Clocked(one, start))


@dataclass
class _Clocked:
    one: Asked
    start: float

    def wrote(self, ids: Sequence[int]) -> None:
        self.one.moments.append(time.perf_counter() - self.start)

    def done(self, texts: Sequence[object]) -> None:
        pass

    def failed(self, error: Exception) -> None:
        raise error


def summary(asked: Sequence[Asked], seconds: float) -> dict[str, Any]:
    """Say how long all took, and how long each waited for its first token."""
    first = [(one.moments[0] - one.due) * 1e3 for one in asked]
    tokens = sum(one.count for one in asked)
    return {
        "seconds": seconds,
        "tokens": tokens,
        "first_ms": {"p50": percentile(first, 0.5), "p95": percentile(first, 0.95)},
    }


async def disturb(engine: ortolan.Engine, seed: int) -> dict[str, Any]:
    """Let a long prompt come while others write, and compare the times between their tokens."""
    draw = random.Random(seed)
    writers = [Asked(text_of(32, draw), WRITTEN) for _ in range(WRITERS)]
    late = Asked(text_of(LONG_PROMPT, draw), 4)
    start = time.perf_counter()
    tasks = [asyncio.create_task(read(engine, one, start)) for one in writers]
    while min(len(one.moments) for one in writers) < BEFORE:
        await asyncio.sleep(0.001)
    late.due = time.perf_counter() - start
    await read(engine, late, start)
    await asyncio.gather(*tasks)
    quiet, disturbed = [], []
    for one in writers:
        for before, after in itertools.pairwise(one.moments[AFTER // 8 :]):
            if after < late.due or before > late.moments[-1]:
                quiet.append((after - before) * 1e3)
            elif after > late.due and before < late.moments[0]:
                disturbed.append((after - before) * 1e3)
    return {
        "quiet_ms": {"p50": percentile(quiet, 0.5), "p95": percentile(quiet, 0.95), "n": len(quiet)},
        "disturbed_ms": {"p50": percentile(disturbed, 0.5), "p95": percentile(disturbed, 0.95), "n": len(disturbed)},
        "first_ms": (late.moments[0] - late.due) * 1e3,
    }


if __name__ == "__main__":
    sys.exit(main())
