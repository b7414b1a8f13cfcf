"""How much memory a graph takes: measured in a process of its own, where nothing else comes and goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ortolan.config import SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.providers import provider_named
from ortolan.session.runtime import onnxruntime
from ortolan.tune.ways import make_feed


@dataclass(frozen=True, slots=True)
class MemoryTask:
    """What the child process shall load and run, on one thread.

    Attributes:
        file: Path of the graph.
        provider: Short name.
        disabled_optimizers: ONNX Runtime's rewrites that are left out.
        ids: Token ids that the batches are filled with.
        shapes: B x S of the runs.
    """

    file: str
    provider: str
    disabled_optimizers: Sequence[str]
    ids: Sequence[int]
    shapes: Sequence[Sequence[int]]


def growth_in_child(task: MemoryTask, timeout_seconds: float) -> int | None:
    """Start a child process that loads and runs a graph, and tell by how many bytes it grew.

    Args:
        task: What it shall load.
        timeout_seconds: It is ended after that long.

    Returns:
        Bytes of main memory, or None if the child failed, was too slow, or can't tell on this system.
    """
    # PYTHONSAFEPATH: with -c, the working folder would come first on sys.path (Python 3.11 and later heed it)
    command = [sys.executable, "-c", "from ortolan.tune.memory import main; main()", json.dumps(asdict(task))]
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=env, timeout=max(1.0, timeout_seconds)
        )
        return int(done.stdout)
    except (subprocess.TimeoutExpired, OSError, ValueError):
        return None


def growth(task: MemoryTask) -> int | None:
    """Load and run a graph in this process, and tell by how many bytes it grew; None if this system can't tell."""
    onnxruntime()  # its own size is no part of the graph's
    before = resident_bytes()
    config = SessionConfig(provider=task.provider, num_threads=1)
    session = OrtSession(Path(task.file), provider_named(task.provider), config, task.disabled_optimizers)
    for rows, length in task.shapes:
        session.run(make_feed(session.signature, task.ids, rows, length))
    after = resident_bytes()
    return None if before is None or after is None else max(1, after - before)


def resident_bytes() -> int | None:
    """Main memory that this process occupies; None where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def main() -> None:
    """Run as the child: read the task from the command line, print the bytes."""
    print(growth(MemoryTask(**json.loads(sys.argv[1]))))
