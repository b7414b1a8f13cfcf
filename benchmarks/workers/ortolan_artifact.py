"""Question: what does an Ortolan artifact answer, and how fast?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from benchmarks.workers.onnx_profile import profile as profile_graph
from benchmarks.workers.serving import Feed, Job, Nodes, Run, Worker
from ortolan import Artifact, Model
from ortolan.config import Precision, SessionConfig
from ortolan.session.providers import provider_named, session_options

CPU = provider_named("cpu")


def make(job: Job) -> None:
    """Export one precision, with the gate and the choices that every export makes."""
    from ortolan_exporters import export  # here, not above: an artifact is run without torch

    if not _folder(job).exists():
        export(job.checkpoint, _folder(job), precisions=(_precision(job),), calibration=job.texts)


def load(job: Job) -> Run:
    """Load the model, and time its session alone, as with the peers."""
    model = Model.load(_folder(job), provider=CPU.name, precision=job.precision, num_threads=job.threads)
    session, reads = model._session, [spec.name for spec in model.signature.inputs]
    return lambda feed: session.run({name: feed[name] for name in reads})["logits"]


def profile(job: Job, feed: Feed, runs: int) -> Nodes:
    """Run its graph under the profiler."""
    artifact = Artifact.open(_folder(job))
    record = artifact.manifest.precisions[_precision(job)]
    return profile_graph(
        artifact.folder / record.graphs["model"].file,
        feed,
        runs,
        session_options(SessionConfig(provider=CPU.name, num_threads=job.threads)),
        disabled_optimizers=record.disabled_optimizers(CPU.name),
    )


def _folder(job: Job) -> Path:
    return Path(job.folder) / job.precision


def _precision(job: Job) -> Precision:
    return cast(Precision, job.precision)  # checked by whoever gets it


if __name__ == "__main__":
    sys.exit(Worker(("ortolan", "onnxruntime"), make, load, profile).serve())
