"""What does OpenVINO answer, and how fast, as converted and after NNCF's static int8 quantization?

Converted from the torch module and quantized with NNCF's preset for transformers, which smooths activations and
corrects biases: what optimum-intel calls under the hood. OpenVINO computes in bf16 where the CPU can unless told
otherwise, in int8 models too; "rest-fp32" tells otherwise.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from ortolan_exporters.contenders.heads import OUTPUTS, class_name, taken
from ortolan_exporters.contenders.serving import Feed, Job, Nodes, Run, Worker

PRECISIONS = {
    "fp32": ("fp32.xml", "f32"),
    "bf16": ("fp32.xml", "bf16"),
    "int8": ("int8.xml", None),
    "int8-rest-fp32": ("int8.xml", "f32"),
}
"""File of each, and the precision that OpenVINO is told to compute in; None for its own choice."""

WARM_UP_RUNS = 5


def make(job: Job) -> None:
    """Convert the checkpoint, and quantize that where int8 is asked for."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "fp32.xml").exists():
        _save(_converted(job), folder / "fp32.xml")
    if job.precision.startswith("int8") and not (folder / "int8.xml").exists():
        import nncf  # here, not above: it loads torch, and a worker that only runs goes without

        model = openvino.Core().read_model(folder / "fp32.xml")
        reads = [port.get_any_name() for port in model.inputs]
        feeds = nncf.Dataset([{name: feed[name] for name in reads} for feed in job.calibration])
        _save(nncf.quantize(model, feeds, model_type=nncf.ModelType.TRANSFORMER), folder / "int8.xml")


def load(job: Job) -> Run:
    """Compile the model for one stream of calls."""
    compiled, reads = _compiled(job.folder, job.precision, job.threads)
    names = OUTPUTS[job.task]

    def run(feed: Feed) -> NDArray[np.float32]:
        found = compiled({name: feed[name] for name in reads})
        return taken(job.task, {name: found[place] for place, name in enumerate(names)})

    return run


def profile(job: Job, feed: Feed, runs: int) -> Nodes:
    """Run the model with performance counters."""
    compiled, reads = _compiled(job.folder, job.precision, job.threads, counting=True)
    request = compiled.create_infer_request()
    nodes: Nodes = {}
    for number in range(WARM_UP_RUNS + runs):
        request.infer({name: feed[name] for name in reads})
        for node in request.profiling_info if number >= WARM_UP_RUNS else ():
            if node.status == openvino.ProfilingInfo.Status.EXECUTED:
                key = (f"{node.node_type} {node.exec_type}", node.node_name)
                nodes.setdefault(key, []).append(node.real_time.total_seconds() * 1e3)
    return nodes


def _converted(job: Job) -> openvino.Model:
    import torch  # here, not above: as with nncf
    import transformers

    kind = getattr(transformers, class_name(job.task))
    module: Any = kind.from_pretrained(job.checkpoint, dtype="float32")
    example = {name: torch.ones(2, 16, dtype=torch.int64) for name in job.calibration[0]}
    return openvino.convert_model(module.eval(), example_input=example)


def _save(model: openvino.Model, path: Path) -> None:
    openvino.save_model(model, path, compress_to_fp16=False)


@functools.cache  # names of nodes differ from one compilation to the next
def _compiled(
    folder: str, precision: str, threads: int, *, counting: bool = False
) -> tuple[openvino.CompiledModel, list[str]]:
    file, hint = PRECISIONS[precision]
    core = openvino.Core()
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": counting}
    if hint is not None:
        options["INFERENCE_PRECISION_HINT"] = hint
    if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("OpenVINO has no bf16 on this processor")
    compiled = core.compile_model(Path(folder) / file, "CPU", options)
    return compiled, [port.get_any_name() for port in compiled.inputs]


if __name__ == "__main__":
    sys.exit(Worker(("openvino", "nncf", "torch", "transformers"), make, load, profile).serve())
