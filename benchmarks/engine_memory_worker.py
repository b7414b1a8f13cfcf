"""The measured side of benchmarks/engine_memory.py: a process without torch, as users have it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import ortolan
from benchmarks.open_loop import one_token_words

SHORTEST, LONGEST = 4, 128
IN_FLIGHT = 256
SAMPLE_EVERY = 1000


def main() -> int:
    """Measure: the folder of the artifact, and how many requests."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    assert "torch" not in sys.modules, "users have no torch"
    words = one_token_words(folder)
    start = time.perf_counter()
    with ortolan.Engine(ortolan.pipeline("text-classification", folder, provider="cpu")) as engine:
        samples = asyncio.run(_ask_all(engine, words, count))
        [counters] = engine.counters.values()
    assert counters.answered == count, "all are answered"
    padding = counters.padding / (counters.padding + counters.tokens)
    print(
        json.dumps(
            {
                "samples": samples,
                "seconds": time.perf_counter() - start,
                "batches": counters.batches,
                "padding": padding,
            }
        )
    )
    return 0


async def _ask_all(engine: ortolan.Engine, words: list[str], count: int) -> list[int]:
    """Ask texts of random length, so many at a time; return the resident bytes after every so many."""
    draw = np.random.default_rng(0)
    samples = [resident_bytes()]
    left = count

    async def ask() -> None:
        nonlocal left
        while left:
            left -= 1
            if left % SAMPLE_EVERY == 0:
                samples.append(resident_bytes())
                if len(samples) % 10 == 0:
                    print(f"{count - left:,} requests, {samples[-1] / 1e6:.1f} MB", file=sys.stderr)
            length = int(draw.integers(SHORTEST, LONGEST + 1))
            # two of them are special tokens
            await engine.submit(" ".join(words[place] for place in draw.integers(len(words), size=length - 2)))

    await asyncio.gather(*(ask() for _ in range(min(IN_FLIGHT, count))))
    return samples


def resident_bytes() -> int:
    """Read how much memory this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
