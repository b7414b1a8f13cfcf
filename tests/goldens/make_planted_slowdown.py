"""Make planted-slowdown/: an artifact timed before a change, ten times after none, ten times with a slower session.

    python -m tests.goldens.make_planted_slowdown

Each is a run of its own, as `ortolan bench DIR --against torch --rounds 41` makes it, of one shape. The slower session
takes a fifth longer (`benchmarks/workers/slow_session.py`). A quarter of an hour; the two kinds of run take turns, so
that both see the same hours of a shared machine.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.engine_load import default_artifact
from ortolan.bench.records import RecordWriter
from ortolan.session.processors import usable_threads
from ortolan_exporters.contenders.bench import Options, Plan, first_line, plan
from ortolan_exporters.contenders.race import Race, Settings
from ortolan_exporters.contenders.registry import OWN_PROGRAM, Contender

FOLDER = Path(__file__).parent / "planted-slowdown"
SLOW = "benchmarks.workers.slow_session"
RUNS, ROUNDS, SHAPE = 10, 41, (1, 64)


def main() -> None:
    """Write all records."""
    FOLDER.mkdir(exist_ok=True)
    planned = plan(Options(folder=default_artifact(), against=("torch",), shapes=(SHAPE,), rounds=ROUNDS))
    slow = replace(planned, contenders=tuple(map(slower, planned.contenders)))
    record(planned, "before")
    for number in range(RUNS):
        record(planned, f"same-{number}")
        record(slow, f"slower-{number}")


def slower(contender: Contender) -> Contender:
    """Give one of Ortolan's the slower session, with the artifact that it has; others stay as they are."""
    if contender.program != OWN_PROGRAM:
        return contender
    return replace(contender, program=SLOW, makers=(OWN_PROGRAM,))


def record(planned: Plan, name: str) -> None:
    """Race once, in processes that are started anew, and keep every sample."""
    with tempfile.TemporaryDirectory() as place, RecordWriter(FOLDER / f"{name}.jsonl") as writer:
        settings = Settings(
            folder=Path(place), logs=Path(place), threads=usable_threads(), rounds=ROUNDS, kinds=("forward",)
        )
        with Race(planned.subject, settings) as race:
            race.prepare(planned.contenders)
            writer.write(first_line(planned, race.versions))
            for case in race.run(race.heats()):
                writer.write(case)
            assert not race.missing, race.missing


if __name__ == "__main__":
    main()
