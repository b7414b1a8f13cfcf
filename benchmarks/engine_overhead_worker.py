"""The measured side of benchmarks/engine_overhead.py: a process without torch, as users have it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import numpy as np

import ortolan
from benchmarks.open_loop import one_token_words, poisson_arrivals
from ortolan.session.base import Array, Session, Stop

GAP_SECONDS = 0.005
LOAD = 0.1
"""Of what a session answers one after the other."""

WARM_UP_REQUESTS = 100
STAGES = ("tokenize", "queue", "around the session", "decode", "the rest")
"""Where the overhead goes: see `_Requests.add`."""


class TimedSession:
    """A session that remembers how long the run of each row took."""

    def __init__(self, session: Session, seconds: dict[bytes, float]) -> None:
        self._session = session
        self._seconds = seconds
        self.signature = session.signature
        self.provider = session.provider

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Run, and remember."""
        start = time.perf_counter()
        outputs = self._session.run(feed, stop)
        taken = time.perf_counter() - start
        for row in feed["input_ids"]:
            self._seconds[row.tobytes()] = taken
        return outputs


class _Requests:
    """Texts of one length, each another one, and what their requests cost beside the session."""

    def __init__(self, pipe: ortolan.Pipeline, sessions: dict[bytes, float], tokens: int, count: int) -> None:
        self._sessions = sessions
        words = one_token_words(pipe.model.artifact.folder)
        draw = np.random.default_rng(tokens)
        self.texts = [" ".join(draw.choice(words, tokens - 2)) for _ in range(count)]
        encoded = [pipe.encode(text).rows[0].ids for text in self.texts]
        assert all(len(ids) == tokens for ids in encoded), "each word is a token"
        self._keys = [np.array(ids, np.int64).tobytes() for ids in encoded]
        self.rows: list[list[float]] = []
        self.was_idle: list[bool] = []
        self.session_ms: list[float] = []

    def add(self, place: int, seconds: float, timing: ortolan.Timing, was_idle: bool) -> None:
        """Note a request: milliseconds beside the session, and of each stage."""
        session = self._sessions[self._keys[place]] * 1e3
        around = timing.run_ms - session
        own = seconds * 1e3 - session
        rest = own - timing.tokenize_ms - timing.queue_ms - around - timing.postprocess_ms
        self.rows.append([own, timing.tokenize_ms, timing.queue_ms, around, timing.postprocess_ms, rest])
        self.was_idle.append(was_idle)
        self.session_ms.append(session)


def main() -> int:
    """Measure: the folder of the artifact, and how many requests of each kind."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    assert "torch" not in sys.modules, "users have no torch"
    pipe = ortolan.pipeline("text-classification", folder, provider="cpu")
    found = {}
    with ortolan.Engine(pipe) as engine:
        sessions = _time_sessions(engine)
        for tokens in (16, 32):
            for name, measure in MEASURES.items():
                requests = _Requests(pipe, sessions, tokens, WARM_UP_REQUESTS + count)
                measure(engine, requests)
                kept = slice(WARM_UP_REQUESTS, None)
                found[f"{tokens} tokens, {name}"] = {
                    "milliseconds": requests.rows[kept],
                    "was_idle": requests.was_idle[kept],
                    "session": requests.session_ms[kept],
                }
                print(f"{tokens} tokens, {name}", file=sys.stderr)
    print(json.dumps({"cases": found, "precision": pipe.model.precision}))
    return 0


def from_asyncio(engine: ortolan.Engine, requests: _Requests) -> None:
    """Ask one after the other, with gaps, in an event loop."""

    async def ask_all() -> None:
        for place, text in enumerate(requests.texts):
            await asyncio.sleep(GAP_SECONDS)
            start = time.perf_counter()
            response = await engine.submit(text, timing=True)
            requests.add(place, time.perf_counter() - start, response.timing, was_idle=True)

    asyncio.run(ask_all())


def from_a_thread(engine: ortolan.Engine, requests: _Requests) -> None:
    """Ask one after the other, with gaps, and block."""
    for place, text in enumerate(requests.texts):
        time.sleep(GAP_SECONDS)
        start = time.perf_counter()
        response = engine.submit_nowait(text, timing=True).result()
        requests.add(place, time.perf_counter() - start, response.timing, was_idle=True)


def at_random(engine: ortolan.Engine, requests: _Requests) -> None:
    """Ask at random moments, at a tenth of what a session answers, in an event loop."""
    num_open = 0

    async def ask(place: int, text: str) -> None:
        nonlocal num_open
        was_idle, num_open = num_open == 0, num_open + 1
        start = time.perf_counter()
        response = await engine.submit(text, timing=True)
        seconds = time.perf_counter() - start
        num_open -= 1
        requests.add(place, seconds, response.timing, was_idle)

    async def ask_all() -> None:
        rate = LOAD / await _seconds_each(lambda text: engine.submit(text), requests.texts[:WARM_UP_REQUESTS])
        arrivals = poisson_arrivals(rate, len(requests.texts), seed=0)
        tasks = []
        start = time.perf_counter()
        for place, (arrival, text) in enumerate(zip(arrivals, requests.texts, strict=True)):
            await asyncio.sleep(max(0.0, start + arrival - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(place, text)))
        await asyncio.gather(*tasks)

    asyncio.run(ask_all())


MEASURES: dict[str, Callable[[ortolan.Engine, _Requests], None]] = {
    "one at a time, asyncio": from_asyncio,
    "one at a time, a thread": from_a_thread,
    "Poisson, asyncio": at_random,
}


async def _seconds_each(ask: Callable[[str], Awaitable[object]], texts: list[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        await ask(text)
    return (time.perf_counter() - start) / len(texts)


def _time_sessions(engine: ortolan.Engine) -> dict[bytes, float]:
    """Let the sessions of an engine remember how long each row took; no public way leads to them."""
    seconds: dict[bytes, float] = {}
    for replicas in engine._replicas.values():
        for model in replicas._by_width.values():
            model._session = TimedSession(model._session, seconds)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
