"""Where does ONNX Runtime spend a run?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from ortolan_exporters.contenders.serving import Feed, Nodes

WARM_UP_RUNS = 5


def profile(path: Path, feed: Feed, runs: int, options: Any, *, disabled_optimizers: Sequence[str] = ()) -> Nodes:
    """Run a graph under ONNX Runtime's profiler, as it runs with these options otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled_optimizers)
        )
        taken = {node.name: feed[node.name] for node in session.get_inputs()}
        for _ in range(WARM_UP_RUNS + runs):
            session.run(None, taken)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: Nodes = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["args"]["op_name"], event["args"]["node_index"])
            nodes.setdefault(key, []).append(event["dur"] / 1e3)
    return {key: spent[WARM_UP_RUNS:] for key, spent in nodes.items()}
