"""What does onnxruntime-genai write, and how fast? For the architectures that its model builder knows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai

from ortolan_exporters.contenders.serving import Job, Run, Worker, Writing

TYPES = {"fp32": "fp32", "int4": "int4"}


def make(job: Job) -> None:
    """Build the model with the tool's own builder."""
    folder = Path(job.folder) / job.precision
    if (folder / "genai_config.json").exists():
        return
    words = ["-i", job.checkpoint, "-o", str(folder), "-p", TYPES[job.precision], "-e", job.provider, "-c", job.folder]
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(said[-1] if said else f"the builder ended with {done.returncode}")


def load(job: Job) -> Run:
    """Load the model."""
    module: Any = onnxruntime_genai
    config = module.Config(str(Path(job.folder) / job.precision))
    settings = {"intra_op_num_threads": job.threads}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": settings}}}))
    model = module.Model(config)

    def run(asked: Writing) -> list[list[int]]:
        whole = len(asked.prompts[0]) + asked.count
        options = module.GeneratorParams(model)
        options.set_search_options(
            batch_size=len(asked.prompts),
            num_beams=asked.beams,
            max_length=whole,
            min_length=whole,
            do_sample=False,
        )
        generator = module.Generator(model, options)
        generator.append_tokens(np.array(asked.prompts, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        texts = [generator.get_sequence(place) for place in range(len(asked.prompts))]
        return [[int(token) for token in text[-asked.count :]] for text in texts]

    return run


if __name__ == "__main__":
    sys.exit(Worker(("onnxruntime-genai",), make, load).serve())
