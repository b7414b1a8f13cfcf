"""What does fastembed answer to a list of texts, and how fast?

It runs the graph that torch's own exporter makes of the checkpoint (`onnxruntime_bare.py`), with its own tokenizing,
batching, pooling and normalizing.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

from ortolan_exporters.contenders.serving import Job, Run, Texts, Worker

NAME = "local/checkpoint"
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def make(job: Job) -> None:
    """Put the tokenizer's files beside the graph, where fastembed looks for them."""
    folder = Path(job.folder)
    if not (folder / "model.onnx").exists():
        raise FileNotFoundError("there is no graph of torch's exporter for it")
    for name in FILES:
        if (Path(job.checkpoint) / name).is_file():
            shutil.copyfile(Path(job.checkpoint) / name, folder / name)


def load(job: Job) -> Run:
    """Load the graph as a model of the user's own."""
    modules = _modules(Path(job.checkpoint))
    config = json.loads((Path(job.checkpoint) / "config.json").read_text(encoding="utf-8"))
    TextEmbedding.add_custom_model(
        model=NAME,
        pooling=PoolingType.CLS if modules["is_cls"] else PoolingType.MEAN,
        normalization=bool(modules["normalizes"]),
        sources=ModelSource(hf=NAME),
        dim=config.get("hidden_size") or config["dim"],
        model_file="model.onnx",
    )
    model = TextEmbedding(NAME, specific_model_path=job.folder, threads=job.threads)

    def run(texts: Texts) -> Any:
        return np.array(list(model.embed([text for text, _ in texts])), np.float32)

    return run


def _modules(checkpoint: Path) -> dict[str, Any]:
    """Read how vectors are made of hidden states.

    Raises:
        NotImplementedError: In a way that fastembed has no word for.
    """
    modules = json.loads((checkpoint / "modules.json").read_text(encoding="utf-8"))
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    unknown = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise NotImplementedError(f"fastembed has no module {', '.join(sorted(unknown))}")
    [place] = [module["path"] for module in modules if module["type"].endswith("Pooling")]
    pooling = json.loads((checkpoint / place / "config.json").read_text(encoding="utf-8"))
    is_cls = bool(pooling.get("pooling_mode_cls_token"))
    if not is_cls and not pooling.get("pooling_mode_mean_tokens"):
        raise NotImplementedError("fastembed pools by mean or first token, and the checkpoint by neither")
    return {"is_cls": is_cls, "normalizes": "Normalize" in kinds}


if __name__ == "__main__":
    sys.exit(Worker(("fastembed", "onnxruntime"), make, load).serve())
