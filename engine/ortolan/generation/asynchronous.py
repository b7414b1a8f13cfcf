"""Iterators that take their time, for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator


async def in_threads(begin: Callable[[], Generator[str, None, None]]) -> AsyncGenerator[str, None]:
    """Go through a generator in threads, one at a time. Leaving it early closes the generator.

    Args:
        begin: Makes the generator.

    Yields:
        What it yields.
    """
    generator = await asyncio.to_thread(begin)
    going: asyncio.Future[str | None] | None = None
    try:
        while True:
            going = asyncio.ensure_future(asyncio.to_thread(next, generator, None))
            if (piece := await asyncio.shield(going)) is None:
                return
            yield piece
    finally:
        if going is not None and not going.done():
            # what runs in a thread cannot be interrupted, nor closed before it has come to its end
            await asyncio.gather(going, return_exceptions=True)
        generator.close()
