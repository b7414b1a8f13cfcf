"""sentence-embedding against torch: hidden states pooled, projected and scaled as the module list says."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

import ortolan
from ortolan import OrtolanError, UnverifiedWarning
from ortolan.pipeline import Pipeline
from tests import checkpoints
from tests.parity import texts
from tests.parity.compare import TOLERANCE, compared

TASK = "sentence-embedding"
POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda hidden: hidden.mean(0),
    "cls": lambda hidden: hidden[0],
    "max": lambda hidden: hidden.max(0).values,
    "last": lambda hidden: hidden[-1],
}

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::ortolan.TruncatedWarning")]


@dataclass(frozen=True)
class Made:
    """A checkpoint of a text encoder, exported for a task.

    Attributes:
        checkpoint: Its folder.
        artifact: The folder of the artifact.
        pipe: The pipeline.
        normalizes: Whether its module list scales vectors to length 1.
        mode: How its module list pools.
    """

    checkpoint: Path
    artifact: Path
    pipe: Pipeline
    mode: str
    normalizes: bool

    def expected(self, text: str, mode: str | None = None, *, normalizes: bool | None = None) -> np.ndarray:
        """The embedding of a text, by torch."""
        vector = POOLS[mode or self.mode](hidden_states(self.checkpoint, text))
        scales = self.normalizes if normalizes is None else normalizes
        return (vector / vector.norm() if scales else vector).numpy()


@functools.cache
def loaded(folder: Path) -> tuple[Any, Any]:
    module = transformers.AutoModel.from_pretrained(folder).eval()
    return module, transformers.AutoTokenizer.from_pretrained(folder)


@functools.cache
def hidden_states(folder: Path, text: str) -> torch.Tensor:
    module, tokenizer = loaded(folder)
    with torch.inference_mode():
        found: torch.Tensor = module(**tokenizer(text, truncation=True, return_tensors="pt")).last_hidden_state[0]
    return found


def add_modules(folder: Path, mode: str, *, normalizes: bool) -> Path:
    """Write the module list of sentence-transformers."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalizes else [])]
    rows = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    flag = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "last": "lasttoken"}[mode]
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{flag}": True}), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make an encoder and export it, once."""

    @functools.cache
    def once(model_type: str, kind: str, mode: str, normalizes: bool, task: str = TASK) -> Made:
        folder = tmp_path_factory.mktemp(f"encoder-{model_type}")
        checkpoint = checkpoints.checkpoint(folder / "checkpoint", model_type, "feature-extraction", kind)
        if task == TASK:
            add_modules(checkpoint, mode, normalizes=normalizes)
        artifact = checkpoints.artifact(checkpoint, folder / "artifact", task).folder
        return Made(checkpoint, artifact, ortolan.pipeline(TASK, artifact, provider="cpu"), mode, normalizes)

    return once


def inputs(one: Made) -> list[str]:
    found = list(texts.texts(loaded(one.checkpoint)[1]).values())
    assert len(found) >= 40
    return [*found, " ".join(found)]  # the last is too long


def check(found: np.ndarray, expected: np.ndarray) -> None:
    compared[TASK] += 1
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    assert np.abs(found - expected).max() <= TOLERANCE


ENCODERS = [
    pytest.param("bert", "wordpiece-uncased", "mean", True, id="bert-mean-normalized"),
    pytest.param("xlm-roberta", "unigram", "cls", False, id="xlm-roberta-cls", marks=pytest.mark.slow),
    pytest.param("roberta", "byte-level", "mean", False, id="roberta-mean", marks=pytest.mark.slow),
    pytest.param("distilbert", "wordpiece-cased", "max", True, id="distilbert-max", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("model_type", "kind", "mode", "normalizes"), ENCODERS)
def test_embeddings_are_those_of_torch(made: Any, model_type: str, kind: str, mode: str, normalizes: bool):
    one = made(model_type, kind, mode, normalizes)
    all_texts = inputs(one)
    for text in all_texts:
        check(one.pipe(text), one.expected(text))
    for row, text in zip(one.pipe(all_texts), all_texts, strict=True):
        check(row, one.expected(text))


@pytest.mark.parametrize("mode", list(POOLS))
def test_another_pooling_is_that_of_the_hidden_states(made: Any, mode: str):
    one = made("bert", "wordpiece-uncased", "mean", True)
    all_texts = inputs(one)
    for row, text in zip(one.pipe(all_texts, pooling=mode), all_texts, strict=True):
        check(row, one.expected(text, mode, normalizes=False))
    for row, text in zip(one.pipe(all_texts[:5], pooling=mode, normalize=True), all_texts, strict=False):
        check(row, one.expected(text, mode, normalizes=True))


def test_a_part_of_each_vector_is_its_beginning_scaled_anew(made: Any):
    one = made("bert", "wordpiece-uncased", "mean", True)
    for text in inputs(one)[:10]:
        part = one.expected(text)[:16]
        check(one.pipe(text, truncate_dim=16), part / np.linalg.norm(part))
        check(one.pipe(text, truncate_dim=16, normalize=False), part)


@pytest.fixture(scope="session")
def features(made: Any) -> Made:
    """An artifact that answers with hidden states and knows of no pooling."""
    found: Made = made("distilbert", "wordpiece-cased", "mean", False, "feature-extraction")
    return found


def test_hidden_states_without_a_module_list_are_averaged(features: Made):
    all_texts = inputs(features)
    for row, text in zip(features.pipe(all_texts), all_texts, strict=True):
        check(row, features.expected(text))


def test_a_part_of_vectors_of_any_length_is_their_beginning(features: Made):
    for text in inputs(features)[:10]:
        check(features.pipe(text, truncate_dim=16), features.expected(text)[:16])


@given(st.text(st.characters(exclude_categories=()), max_size=60))
@settings(max_examples=40)
def test_any_text_is_embedded_or_refused(features: Made, text: str):
    try:
        found = features.pipe(text)
    except OrtolanError:
        return
    assert found.ndim == 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("mode", "normalizes"), [("mean", True), ("cls", False), ("max", True), ("last", False)])
def test_a_graph_of_another_tool_is_pooled_as_the_folder_says(
    features: Made, tmp_path: Path, mode: str, normalizes: bool
):
    folder = Path(shutil.copytree(features.artifact, tmp_path / "foreign"))
    for name in ("ortolan.json", "README.md"):
        (folder / name).unlink()
    add_modules(folder, mode, normalizes=normalizes)
    with pytest.warns(UnverifiedWarning):
        pipe = ortolan.pipeline(TASK, folder, provider="cpu", precision="fp32")
    all_texts = inputs(features)[:12]
    for row, text in zip(pipe(all_texts), all_texts, strict=True):
        check(row, features.expected(text, mode, normalizes=normalizes))
