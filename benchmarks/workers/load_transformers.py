"""Question: how does a transformers pipeline answer requests as they come, one after the other?"""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers

from benchmarks.workers.load import LoadWorker, Play, Played, Service, Stand, play_in_turn
from ortolan_exporters.contenders.serving import serve

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class TransformersPipeline:
    """A pipeline of transformers that is called for each request."""

    def __init__(self, stand: Stand) -> None:
        torch.set_num_threads(stand.threads)
        self._pipe = transformers.pipeline(
            "text-classification", model=stand.checkpoint, dtype=DTYPES[stand.kind], device="cpu"
        )
        self.about = f"{self._pipe.model.dtype}, {torch.get_num_threads()} threads"

    def ask(self, text: str) -> dict[str, Any]:
        """Answer one text."""
        [answer] = self._pipe(text)
        return dict(answer)

    def play(self, play: Play) -> Played:
        """Let requests come."""
        return play_in_turn(self._pipe, play)


def load(stand: Stand) -> Service:
    """Load the pipeline at one precision."""
    return TransformersPipeline(stand)


if __name__ == "__main__":
    sys.exit(serve(LoadWorker(("torch", "transformers"), load)))
