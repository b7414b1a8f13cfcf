"""Runs `ortolan map` again and again, each time killed at a later line of its own code, and each time resumed.

    python killed.py IN OUT STEP

`{}` in OUT is the number of lines that were run before the kill. Every STEP lines there is one. Prints how many there
were. The model is a fake one, so that a run takes no longer than its files do.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from ortolan import mapping, pipeline
from ortolan.cli import main
from ortolan.commands import asking
from ortolan.mapping import run
from tests.engine.damage import GOLDEN
from tests.engine.fakes import fake_model

CODE = str(Path(mapping.__file__).parent)
ALL = 1 << 60


def fake_pipeline(task: str, *_: object, **options: Any) -> Any:
    loading = ("revision", "provider", "precision")
    return pipeline(task, fake_model(GOLDEN), **{name: options[name] for name in options if name not in loading})


def die_after(lines: int) -> None:
    """Let this process be killed, as by `kill -9`, once it has run so many lines of `ortolan.mapping`."""
    left = lines

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def in_child(lines: int, source: str, target: str) -> int:
    """Run the command in a process of its own; how it ended, as `os.waitpid` says it."""
    if (child := os.fork()) == 0:
        die_after(lines)
        os._exit(main(["map", "sentiment-analysis", source, target, "--resume"]))
    return os.waitpid(child, 0)[1]


if __name__ == "__main__":
    source, pattern, step = sys.argv[1:]
    asking.pipeline = fake_pipeline
    if importlib.util.find_spec("pyarrow"):
        importlib.import_module("pyarrow.parquet")  # once, and not in each child
    run.COMMIT_SECONDS = 0.0
    run.MAX_WINDOW_CHARS = 40
    for lines in count(0, int(step)):
        target = pattern.format(lines)
        if not os.WIFSIGNALED(in_child(lines, source, target)):
            break
        is_complete = Path(target).exists() and not Path(f"{target}.progress").exists()
        assert is_complete or in_child(ALL, source, target) == 0
    print(lines // int(step))
