"""What does a pipeline of transformers answer, called with a list of texts, and how fast?"""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers

from ortolan_exporters.contenders.heads import Answers, asked, decided
from ortolan_exporters.contenders.serving import Job, Run, Texts, Worker

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load(job: Job) -> Run:
    """Load the pipeline with its own settings."""
    torch.set_num_threads(job.threads)
    options: Any = {} if job.task == "question-answering" else {"truncation": True}
    if job.task in ("fill-mask", "feature-extraction"):
        options = {"tokenizer_kwargs" if job.task == "fill-mask" else "tokenize_kwargs": {"truncation": True}}
    elif job.task == "token-classification":
        options = {}  # it cuts by itself
    factory: Any = transformers.pipeline
    pipe = factory(job.task, model=job.checkpoint, dtype=DTYPES[job.precision], device=job.provider, **options)

    def run(texts: Texts) -> Answers:
        return decided(job.task, pipe(asked(job.task, texts)))

    return run


if __name__ == "__main__":
    sys.exit(Worker(("torch", "transformers"), None, load).serve())
