"""Question: how should runs of a small int8 graph share the processors?

Expected: a text alone is quickest on all threads; under load one thread for each run, side by side, answers more.
Threads that spin after a run cost the next one dearly, unless it is their own.

    python -m benchmarks.run_layouts [ARTIFACT]
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import print_environment, write_record
from ortolan.artifact import Artifact
from ortolan.progress import track
from ortolan.session.processors import usable_threads
from ortolan.session.runtime import onnxruntime
from ortolan_exporters import export

CHECKPOINT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
SHAPES = ((1, 8), (1, 16), (1, 32), (1, 64), (1, 128), (4, 16), (8, 16), (16, 16), (8, 32), (2, 128), (8, 128))
ROUNDS = 7
SECONDS = 0.2
SPINNING = "spinning after a run"
STOPPED = "spinning stopped"


def main() -> int:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        given = sys.argv[1:]
        artifact = Artifact.open(given[0] if given else export(CHECKPOINT, Path(folder) / "sentiment").folder)
        record = artifact.manifest.precisions["int8"]
        path = artifact.folder / record.graphs["model"].file
        threads = usable_threads()
        wide = {SPINNING: _session(path, record, threads, stops=False), STOPPED: _session(path, record, threads)}
        narrow = _session(path, record, 1)
        layouts = {
            f"one run on {threads} threads": (wide[STOPPED], 1),
            f"{threads} runs on {threads} shared threads": (wide[STOPPED], threads),
            f"{threads} runs on one thread each": (narrow, threads),
            "one run on one thread": (narrow, 1),
        }
        rates = {f"{b}x{s}": _rates(layouts, b, s) for b, s in track(SHAPES, "layouts")}
        after = {f"{b}x{s}": _after(wide, narrow, threads, b, s) for b, s in track(((1, 16), (1, 128)), "spinning")}
    print("| texts a second | " + " | ".join(layouts) + " |\n| --- |" + " --- |" * len(layouts))
    for shape, found in rates.items():
        print(f"| {shape} | " + " | ".join(f"{np.median(found[name]):.0f}" for name in layouts) + " |")
    print(f"\nmilliseconds of three runs on one thread, {threads} times side by side, after one on {threads} threads")
    for shape, found in after.items():
        print(f"| {shape} | " + " | ".join(f"{name} {np.median(times):.1f}" for name, times in found.items()) + " |")
    print_environment()
    write_record("run_layouts", {"rounds": ROUNDS, "seconds": SECONDS}, {"rates": rates, "after": after})
    return 0


def _session(path: Path, record: Any, threads: int, *, stops: bool = True) -> Any:
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.force_spinning_stop", str(int(stops)))
    disabled = list(record.disabled_optimizers("cpu"))
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)


def _feed(session: Any, rows: int, length: int) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(1000, 20000, (rows, length))
    known = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return {node.name: known.get(node.name, np.zeros_like(ids)) for node in session.get_inputs()}


def _side_by_side(call: Callable[[], None], callers: int) -> None:
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _rates(layouts: dict[str, tuple[Any, int]], rows: int, length: int) -> dict[str, list[float]]:
    """Texts a second of each layout, in each round."""
    found: dict[str, list[float]] = {name: [] for name in layouts}
    for _ in range(ROUNDS):
        for name, (session, callers) in layouts.items():
            time.sleep(0.05)
            feed, done = _feed(session, rows, length), []
            session.run(None, feed)
            until = time.perf_counter() + SECONDS

            def call(session: Any = session, feed: Any = feed, done: list[int] = done, until: float = until) -> None:
                while time.perf_counter() < until:
                    session.run(None, feed)
                    done.append(rows)

            start = time.perf_counter()
            _side_by_side(call, callers)
            found[name].append(sum(done) / (time.perf_counter() - start))
    return found


def _after(wide: dict[str, Any], narrow: Any, threads: int, rows: int, length: int) -> dict[str, list[float]]:
    """Milliseconds of narrow runs that follow a wide one, in each round."""
    found: dict[str, list[float]] = {name: [] for name in wide}
    feed = _feed(narrow, rows, length)
    for _ in range(5 * ROUNDS):
        for name, session in wide.items():
            time.sleep(0.06)
            for _ in range(3):
                session.run(None, feed)
            start = time.perf_counter()
            _side_by_side(lambda: [narrow.run(None, feed) for _ in range(3)] and None, threads)
            found[name].append((time.perf_counter() - start) * 1e3)
    return found


if __name__ == "__main__":
    sys.exit(main())
