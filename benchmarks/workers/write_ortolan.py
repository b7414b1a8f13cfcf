"""Question: what does an Ortolan pipeline write, and how fast? It is called as users call it, with texts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import ortolan
from benchmarks.workers.serving import serve
from benchmarks.workers.writing import Write, WritingJob, WritingWorker
from ortolan.config import Precision


def make(job: WritingJob) -> None:
    """Export with the gate that every export has; int4 does not pass it with the random weights of GPT-2."""
    from ortolan_exporters import export  # here, not above: an artifact is run without torch

    if not Path(job.folder).exists():
        export(job.checkpoint, job.folder, _task(job), precisions=("fp32", "int8"))


def load(job: WritingJob) -> Write:
    """Load the pipeline."""
    model = ortolan.Model.load(job.folder, "cpu", cast(Precision, job.precision), num_threads=job.threads)
    pipe = ortolan.pipeline(_task(job), model)

    def write(prompts: list[list[int]], count: int, beams: int) -> list[list[int]]:
        texts = [" ".join(f"t{index}" for index in prompt) for prompt in prompts]
        options = {
            "max_new_tokens": count,
            "min_new_tokens": count,
            "num_beams": beams,
            "do_sample": False,
            "return_tensors": True,
        }
        answers = pipe(texts, **options)
        # what a decoder reads first, a start token or the prompt, is among them
        first = 1 if job.has_encoder else len(prompts[0])
        return [_ids(answer)[first:] for answer in answers]

    return write


def _ids(answer: Any) -> list[int]:
    [only] = answer if isinstance(answer, list) else [answer]
    return next(list(map(int, ids)) for name, ids in only.items() if name.endswith("token_ids"))


def _task(job: WritingJob) -> str:
    return "text2text-generation" if job.has_encoder else "text-generation"


if __name__ == "__main__":
    sys.exit(serve(WritingWorker(("ortolan", "onnxruntime"), make, load)))
