"""Question: what does eager PyTorch answer, and how fast? The reference of all others."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from benchmarks.workers.serving import Feed, Job, Run, Worker

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def make(_: Job) -> None:
    """Make nothing: the checkpoint is all it needs."""


def load(job: Job) -> Run:
    """Load the module with the attention that transformers chooses."""
    torch.set_num_threads(job.threads)
    module: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
        job.checkpoint, dtype=DTYPES[job.precision]
    )
    module.eval()

    def run(feed: Feed) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs = module(**{name: torch.from_numpy(array) for name, array in feed.items()})
        return np.asarray(outputs.logits.float().numpy())

    return run


if __name__ == "__main__":
    sys.exit(Worker(("torch", "transformers"), make, load).serve())
