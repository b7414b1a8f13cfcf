"""What does CTranslate2 answer and write, and how fast?

Its models that read give hidden states and no head, so that they stand for vectors alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from ortolan_exporters.contenders.serving import Feed, Job, Run, Worker, Writing

TYPES = {"fp32": "float32", "int8": "int8"}


def make(job: Job) -> None:
    """Convert the checkpoint to one precision, with the tool's own converter."""
    from ctranslate2.converters import TransformersConverter  # here, not above: it loads torch

    folder = Path(job.folder) / job.precision
    if not folder.exists():
        TransformersConverter(_readable(job)).convert(str(folder), quantization=TYPES[job.precision])


def load(job: Job) -> Run:
    """Load the model; its texts are of tokens by name."""
    options = {"device": job.provider, "intra_threads": job.threads, "inter_threads": 1}
    folder = str(Path(job.folder) / job.precision)
    if job.kind == "forward":
        return _reading(ctranslate2.Encoder(folder, **options))
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(job.checkpoint)
    if job.task == "text2text-generation":
        return _translating(ctranslate2.Translator(folder, **options), tokenizer)
    return _continuing(ctranslate2.Generator(folder, **options), tokenizer)


def _reading(model: Any) -> Run:
    def run(feed: Feed) -> NDArray[np.float32]:
        ids = np.ascontiguousarray(feed["input_ids"], np.int32)
        lengths = np.ascontiguousarray(feed["attention_mask"].sum(-1), np.int32)
        views = [ctranslate2.StorageView.from_array(array) for array in (ids, lengths)]
        return np.array(model.forward_batch(*views).last_hidden_state, np.float32)

    return run


def _translating(model: Any, tokenizer: Any) -> Run:
    def run(asked: Writing) -> list[list[int]]:
        tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in asked.prompts]
        lengths = {"max_decoding_length": asked.count, "min_decoding_length": asked.count}
        found = model.translate_batch(tokens, beam_size=asked.beams, **lengths)
        return [tokenizer.convert_tokens_to_ids(one.hypotheses[0]) for one in found]

    return run


def _continuing(model: Any, tokenizer: Any) -> Run:
    def run(asked: Writing) -> list[list[int]]:
        tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in asked.prompts]
        # without the prompt in the result, lengths are those of what is written alone
        lengths = {"max_length": asked.count, "min_length": asked.count}
        found = model.generate_batch(tokens, beam_size=asked.beams, include_prompt_in_result=False, **lengths)
        return [one.sequences_ids[0] for one in found]

    return run


def _readable(job: Job) -> str:
    """A folder that the converter can read: it wants an entry of BART's config that transformers no longer writes."""
    config = json.loads((Path(job.checkpoint) / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "bart" or "normalize_before" in config:
        return job.checkpoint
    copy = Path(job.folder) / "checkpoint"
    copy.mkdir(parents=True, exist_ok=True)
    for path in Path(job.checkpoint).iterdir():
        if path.is_file() and not (copy / path.name).exists():
            (copy / path.name).symlink_to(path.resolve())
    (copy / "config.json").unlink()
    (copy / "config.json").write_text(json.dumps({**config, "normalize_before": False}), encoding="utf-8")
    return str(copy)


if __name__ == "__main__":
    sys.exit(Worker(("ctranslate2", "transformers"), make, load).serve())
