"""Stand-ins for what is slow, absent, or never fails by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ortolan import Artifact, Model, Tokenizer
from ortolan.session.base import Array, Signature, Stop, TensorSpec
from ortolan.tasks.base import ModelFacts
from tests.engine.damage import GOLDEN

IDS = TensorSpec("input_ids", "int64", ("batch", "sequence"))
MASK = TensorSpec("attention_mask", "int64", ("batch", "sequence"))
TYPES = TensorSpec("token_type_ids", "int64", ("batch", "sequence"))
LOGITS = TensorSpec("logits", "float32", ("batch", 2))


class FakeSession:
    """A graph whose second logit is the sum of a row's ids divided by 1000, padding left out."""

    def __init__(self, inputs: tuple[TensorSpec, ...] = (IDS, MASK, TYPES)) -> None:
        self.signature = Signature(inputs, (LOGITS,))
        self.provider = "fake"
        self.shapes: list[tuple[int, int]] = []
        self.feed: Mapping[str, Array] = {}

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        self.feed = feed
        self.shapes.append(feed["input_ids"].shape)
        real = feed["input_ids"] * feed["attention_mask"]
        second = real.sum(axis=1) / 1000
        return {"logits": np.stack([np.zeros_like(second), second], axis=1).astype(np.float32)}


class ConstantSession(FakeSession):
    """A graph that answers every row alike."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self._logits = logits

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        return {"logits": np.array([self._logits] * len(feed["input_ids"]), dtype=np.float32)}


def fake_model(folder: Path, session: FakeSession | None = None) -> Model:
    """A model with the files of an artifact and a fake graph."""
    return Model(Artifact.open(folder), Tokenizer.load(folder, max_length=64), session or FakeSession(), "fp32", "fake")


def facts(
    *,
    config: Mapping[str, Any] | None = None,
    labels: Mapping[int, str] | None = None,
    tokenizer: Tokenizer | None = None,
) -> ModelFacts:
    """What a task knows of a model; the tokenizer of the golden artifact unless there is another."""
    return ModelFacts(config or {}, labels or {}, tokenizer or Tokenizer.load(GOLDEN, max_length=64))


class FakeOnnxRuntime:
    """An ONNX Runtime of which only the list of providers and the place on disk matter."""

    def __init__(self, *available: str, folder: Path = Path("/nowhere")) -> None:
        self._available = list(available)
        self.__file__ = str(folder / "__init__.py")

    def get_available_providers(self) -> list[str]:
        return self._available
