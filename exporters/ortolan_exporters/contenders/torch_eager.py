"""What does PyTorch answer, eager or compiled, and how fast? The reference of all others."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from ortolan_exporters.contenders.heads import OUTPUTS, class_name, taken
from ortolan_exporters.contenders.serving import Feed, Job, Run, Worker, Writing

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "compiled": torch.float32}


def load(job: Job) -> Run:
    """Load the module with the attention that transformers chooses, and for texts to write with its cache."""
    torch.set_num_threads(job.threads)
    module = _module(job.checkpoint, job.task, job.precision, job.provider)
    if job.kind == "write":
        return functools.partial(_write, module)
    called = torch.compile(module) if job.precision == "compiled" else module

    def run(feed: Feed) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs = called(**{name: torch.from_numpy(array).to(job.provider) for name, array in feed.items()})
        return taken(job.task, {name: outputs[name].float().cpu().numpy() for name in OUTPUTS[job.task]})

    return run


def _write(module: Any, asked: Writing) -> list[list[int]]:
    ids = torch.tensor(asked.prompts, device=module.device)
    with torch.inference_mode():
        texts = module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=asked.count,
            min_new_tokens=asked.count,
            num_beams=asked.beams,
            do_sample=False,
            pad_token_id=module.generation_config.pad_token_id or 0,
        )
    return [list(map(int, text[-asked.count :])) for text in texts]


@functools.cache  # the kinds of a job share it
def _module(checkpoint: str, task: str, precision: str, provider: str) -> Any:
    kind = getattr(transformers, class_name(task))
    return kind.from_pretrained(checkpoint, dtype=DTYPES[precision]).eval().to(provider)


if __name__ == "__main__":
    sys.exit(Worker(("torch", "transformers"), None, load).serve())
