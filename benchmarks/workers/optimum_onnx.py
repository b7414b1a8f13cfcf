"""Question: what does a model of optimum-onnx answer, and how fast?

Exported and quantized as its documentation shows. The session is ONNX Runtime's, as `ORTModel` makes it; the call is
the session's, without what `ORTModel` does around it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnxruntime

from benchmarks.workers.onnx_profile import profile as profile_graph
from benchmarks.workers.serving import Feed, Job, Nodes, Run, Worker

FILES = {
    "fp32": "model.onnx",
    "int8-per-channel": "model_per_channel.onnx",
    "int8-per-tensor": "model_per_tensor.onnx",
}


def make(job: Job) -> None:
    """Export to fp32, and quantize that dynamically where int8 is asked for."""
    # here, not above: they load torch, and a worker that only runs goes without
    from optimum.onnxruntime import ORTModelForSequenceClassification, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    folder = Path(job.folder)
    if not (folder / FILES["fp32"]).exists():
        ORTModelForSequenceClassification.from_pretrained(job.checkpoint, export=True).save_pretrained(folder)
    if not _path(job).exists():
        per_channel = job.precision == "int8-per-channel"
        ORTQuantizer.from_pretrained(folder, file_name=FILES["fp32"]).quantize(
            save_dir=folder,
            quantization_config=AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=per_channel),
            file_suffix="per_channel" if per_channel else "per_tensor",
        )


def load(job: Job) -> Run:
    """Load the graph."""
    session = onnxruntime.InferenceSession(str(_path(job)), _options(job), providers=["CPUExecutionProvider"])
    reads = [node.name for node in session.get_inputs()]
    return lambda feed: session.run(["logits"], {name: feed[name] for name in reads})[0]


def profile(job: Job, feed: Feed, runs: int) -> Nodes:
    """Run the graph under the profiler."""
    return profile_graph(_path(job), feed, runs, _options(job))


def _path(job: Job) -> Path:
    return Path(job.folder) / FILES[job.precision]


def _options(job: Job) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    return options


if __name__ == "__main__":
    packages = ("optimum-onnx", "optimum", "onnxruntime", "torch", "transformers")
    sys.exit(Worker(packages, make, load, profile).serve())
