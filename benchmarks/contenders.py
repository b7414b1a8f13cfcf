"""What is compared: eager PyTorch, in two precisions, and Ortolan, in two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ortolan import Model, Pipeline, pipeline
from ortolan.batch.lists import plan_batches
from ortolan.config import BatchConfig
from ortolan.session.processors import usable_threads

Feed = dict[str, NDArray[np.int64]]


class Eager:
    """A module of transformers with the attention that transformers chooses, on as many threads as Ortolan uses."""

    def __init__(self, module: Any, tokenizer: Any, dtype: torch.dtype) -> None:
        torch.set_num_threads(usable_threads())
        self._module = module.to(dtype).eval()
        self._tokenizer = tokenizer

    def logits(self, feed: Feed) -> NDArray[np.float32]:
        """Run one tokenized batch: int64 [B, S] in, float32 [B, V] out."""
        with torch.inference_mode():
            outputs = self._module(**{name: torch.from_numpy(array) for name, array in feed.items()})
        return np.asarray(outputs.logits.float().numpy())

    def classify(self, texts: Sequence[str]) -> list[str]:
        """Label texts, tokenizing them, in the same length-sorted batches that an Ortolan pipeline makes."""
        encoded = self._tokenizer(list(texts), truncation=True)
        limits = BatchConfig()
        labels: list[str] = [""] * len(texts)
        for batch in plan_batches(
            [len(ids) for ids in encoded["input_ids"]],
            max_batch_size=limits.max_batch_size,
            max_batch_tokens=limits.max_batch_tokens,
        ):
            rows = {name: [values[i] for i in batch] for name, values in encoded.items()}
            padded = self._tokenizer.pad(rows, return_tensors="np")
            for index, best in zip(batch, self.logits(dict(padded)).argmax(-1), strict=True):
                labels[index] = self._module.config.id2label[int(best)]
        return labels


class Ortolan:
    """An artifact at one precision."""

    def __init__(self, folder: Path, precision: str) -> None:
        self._pipe: Pipeline = pipeline("text-classification", folder, provider="cpu", precision=precision)
        self.model: Model = self._pipe.model

    def logits(self, feed: Feed) -> NDArray[np.float32]:
        """Run one tokenized batch: int64 [B, S] in, float32 [B, V] out."""
        return np.asarray(self.model(**feed)["logits"])

    def classify(self, texts: Sequence[str]) -> list[str]:
        """Label texts, tokenizing them."""
        return [str(row["label"]) for row in self._pipe(list(texts), truncation=True)]


def four_contenders(load: Callable[[], Any], tokenizer: Any, folder: Path) -> dict[str, Eager | Ortolan]:
    """Make the four.

    Args:
        load: Returns the torch module, a new one at each call: precisions change it in place.
        tokenizer: Its tokenizer.
        folder: The artifact made of it.
    """
    return {
        "eager fp32": Eager(load(), tokenizer, torch.float32),
        "eager bf16": Eager(load(), tokenizer, torch.bfloat16),
        "Ortolan fp32": Ortolan(folder, "fp32"),
        "Ortolan int8": Ortolan(folder, "int8"),
    }


def check_parity(contenders: Mapping[str, Eager | Ortolan], feed: Feed) -> None:
    """Stop unless fp32 answers what torch answers: parity comes before timing."""
    difference = np.abs(contenders["Ortolan fp32"].logits(feed) - contenders["eager fp32"].logits(feed)).max()
    if not difference <= 1e-4:
        raise SystemExit(f"fp32 differs from torch by {difference:.2g}: nothing is timed")
