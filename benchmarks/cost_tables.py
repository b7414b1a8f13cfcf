"""Question: what does a run cost on this machine, by rows and length, on all threads and side by side?

Expected: on all threads a run of few tokens costs little less than on one; side by side, with one thread each, the
same number of threads answers more. `benchmarks/engine_simulation.py` reads the record.

    python -m benchmarks.cost_tables --artifact FOLDER   # without it, models/sentiment-minilm is exported first
    python -m benchmarks.cost_tables --quick             # a look: fewer shapes, fewer rounds
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table
from ortolan import Model
from ortolan.batch.costs import Shape
from ortolan.forward import run_batch
from ortolan.progress import track
from ortolan.request import TextInput
from ortolan.timing import REST_SECONDS, WARM_UP_SECONDS
from ortolan.tokenize import Encoding
from ortolan_exporters import export

CHECKPOINT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
ROWS = (1, 2, 4, 8, 16, 32)
LENGTHS = (8, 16, 32, 64, 128, 256)
QUICK_ROWS = (1, 2, 4, 8, 16)
QUICK_LENGTHS = (8, 16, 32, 64, 128, 256)
MOST_SECONDS = 0.5
"""Shapes whose run takes longer are left out: no policy makes such batches."""

ROUNDS, CALLS = 9, 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--artifact", type=Path, help="exported model; by default the default model is exported")
    flags.add_argument("--quick", action="store_true", help="fewer shapes and rounds")
    chosen = flags.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.artifact is None:
            chosen.artifact = Path(folder) / "sentiment"
            export(CHECKPOINT, chosen.artifact)
        model = Model.load(chosen.artifact, "cpu", "int8")
        rows, lengths = (QUICK_ROWS, QUICK_LENGTHS) if chosen.quick else (ROWS, LENGTHS)
        rounds, calls = (3, 2) if chosen.quick else (ROUNDS, CALLS)
        cases = measure(model, rows, lengths, rounds, calls)
    for width, found in cases.items():
        print(f"\n{model.num_threads // int(width)} side by side, threads of each: {width}; median milliseconds\n")
        head = ["rows \\ tokens", *map(str, lengths)]
        print(plain_table(head, ([count, *(_cell(found, count, length) for length in lengths)] for count in rows)))
    print_environment()
    settings = {"rounds": rounds, "calls": calls, "threads": model.num_threads, "quick": chosen.quick}
    write_record("cost_tables", settings, cases)
    return 0


def measure(
    model: Model, rows: Sequence[int], lengths: Sequence[int], rounds: int, calls: int
) -> dict[str, dict[str, list[list[float]]]]:
    """Time runs of all shapes, in rounds, the widths taking turns at each shape.

    Returns:
        For each number of threads of a run, by shape as "rows x length": for each round, milliseconds of its calls,
        those of all runs that went on side by side together.
    """
    widths = model.replicas(list(dict.fromkeys((model.num_threads, 1))))
    [filler, *_] = model.tokenizer.encode([TextInput("a")])[0].ids
    cases: dict[str, dict[str, list[list[float]]]] = {str(width): {} for width in widths}
    slow: set[Shape] = set()
    for _ in track(range(rounds), "costs"):
        for length in lengths:
            for count in rows:
                if any(count >= other and length >= longer for other, longer in slow):
                    continue
                batch = [Encoding([filler] * length, [0] * length, [(0, 0)] * length)] * count
                for width, loaded in widths.items():

                    def run(loaded: Model = loaded, batch: Sequence[Encoding] = batch) -> None:
                        run_batch(loaded, loaded.tokenizer, batch)

                    found = side_by_side(run, model.num_threads // width, calls)
                    cases[str(width)].setdefault(f"{count}x{length}", []).append([1e3 * seconds for seconds in found])
                    if np.median(found) > MOST_SECONDS:
                        slow.add((count, length))
    return cases


def side_by_side(run: Callable[[], object], num_runs: int, calls: int) -> list[float]:
    """Seconds of runs while as many others go on: no call is counted during which another thread rests."""
    time.sleep(REST_SECONDS)
    ready = threading.Barrier(num_runs)
    done = threading.Semaphore(0)
    all_done = threading.Event()

    def repeat() -> list[float]:
        until = time.perf_counter() + WARM_UP_SECONDS
        run()
        while time.perf_counter() < until:
            run()
        ready.wait()
        taken: list[float] = []
        while not all_done.is_set():
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
            if len(taken) == calls:
                done.release()
        return taken[:calls]

    with ThreadPoolExecutor(num_runs) as pool:
        futures = [pool.submit(repeat) for _ in range(num_runs)]
        for _ in futures:
            done.acquire()
        all_done.set()
        return [seconds for future in futures for seconds in future.result()]


def _cell(found: dict[str, list[list[float]]], count: int, length: int) -> str:
    runs = found.get(f"{count}x{length}")
    return f"{np.median([taken for by_round in runs for taken in by_round]):.2f}" if runs else "-"


if __name__ == "__main__":
    sys.exit(main())
