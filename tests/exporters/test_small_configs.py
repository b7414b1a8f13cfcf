"""Encoders of random shapes: the graph of each answers as torch does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import transformers
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import resolve
from ortolan_exporters.trace import trace
from tests import tiny
from tests.exporters.parity import check_forms

pytestmark = pytest.mark.parity

ACTIVATIONS = ("silu", "gelu", "relu", "gelu_new")


@dataclass(frozen=True, slots=True)
class Shape:
    """A small encoder, and the batches that it is asked."""

    model_type: str
    heads: int
    head_size: int
    layers: int
    between: int
    embedding: int
    activation: str
    vocabulary: int
    positions: int
    labels: int
    segments: int
    batches: tuple[tuple[int, int], ...]

    @property
    def config(self) -> Any:
        """Its config, in the words of its architecture."""
        hidden = self.heads * self.head_size
        common = {"vocab_size": self.vocabulary, "initializer_range": 0.2, "num_labels": self.labels, "pad_token_id": 0}
        # two places more: RoBERTa begins to count after its padding token
        common["max_position_embeddings"] = self.positions + 2
        if self.model_type == "distilbert":
            sizes = {"dim": hidden, "n_layers": self.layers, "n_heads": self.heads, "hidden_dim": self.between}
            return transformers.DistilBertConfig(**common, **sizes, activation=self.activation)
        sizes = {
            "hidden_size": hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.between,
            "type_vocab_size": self.segments,
        }
        if self.model_type in ("electra", "albert"):
            sizes["embedding_size"] = self.embedding
        return transformers.AutoConfig.for_model(self.model_type, **common, **sizes, hidden_act=self.activation)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """A shape, with batches no longer than it reads; what comes first in a list is what is tried first."""
    positions = draw(st.integers(8, 40))
    batch = st.tuples(st.integers(1, 4), st.integers(1, positions))
    return Shape(
        model_type=draw(st.sampled_from(["electra", "albert", "bert", "distilbert", "roberta"])),
        heads=draw(st.sampled_from([3, 1, 2, 4])),
        head_size=draw(st.sampled_from([4, 8, 12])),
        layers=draw(st.sampled_from([2, 1])),
        between=draw(st.integers(3, 40)),
        embedding=draw(st.sampled_from([8, 12, 16])),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        vocabulary=draw(st.integers(len(tiny.tokenizer()), 300)),
        positions=positions,
        labels=draw(st.sampled_from([5, 1, 2, 3])),
        segments=draw(st.sampled_from([2, 1, 3])),
        batches=tuple(draw(st.lists(batch, min_size=2, max_size=4))),
    )


def module_of(shape: Shape) -> transformers.PreTrainedModel:
    """A classifier of that shape, whose biases and norms are random too."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(shape.config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def check(shape: Shape) -> None:
    checkpoint = resolve(module_of(shape), tiny.tokenizer(), ExportConfig(task="text-classification"))
    with TemporaryDirectory() as folder:
        forms = check_forms(checkpoint, trace(checkpoint)["model"], Path(folder), shape.batches)
    assert "fused" in forms


def few(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many examples, and no search for a smaller one: each takes seconds to trace."""
    return settings(max_examples=count, phases=[Phase.explicit, Phase.generate])


@few(4)
@given(shape=shapes())
def test_graph_of_a_random_encoder_answers_as_torch_does(shape: Shape) -> None:
    check(shape)


@pytest.mark.slow
@few(25)
@given(shape=shapes())
def test_graphs_of_many_random_encoders_answer_as_torch_does(shape: Shape) -> None:
    check(shape)
