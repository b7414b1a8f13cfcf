"""Question: what does CTranslate2 write, and how fast?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.converters import TransformersConverter

from benchmarks.workers.serving import serve
from benchmarks.workers.writing import Write, WritingJob, WritingWorker

TYPES = {"fp32": "float32", "int8": "int8"}


def make(job: WritingJob) -> None:
    """Convert a checkpoint to one precision, with the tool's own converter."""
    folder = Path(job.folder) / job.precision
    if folder.exists():
        return
    config = Path(job.checkpoint) / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    if settings["model_type"] == "bart" and "normalize_before" not in settings:
        # the converter reads what transformers no longer writes
        config.write_text(json.dumps({**settings, "normalize_before": False}, indent=2), encoding="utf-8")
    TransformersConverter(job.checkpoint).convert(str(folder), quantization=TYPES[job.precision])


def load(job: WritingJob) -> Write:
    """Load the model; its texts are of tokens by name."""
    kind: Any = ctranslate2.Translator if job.has_encoder else ctranslate2.Generator
    folder = str(Path(job.folder) / job.precision)
    model = kind(folder, device="cpu", intra_threads=job.threads, inter_threads=1)

    def write(prompts: list[list[int]], count: int, beams: int) -> list[list[int]]:
        tokens = [[f"t{index}" for index in prompt] for prompt in prompts]
        if job.has_encoder:
            lengths = {"max_decoding_length": count, "min_decoding_length": count}
            texts = [one.hypotheses[0] for one in model.translate_batch(tokens, beam_size=beams, **lengths)]
        else:
            whole = len(prompts[0]) + count
            found = model.generate_batch(
                tokens, beam_size=beams, max_length=whole, min_length=whole, include_prompt_in_result=False
            )
            texts = [one.sequences[0] for one in found]
        return [[_id(token) for token in text] for text in texts]

    return write


def _id(token: str) -> int:
    return int(token[1:]) if token[1:].isdigit() else -1  # special ones have names


if __name__ == "__main__":
    sys.exit(serve(WritingWorker(("ctranslate2", "transformers"), make, load)))
