"""What does an Ortolan artifact answer, and how fast?"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ortolan.artifact import Artifact
from ortolan.config import BatchConfig, Precision, SessionConfig
from ortolan.generation.config import GenerationConfig
from ortolan.generation.loop import generate
from ortolan.model import Model
from ortolan.pipeline import Pipeline, pipeline
from ortolan.session.providers import provider_named, session_options
from ortolan.tasks.registry import heads_served
from ortolan.tokenize import Encoding
from ortolan_exporters.contenders.heads import OUTPUTS, Answers, asked, decided, taken
from ortolan_exporters.contenders.onnx_profile import profile as profile_graph
from ortolan_exporters.contenders.serving import Feed, Job, Nodes, Run, Texts, Worker, Writing

CPU = provider_named("cpu")


def make(job: Job) -> None:
    """Export one precision, with the gate and the choices that every export makes."""
    from ortolan_exporters import export  # here, not above: an artifact is run without torch

    if not _folder(job).exists():
        export(job.checkpoint, _folder(job), precisions=(_precision(job),), calibration=job.texts)


def load(job: Job) -> Run:
    """Load the model. Its bare call is that of its session, as with the peers."""
    model = _model(_folder(job), job.provider, job.precision, job.threads)
    if job.kind == "texts":
        return _answering(model, job.task)
    if job.kind == "write":
        return _writing(model)
    session, reads = model._session, [spec.name for spec in model.signature.inputs]
    names = OUTPUTS[job.task]

    def run(feed: Feed) -> NDArray[np.float32]:
        outputs = session.run({name: feed[name] for name in reads})
        return taken(job.task, {name: outputs[name] for name in names})

    return run


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


def _answering(model: Model, task: str) -> Run:
    name = task if task in heads_served(task) else heads_served(task)[0]
    options: dict[str, Any] = {} if task == "question-answering" else {"truncation": True}
    pipe = pipeline(name, model, **options)

    def run(texts: Texts) -> Answers:
        results = pipe(asked(task, texts))
        return np.asarray(results, np.float32) if task == "sentence-embedding" else decided(task, results)

    return run


def _writing(model: Model) -> Run:
    pipe = pipeline(heads_served(model.artifact.manifest.task)[0], model)

    def run(asked: Writing) -> list[list[int]]:
        settings = {"max_new_tokens": asked.count, "min_new_tokens": asked.count, "num_beams": asked.beams}
        config = pipe.writing(pipe.encode(["a"], **settings, do_sample=False))
        return [row[-asked.count :] for row in _rows(pipe, asked, config)]

    return run


def _rows(pipe: Pipeline, asked: Writing, config: GenerationConfig) -> list[list[int]]:
    assert pipe.writer is not None
    encodings = [Encoding(ids, [0] * len(ids), [(0, 0)] * len(ids)) for ids in asked.prompts]
    limits = BatchConfig(max_batch_size=len(encodings))
    # every call reads its prompts, as with the peers, which keep nothing
    written = dict(generate(pipe.writer, encodings, config, limits, reuses_prefixes=False))
    return [[int(token) for token in written[place][0].outputs["sequences"]] for place in range(len(encodings))]


@functools.cache  # the kinds of a job share it
def _model(folder: Path, provider: str, precision: str, threads: int) -> Model:
    return Model.load(folder, provider=provider, precision=precision, num_threads=threads)


def _folder(job: Job) -> Path:
    """The artifact itself, or a folder where one is made for each precision."""
    folder = Path(job.folder)
    return folder if (folder / "ortolan.json").is_file() else folder / job.precision


def _precision(job: Job) -> Precision:
    return cast(Precision, job.precision)  # checked by whoever gets it


if __name__ == "__main__":
    sys.exit(Worker(("ortolan", "onnxruntime"), make, load, profile).serve())
