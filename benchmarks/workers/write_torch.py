"""Question: what does eager PyTorch write, and how fast? The reference of all others."""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers

from benchmarks.workers.serving import serve
from benchmarks.workers.writing import Write, WritingJob, WritingWorker

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def make(_: WritingJob) -> None:
    """Make nothing: the checkpoint is all it needs."""


def load(job: WritingJob) -> Write:
    """Load the module with the attention and the cache that transformers chooses."""
    torch.set_num_threads(job.threads)
    head: Any = transformers.AutoModelForSeq2SeqLM if job.has_encoder else transformers.AutoModelForCausalLM
    module = head.from_pretrained(job.checkpoint, dtype=DTYPES[job.precision]).eval()

    def write(prompts: list[list[int]], count: int, beams: int) -> list[list[int]]:
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            texts = module.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                min_new_tokens=count,
                num_beams=beams,
                do_sample=False,
                pad_token_id=0,
            )
        first = 1 if job.has_encoder else ids.shape[1]
        return [list(map(int, text[first:])) for text in texts]

    return write


if __name__ == "__main__":
    sys.exit(serve(WritingWorker(("torch", "transformers"), make, load)))
