"""Question: how much memory does a session come to hold when texts of every length come, and what does less of it cost?

Expected: with the arena and without memory patterns it stays flat after the largest shape, at no loss of speed
(docs/decisions/0012-memory-of-sessions.md). Each way to run is a process of its own for memory, and they take turns for
speed.

    python -m benchmarks.session_memory [ARTIFACT]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine_load import default_artifact
from benchmarks.record import print_environment, write_record
from benchmarks.tables import plain_table
from ortolan.artifact import Artifact
from ortolan.progress import track
from ortolan.session.processors import usable_threads
from ortolan.session.runtime import onnxruntime

WAYS: dict[str, dict[str, bool]] = {
    "as ONNX Runtime has it: patterns, arena, doubling": {},
    "without patterns": {"patterns": False},
    "without arena": {"arena": False},
    "without both": {"patterns": False, "arena": False},
    "shrinking after each run": {"shrinks": True},
    "growing by what is asked for": {"doubles": False},
}
MARKS = (100, 1000, 3000)
MOST_ROWS, LENGTHS = 16, (8, 128)
SHAPES = ((1, 16), (1, 128), (8, 128))
ROUNDS = 60


def main() -> int:
    """Run the benchmark; or with --way, its part in a process of its own."""
    parser = argparse.ArgumentParser(description="How much memory does a session come to hold?")
    parser.add_argument("artifact", nargs="?", type=Path)
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    folder = options.artifact or default_artifact()
    if options.way is not None:
        print(json.dumps(grown(folder, options.way)))
        return 0
    memory = {}
    for way in track(WAYS, "memory"):
        command = [sys.executable, "-m", "benchmarks.session_memory", str(folder), "--way", way]
        memory[way] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    speed = compared(folder)
    print(plain_table(["resident MB after runs", *next(iter(memory.values()))], rows(memory, "{:.0f}")))
    print()
    print(plain_table(["time against ONNX Runtime's way", *next(iter(speed.values()))], rows(speed, "{:.2f}")))
    print_environment()
    write_record("session_memory", {"rounds": ROUNDS, "most_rows": MOST_ROWS}, {"memory": memory, "speed": speed})
    return 0


def rows(found: Mapping[str, Mapping[str, float]], form: str) -> list[list[str]]:
    """Lay out what was found of each way."""
    return [[way, *(form.format(value) for value in by_name.values())] for way, by_name in found.items()]


def grown(folder: Path, way: str) -> dict[str, float]:
    """Resident MB of this process after so many runs of shapes at random."""
    run = opened(folder, way)
    random = np.random.default_rng(0)
    found = {"loaded": _resident_mb()}
    for number in range(1, MARKS[-1] + 1):
        run(int(random.integers(1, MOST_ROWS + 1)), int(random.integers(*LENGTHS, endpoint=True)))
        if number in MARKS:
            found[str(number)] = _resident_mb()
    return found


def compared(folder: Path) -> dict[str, dict[str, float]]:
    """Median ratio of the time of each way to that of the first one in the same round, by shape."""
    runs = {way: opened(folder, way) for way in list(WAYS)[:4]}
    first = next(iter(runs))
    found: dict[str, dict[str, float]] = {way: {} for way in runs}
    for shape in track(SHAPES, "speed"):
        ratios: dict[str, list[float]] = {way: [] for way in runs}
        for number in range(ROUNDS):
            order = list(runs) if number % 2 else list(runs)[::-1]
            taken = {way: _seconds(runs[way], shape) for way in order}
            for way, seconds in taken.items():
                ratios[way].append(seconds / taken[first])
        for way, values in ratios.items():
            found[way]["{} x {}".format(*shape)] = float(np.median(values))
    return found


def opened(folder: Path, way: str) -> Callable[[int, int], object]:
    """Load the int8 graph in one of the ways, and return what runs so many rows of so many tokens."""
    ort, chosen = onnxruntime(), WAYS[way]
    artifact = Artifact.open(folder)
    record = artifact.manifest.precisions["int8"]
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_threads()
    options.enable_mem_pattern = chosen.get("patterns", True)
    options.enable_cpu_mem_arena = chosen.get("arena", True)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not chosen.get("doubles", True):
        options.add_session_config_entry("session.use_env_allocators", "1")
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": 1}))
    run_options = ort.RunOptions()
    if chosen.get("shrinks", False):
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    session: Any = ort.InferenceSession(
        str(artifact.folder / record.graphs["model"].file),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(record.disabled_optimizers("cpu")),
    )
    random = np.random.default_rng(1)

    def run(num_rows: int, length: int) -> object:
        ids = random.integers(5, 1000, (num_rows, length))
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        feed = {node.name: known.get(node.name, np.zeros_like(ids)) for node in session.get_inputs()}
        return session.run(None, feed, run_options)

    return run


def _seconds(run: Callable[[int, int], object], shape: tuple[int, int]) -> float:
    run(*shape)
    start = time.perf_counter()
    run(*shape)
    return time.perf_counter() - start


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    sys.exit(main())
