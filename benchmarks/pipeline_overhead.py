"""Question: what does a pipeline cost beside the run of the graph?

Expected: less than a quarter of a millisecond for a text of 32 tokens: tokenizing, padding and decoding. Each call is
its own yardstick: the time within the session is taken off the time of the whole call.

    python -m benchmarks.pipeline_overhead
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ortolan
from benchmarks import zoo
from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table, to_json
from ortolan.config import SessionConfig
from ortolan.model import open_session
from ortolan.request import TextInput
from ortolan.session.base import Array, Session
from ortolan.session.providers import provider_named
from ortolan.timing import Times
from ortolan_exporters import choose, export

DEFAULT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
SIZES = {"vocab_size": 30522, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
TOKENS = 32
WORDS = "the film was long and we were happy to see that it did end well before the last train home"
ROUNDS, CALLS = 15, 20

Ask = Callable[[ortolan.Pipeline, str], Any]
CASES: dict[str, tuple[str, Ask]] = {
    "text-classification": ("text-classification", lambda pipe, text: pipe(text)),
    "token-classification": ("token-classification", lambda pipe, text: pipe(text, aggregation_strategy="simple")),
    "question-answering": ("question-answering", lambda pipe, text: pipe(question="what was long ?", context=text)),
    "fill-mask": ("fill-mask", lambda pipe, text: pipe(f"[MASK] {text}")),
    "feature-extraction": ("feature-extraction", lambda pipe, text: pipe(text, return_tensors="np")),
    "sentence-embedding": ("feature-extraction", lambda pipe, text: pipe(text)),
}
"""For each task the head that is exported, and how it is asked."""


class TimedSession:
    """A session that says how long its last run took."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.signature = session.signature
        self.provider = session.provider
        self.seconds = 0.0
        self.tokens = 0

    def run(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run, and remember how long it took, and how many tokens the batch had."""
        start = time.perf_counter()
        outputs = self._session.run(feed)
        self.seconds = time.perf_counter() - start
        self.tokens = feed["input_ids"].size
        return outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = flags.parse_args(arguments)
    found: dict[str, Times] = {}
    lengths: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        for task, (head, ask) in CASES.items():
            pipe, session = timed_pipeline(Path(place), task, head)
            found[task] = overhead(pipe, session, ask, chosen.rounds)
            lengths[task] = session.tokens
    rows = [[task, lengths[task], f"{times.median:.3f}", f"{times.p95:.3f}"] for task, times in found.items()]
    print(plain_table(["task", "tokens", "median ms", "95th percentile"], rows))
    print_environment()
    write_record("pipeline_overhead", {"tokens": lengths, "calls": CALLS}, to_json({"overhead": found}))
    return 0


def timed_pipeline(place: Path, task: str, head: str) -> tuple[ortolan.Pipeline, TimedSession]:
    """Export a model, the default one for text-classification, and load it behind a stopwatch."""
    folder = place / head
    if not folder.is_dir():
        choose.ROUNDS, choose.CALLS = 1, 1  # which form is quickest is of no interest here
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            is_default = head == "text-classification"
            source = DEFAULT if is_default else zoo.save(place / f"{head}-checkpoint", "bert", head, **SIZES)
            # random weights need not pass the gate in int8
            export(source, folder, head, precisions=("fp32", "int8") if is_default else ("fp32",))
    chosen = ortolan.Model.load(folder, "cpu")
    artifact, tokenizer, precision = chosen.artifact, chosen.tokenizer, chosen.precision
    session = TimedSession(open_session(artifact, provider_named("cpu"), SessionConfig(provider="cpu"), precision))
    return ortolan.pipeline(task, ortolan.Model(artifact, tokenizer, session, precision, chosen.reason)), session


def overhead(pipe: ortolan.Pipeline, session: TimedSession, ask: Ask, rounds: int) -> Times:
    """Milliseconds of calls that are not the session's."""
    words = WORDS.split() * 4
    size = next(
        n for n in range(1, len(words)) if len(pipe.tokenizer.encode([TextInput(" ".join(words[:n]))])[0].ids) >= TOKENS
    )
    text = " ".join(words[:size])
    taken: list[list[float]] = []
    for _ in range(rounds):
        for _ in range(3):
            ask(pipe, text)
        calls = []
        for _ in range(CALLS):
            start = time.perf_counter()
            ask(pipe, text)
            calls.append((time.perf_counter() - start - session.seconds) * 1e3)
        taken.append(calls)
    return Times(taken)


if __name__ == "__main__":
    sys.exit(main())
