"""Question: how does Ortolan answer requests as they come: by its engine, one after the other, or counted and timed?

All run the same artifact at the same precision. "count and timeout" is what Triton and LitServe do: up to so many
texts go together, in the order in which they came, and the oldest waits at most so long for the others. It tokenizes,
runs and decodes with the code of this project.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import ortolan
from benchmarks.workers.load import LoadWorker, Play, Played, Service, Stand, play_at_once, play_in_turn
from ortolan.forward import Row, run_batch
from ortolan.pipeline import Encoded
from ortolan_exporters.contenders.serving import serve


class PlainLoop:
    """A pipeline that is called for each request, on all threads, by a loop that has nothing else to do."""

    def __init__(self, stand: Stand) -> None:
        self._pipe = _pipe(stand)
        self.about = f"{self._pipe.model.precision}, {self._pipe.model.num_threads} threads"

    def ask(self, text: str) -> dict[str, Any]:
        """Answer one text."""
        [answer] = self._pipe(text)
        return dict(answer)

    def play(self, play: Play) -> Played:
        """Let requests come."""
        return play_in_turn(self._pipe, play)


class OneSession(PlainLoop):
    """The same in a service: requests come to an event loop, and one thread answers them in turn."""

    def play(self, play: Play) -> Played:
        """Let requests come."""
        with ThreadPoolExecutor(1) as pool:

            async def submit(text: str) -> Any:
                return await asyncio.get_running_loop().run_in_executor(pool, self._pipe, text)

            played = asyncio.run(play_at_once(submit, play))
            pool.shutdown(cancel_futures=True)
        return played


class Engine:
    """The engine with its default settings; option `deadline_ms`."""

    def __init__(self, stand: Stand) -> None:
        self._engine = ortolan.Engine(_pipe(stand)).start()
        [group] = [replicas.group for replicas in self._engine._replicas.values()]
        self.about = f"{group.limits}, threads of a run: {sorted(group.costs)}, at most {group.max_queue} waiting"

    def ask(self, text: str) -> dict[str, Any]:
        """Answer one text."""
        [answer] = self._engine.submit_nowait(text).result()
        return dict(answer)

    def play(self, play: Play) -> Played:
        """Let requests come."""
        [before] = self._engine.counters.values()
        submit = partial(self._engine.submit, **play.options)
        played = asyncio.run(play_at_once(submit, play, (ortolan.CapacityError,)))
        [after] = self._engine.counters.values()
        for name in ("batches", "rows", "tokens", "padding"):
            setattr(played, name, getattr(after, name) - getattr(before, name))
        return played


@dataclass(frozen=True)
class _Asked:
    encoded: Encoded
    future: asyncio.Future[Any]
    arrival: float


class CountAndTimeout:
    """Batches of at most `rows` texts, for which the oldest waits at most `wait_ms`: options of a play."""

    def __init__(self, stand: Stand) -> None:
        self._pipe = _pipe(stand)
        self.about = f"{self._pipe.model.precision}, {self._pipe.model.num_threads} threads"
        self._line: deque[_Asked] = deque()
        self._there = threading.Condition()
        self._rows, self._wait = 1, 0.0
        self._played = Played([])
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, text: str) -> dict[str, Any]:
        """Answer one text."""
        [answer] = self._pipe(text)
        return dict(answer)

    def play(self, play: Play) -> Played:
        """Let requests come."""
        self._rows, self._wait = play.options["rows"], play.options["wait_ms"] / 1e3
        self._played = counted = Played([])
        played = asyncio.run(play_at_once(self._submit, play))
        for name in ("batches", "rows", "tokens", "padding"):
            setattr(played, name, getattr(counted, name))
        return played

    async def _submit(self, text: str) -> Any:
        arrival = time.perf_counter()
        asked = _Asked(self._pipe.encode(text), asyncio.get_running_loop().create_future(), arrival)
        with self._there:
            self._line.append(asked)
            self._there.notify()
        return await asked.future

    def _work(self) -> None:
        while True:
            batch = [asked for asked in self._next() if not asked.future.cancelled()]
            if not batch:
                continue
            answers = self._answers(batch)
            try:
                batch[0].future.get_loop().call_soon_threadsafe(_settle, batch, answers)
            except RuntimeError:  # the play is over, and its loop closed
                self._line.clear()

    def _next(self) -> list[_Asked]:
        with self._there:
            while not self._line:
                self._there.wait()
            until = self._line[0].arrival + self._wait
            while len(self._line) < self._rows and (left := until - time.perf_counter()) > 0:
                self._there.wait(left)
            return [self._line.popleft() for _ in range(min(self._rows, len(self._line)))]

    def _answers(self, batch: list[_Asked]) -> list[Any]:
        rows = [row for asked in batch for row in asked.encoded.rows]
        outputs = run_batch(self._pipe.model, self._pipe.tokenizer, rows)
        lengths = [len(row.ids) for row in rows]
        self._played.batches += 1
        self._played.rows += len(rows)
        self._played.tokens += sum(lengths)
        self._played.padding += max(lengths) * len(rows) - sum(lengths)
        found = map(Row, rows, outputs)
        return [self._pipe.decode(asked.encoded, [next(found) for _ in asked.encoded.rows]) for asked in batch]


def _settle(batch: list[_Asked], answers: list[Any]) -> None:
    for asked, answer in zip(batch, answers, strict=True):
        if not asked.future.done():
            asked.future.set_result(answer)


def _pipe(stand: Stand) -> ortolan.Pipeline:
    model = ortolan.Model.load(stand.folder, "cpu", "int8", num_threads=stand.threads)
    return ortolan.pipeline("text-classification", model)


KINDS = {
    "engine": Engine,
    "one session": OneSession,
    "plain loop": PlainLoop,
    "count and timeout": CountAndTimeout,
}


def load(stand: Stand) -> Service:
    """Load a service of the kind asked for."""
    return KINDS[stand.kind](stand)


if __name__ == "__main__":
    worker = LoadWorker(("ortolan", "onnxruntime"), load)
    assert "torch" not in sys.modules, "users have no torch"
    sys.exit(serve(worker))
