"""Question: how fast is an artifact whose session takes a fifth longer? Run by the script of the planted slow-down."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from ortolan.session.ort import OrtSession
from ortolan_exporters.contenders.ortolan_artifact import load
from ortolan_exporters.contenders.serving import Job, Run, Worker

SLOWER = 1.2


def load_slowly(job: Job) -> Run:
    """Load the model as `ortolan bench` does, with a session that keeps the processor busy for a while after a run."""
    run = OrtSession.run

    def slow_run(session: OrtSession, feed: Mapping[str, Any], *options: Any) -> dict[str, Any]:
        start = time.perf_counter()
        outputs = run(session, feed, *options)
        until = start + SLOWER * (time.perf_counter() - start)
        while time.perf_counter() < until:
            pass
        return outputs

    OrtSession.run = slow_run  # type: ignore[method-assign]
    return load(job)


if __name__ == "__main__":
    sys.exit(Worker(("ortolan", "onnxruntime"), None, load_slowly).serve())
