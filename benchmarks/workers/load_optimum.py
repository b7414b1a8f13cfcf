"""Question: how does a pipeline over optimum's ONNX Runtime model answer requests as they come, one after the other?

It runs optimum's int8, per tensor or per channel, whichever answers some texts sooner here. The files are made by
ortolan_exporters.contenders.optimum_onnx, whose environment this program shares.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import onnxruntime
import torch
import transformers
from optimum.onnxruntime import ORTModelForSequenceClassification

from benchmarks.workers.load import LoadWorker, Play, Played, Service, Stand, play_in_turn
from ortolan_exporters.contenders.serving import serve

FILES = ("model_per_channel.onnx", "model_per_tensor.onnx")
ROUNDS = 5


class OptimumPipeline:
    """A pipeline of transformers over optimum's model that is called for each request."""

    def __init__(self, stand: Stand) -> None:
        torch.set_num_threads(stand.threads)
        pipes = {file: _pipe(stand, file) for file in FILES}
        taken: dict[str, list[float]] = {file: [] for file in FILES}
        for _ in range(1 + ROUNDS):
            for file, pipe in pipes.items():
                start = time.perf_counter()
                for text in stand.texts:
                    pipe(text)
                taken[file].append(time.perf_counter() - start)
        self.about = min(FILES, key=lambda file: statistics.median(taken[file][1:]))
        self._pipe = pipes[self.about]

    def ask(self, text: str) -> dict[str, Any]:
        """Answer one text."""
        [answer] = self._pipe(text)
        return dict(answer)

    def play(self, play: Play) -> Played:
        """Let requests come."""
        return play_in_turn(self._pipe, play)


def _pipe(stand: Stand, file: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = stand.threads
    model = ORTModelForSequenceClassification.from_pretrained(stand.folder, file_name=file, session_options=options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(stand.checkpoint)
    return transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)


def load(stand: Stand) -> Service:
    """Load the quicker of the two."""
    return OptimumPipeline(stand)


if __name__ == "__main__":
    sys.exit(serve(LoadWorker(("optimum-onnx", "optimum", "onnxruntime", "torch", "transformers"), load)))
