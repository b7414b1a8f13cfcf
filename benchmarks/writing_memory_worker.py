"""The measured side of benchmarks/writing_memory.py: a process without torch, as users have it."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import ortolan
from benchmarks.engine_memory_worker import resident_bytes

IN_FLIGHT, SAMPLE_EVERY = 64, 100
WORDS = ["time", "house", "water", "light", "night", "morning", "people", "river", "stone", "garden"]
SHAPES = [(rows, length) for rows in (1, 3, 8) for length in (64, 80, 96)]


def main() -> int:
    """Measure: the folder of the artifact, and how many texts."""
    folder, count = sys.argv[1], int(sys.argv[2])
    assert "torch" not in sys.modules, "users have no torch"
    start = time.perf_counter()
    pipe = ortolan.pipeline("text-generation", folder, provider="cpu")
    with ortolan.Engine(pipe) as engine:
        samples = asyncio.run(write_all(engine, count))
    print(json.dumps({"samples": samples, "cache": shapes(pipe), "seconds": time.perf_counter() - start}))
    return 0


async def write_all(engine: ortolan.Engine, count: int) -> list[int]:
    """Write texts, so many at a time; return the resident bytes after every so many."""
    draw, samples, left = random.Random(0), [resident_bytes()], count

    async def ask() -> None:
        nonlocal left
        while left:
            left -= 1
            if left % SAMPLE_EVERY == 0:
                samples.append(resident_bytes())
            prompt, new = " ".join(draw.choices(WORDS, k=draw.randint(2, 10))), draw.randint(1, 24)
            await engine.submit(prompt, max_new_tokens=new, min_new_tokens=new)

    await asyncio.gather(*(ask() for _ in range(min(IN_FLIGHT, count))))
    return samples


def shapes(pipe: ortolan.Pipeline) -> list[dict[str, int]]:
    """Compare the buffers for exactly so many rows and tokens with the formula."""
    assert pipe.writer is not None
    found = []
    for rows, length in SHAPES:
        decoder = pipe.writer.scheduler()._decoder
        decoder.cache_bytes = decoder.layout.num_bytes(rows, length)  # no room to round up
        decoder.reserve(rows, length)
        buffers = sum(array.nbytes for array in decoder.cache.views(0, rows).values())
        found.append({"buffers": buffers, "formula": decoder.layout.num_bytes(rows, length)})
    return found


if __name__ == "__main__":
    sys.exit(main())
