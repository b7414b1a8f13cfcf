"""What does sentence-transformers answer to a list of texts, and how fast?"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import sentence_transformers
import torch

from ortolan_exporters.contenders.serving import Job, Run, Texts, Worker

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load(job: Job) -> Run:
    """Load the checkpoint with its list of modules."""
    torch.set_num_threads(job.threads)
    kind: Any = sentence_transformers.SentenceTransformer
    model = kind(job.checkpoint, device=job.provider, model_kwargs={"dtype": DTYPES[job.precision]})

    def run(texts: Texts) -> Any:
        found = model.encode([text for text, _ in texts], show_progress_bar=False, convert_to_tensor=True)
        return found.float().cpu().numpy().astype(np.float32)

    return run


if __name__ == "__main__":
    sys.exit(Worker(("sentence-transformers", "torch", "transformers"), None, load).serve())
