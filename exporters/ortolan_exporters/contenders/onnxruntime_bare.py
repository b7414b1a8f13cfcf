"""What does ONNX Runtime answer to a graph as torch's own exporter leaves it, and how fast?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ortolan_exporters.contenders.heads import OUTPUTS, class_name, taken
from ortolan_exporters.contenders.onnx_profile import profile as profile_graph
from ortolan_exporters.contenders.serving import Feed, Job, Nodes, Run, Worker

FILE = "model.onnx"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def make(job: Job) -> None:
    """Export the module, as torch's documentation shows."""
    import torch  # here, not above: a worker that only runs goes without
    import transformers

    path = Path(job.folder) / FILE
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = getattr(transformers, class_name(job.task))
    module: Any = kind.from_pretrained(job.checkpoint, dtype=torch.float32).eval()
    module.config.return_dict = False
    feed = {name: torch.ones(2, 16, dtype=torch.int64) for name in job.calibration[0]}
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence")
    torch.onnx.export(
        module,
        kwargs=feed,
        f=str(path),
        input_names=list(feed),
        output_names=list(OUTPUTS[job.task]),
        dynamic_shapes={name: {0: batch, 1: sequence} for name in feed},
        dynamo=True,
    )


def load(job: Job) -> Run:
    """Load the graph with the settings that ONNX Runtime has."""
    session = onnxruntime.InferenceSession(str(_path(job)), _options(job), providers=[PROVIDERS[job.provider]])
    reads = [node.name for node in session.get_inputs()]
    names = OUTPUTS[job.task]

    def run(feed: Feed) -> NDArray[np.float32]:
        found = session.run(list(names), {name: feed[name] for name in reads})
        return taken(job.task, dict(zip(names, found, strict=True)))

    return run


def profile(job: Job, feed: Feed, runs: int) -> Nodes:
    """Run the graph under the profiler."""
    return profile_graph(_path(job), feed, runs, _options(job))


def _path(job: Job) -> Path:
    return Path(job.folder) / FILE


def _options(job: Job) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    return options


if __name__ == "__main__":
    sys.exit(Worker(("onnxruntime", "torch", "transformers"), make, load, profile).serve())
