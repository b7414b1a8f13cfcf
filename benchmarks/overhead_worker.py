"""The measured side of benchmarks/pipeline_overhead.py: a process without torch, as users have it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import ortolan
from ortolan.config import SessionConfig
from ortolan.model import open_session
from ortolan.request import TextInput
from ortolan.session.base import Array, Session, Stop
from ortolan.session.providers import provider_named

TOKENS = 32
WORDS = "the film was long and we were happy to see that it did end well before the last train home"
CALLS = 20

Ask = Callable[[ortolan.Pipeline, str], Any]
ASKS: dict[str, Ask] = {
    "text-classification": lambda pipe, text: pipe(text),
    "token-classification": lambda pipe, text: pipe(text, aggregation_strategy="simple"),
    "question-answering": lambda pipe, text: pipe(question="what was long ?", context=text),
    "fill-mask": lambda pipe, text: pipe(f"[MASK] {text}"),
    "feature-extraction": lambda pipe, text: pipe(text, return_tensors="np"),
    "sentence-embedding": lambda pipe, text: pipe(text),
}
"""How each task is asked."""


class TimedSession:
    """A session that says how long its last run took."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.signature = session.signature
        self.provider = session.provider
        self.seconds = 0.0
        self.tokens = 0

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Run, and remember how long it took, and how many tokens the batch had."""
        start = time.perf_counter()
        outputs = self._session.run(feed, stop)
        self.seconds = time.perf_counter() - start
        self.tokens = feed["input_ids"].size
        return outputs


def main() -> int:
    """Measure one task: its name, the folder of its artifact, and how many rounds."""
    task, folder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    assert "torch" not in sys.modules, "users have no torch"
    chosen = ortolan.Model.load(folder, "cpu")
    artifact, tokenizer, precision = chosen.artifact, chosen.tokenizer, chosen.precision
    session = TimedSession(open_session(artifact, provider_named("cpu"), SessionConfig(provider="cpu"), precision))
    pipe = ortolan.pipeline(task, ortolan.Model(artifact, tokenizer, session, precision, chosen.reason))
    print(json.dumps({"rounds": overhead(pipe, session, ASKS[task], rounds), "tokens": session.tokens}))
    return 0


def overhead(pipe: ortolan.Pipeline, session: TimedSession, ask: Ask, rounds: int) -> list[list[float]]:
    """Milliseconds of calls that are not the session's."""
    words = WORDS.split() * 4
    texts = (" ".join(words[:count]) for count in range(1, len(words)))
    text = next(one for one in texts if len(pipe.tokenizer.encode([TextInput(one)])[0].ids) >= TOKENS)
    taken = []
    for _ in range(rounds):
        for _ in range(3):
            ask(pipe, text)
        calls = []
        for _ in range(CALLS):
            start = time.perf_counter()
            ask(pipe, text)
            calls.append((time.perf_counter() - start - session.seconds) * 1e3)
        taken.append(calls)
    return taken


if __name__ == "__main__":
    sys.exit(main())
