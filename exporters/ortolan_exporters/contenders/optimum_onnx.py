"""What does a model of optimum-onnx answer, and how fast?

Exported and quantized as its documentation shows. The session is ONNX Runtime's, as `ORTModel` makes it; the bare call
is the session's, without what `ORTModel` does around it. Texts go to a pipeline over `ORTModel`, and it writes itself.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnxruntime

from ortolan_exporters.contenders.heads import OUTPUTS, Answers, asked, class_name, decided, taken
from ortolan_exporters.contenders.onnx_profile import profile as profile_graph
from ortolan_exporters.contenders.serving import Feed, Job, Nodes, Run, Texts, Worker, Writing

FILES = {
    "fp32": "model.onnx",
    "int8-per-channel": "model_per_channel.onnx",
    "int8-per-tensor": "model_per_tensor.onnx",
}
SUFFIXES = {"int8-per-channel": "per_channel", "int8-per-tensor": "per_tensor"}
PARTS = ("encoder_model", "decoder_model", "decoder_with_past_model")
"""Graphs of a model with encoder and decoder."""

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def make(job: Job) -> None:
    """Export to fp32, and quantize that dynamically where int8 is asked for."""
    folder = Path(job.folder)
    if not (folder / "config.json").exists():
        _class(job).from_pretrained(job.checkpoint, export=True).save_pretrained(folder)
    suffix = SUFFIXES.get(job.precision)
    for part in _parts(folder) if suffix else ():
        if not (folder / f"{part}_{suffix}.onnx").exists():
            # here, not above: it loads torch, and a worker that only runs goes without
            from optimum.onnxruntime import ORTQuantizer
            from optimum.onnxruntime.configuration import AutoQuantizationConfig

            config = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=suffix == "per_channel")
            quantizer = ORTQuantizer.from_pretrained(folder, file_name=f"{part}.onnx")
            quantizer.quantize(save_dir=folder, quantization_config=config, file_suffix=suffix)


def load(job: Job) -> Run:
    """Load the graphs."""
    if job.kind == "texts":
        return _answering(job)
    if job.kind == "write":
        return _writing(job)
    session = onnxruntime.InferenceSession(str(_path(job)), _options(job), providers=[PROVIDERS[job.provider]])
    reads = [node.name for node in session.get_inputs()]
    names = OUTPUTS[job.task]

    def run(feed: Feed) -> Any:
        found = session.run(list(names), {name: feed[name] for name in reads})
        return taken(job.task, {name: found[place] for place, name in enumerate(names)})

    return run


def profile(job: Job, feed: Feed, runs: int) -> Nodes:
    """Run the graph under the profiler."""
    return profile_graph(_path(job), feed, runs, _options(job))


def _answering(job: Job) -> Run:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(job.checkpoint)
    options: Any = {"truncation": True} if job.task == "text-classification" else {}
    factory: Any = transformers.pipeline
    pipe = factory(job.task, model=_model(job), tokenizer=tokenizer, **options)

    def run(texts: Texts) -> Answers:
        return decided(job.task, pipe(asked(job.task, texts)))

    return run


def _writing(job: Job) -> Run:
    import torch

    torch.set_num_threads(job.threads)
    model = _model(job)

    def run(asked: Writing) -> list[list[int]]:
        ids = torch.tensor(asked.prompts)
        texts = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=asked.count,
            min_new_tokens=asked.count,
            num_beams=asked.beams,
            do_sample=False,
            pad_token_id=model.generation_config.pad_token_id or 0,
        )
        return [list(map(int, text[-asked.count :])) for text in texts]

    return run


def _model(job: Job) -> Any:
    suffix = f"_{SUFFIXES[job.precision]}" if job.precision in SUFFIXES else ""
    folder = Path(job.folder)
    parts = _parts(folder)
    names = {"file_name": f"model{suffix}.onnx"}
    if parts != ["model"]:
        # encoder_file_name and so on
        names = {f"{part.removesuffix('_model')}_file_name": f"{part}{suffix}.onnx" for part in parts}
    return _class(job).from_pretrained(folder, session_options=_options(job), provider=PROVIDERS[job.provider], **names)


def _class(job: Job) -> Any:
    import optimum.onnxruntime

    return getattr(optimum.onnxruntime, class_name(job.task, "ORT"))


def _parts(folder: Path) -> list[str]:
    return [part for part in ("model", *PARTS) if (folder / f"{part}.onnx").exists()]


def _path(job: Job) -> Path:
    return Path(job.folder) / FILES[job.precision]


def _options(job: Job) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    return options


if __name__ == "__main__":
    packages = ("optimum-onnx", "optimum", "onnxruntime", "torch", "transformers")
    sys.exit(Worker(packages, make, load, profile).serve())
