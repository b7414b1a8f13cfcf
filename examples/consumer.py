"""A consumer as of Kafka: messages of several partitions in, `ortolan.Engine` between, answers out in order.

    python examples/consumer.py [ARTIFACT] < reviews.txt     # without it, the default model

Many messages are in the engine at a time, which makes batches of them. A message is committed when its answer and all
before it in its partition are published: a consumer that dies, and begins again where it had committed, leaves none
out, and may answer some twice.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ortolan

MAX_IN_FLIGHT = 64  # enough for good batches, while other messages are read and published


@dataclass(frozen=True, slots=True)
class Message:
    """A text, and its place: offsets grow within a partition."""

    partition: int
    offset: int
    text: str


async def consume(
    engine: ortolan.Engine,
    messages: asyncio.Queue[Message | None],
    publish: Callable[[Message, Any], None],
    commit: Callable[[int, int], None],
) -> None:
    """Answer messages until a None comes, and then those in flight.

    Args:
        engine: A started one.
        messages: Where they come from; with a `maxsize`, or all of them are in memory.
        publish: Takes an answer, in the order of its partition.
        commit: Takes a partition and the offset to begin at again.

    Raises:
        InferenceError, ClosedError: A message has no answer. It is not committed, nor what follows in its partition.
    """
    room = asyncio.Semaphore(MAX_IN_FLIGHT)
    last: dict[int, asyncio.Task[None]] = {}

    async def handle(message: Message, before: asyncio.Task[None] | None) -> None:
        try:
            result = await _answer(engine, message.text)
            if before is not None:
                await before  # raises if that one failed
            publish(message, result)
            commit(message.partition, message.offset + 1)
        finally:
            room.release()

    while (message := await messages.get()) is not None:
        await room.acquire()
        before = last.get(message.partition)
        if before is not None and before.done() and before.exception():
            break
        last[message.partition] = asyncio.create_task(handle(message, before))
    await asyncio.gather(*last.values())


async def _answer(engine: ortolan.Engine, text: str) -> Any:
    while True:
        try:
            return await engine.submit(text, truncation=True)
        except ortolan.QueueFullError as error:  # others use the engine too: it says when there is room again
            await asyncio.sleep(error.retry_after_ms / 1e3)
        except ortolan.RequestError as error:  # no other try would help: a dead letter, and on
            return {"error": str(error)}


async def _read_stdin(messages: asyncio.Queue[Message | None]) -> None:
    for number in itertools.count():
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            return await messages.put(None)
        await messages.put(Message(number % 4, number // 4, line.strip()))


async def main(artifact: str | None = None) -> None:
    """Answer the lines of stdin, as if they came from four partitions."""
    messages: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=MAX_IN_FLIGHT)
    async with ortolan.Engine(ortolan.pipeline("text-classification", artifact)) as engine:
        reader = asyncio.create_task(_read_stdin(messages))
        await consume(engine, messages, print, lambda partition, offset: None)
        await reader


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
