"""What only a CUDA device can show. Needs the gpu extra; no machine of this project has run it yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan import Model
from tests.engine.damage import GOLDEN

pytestmark = pytest.mark.gpu

SHAPES = [(1, 8), (4, 16), (16, 64)]


def model(provider: str, **options: Any) -> Model:
    return Model.load(GOLDEN, provider, "fp32", provider_options=options)


def arrays(rows: int, columns: int, seed: int) -> dict[str, Any]:
    ids = np.random.default_rng(seed).integers(0, 30, (rows, columns))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@pytest.fixture(scope="module")
def cpu() -> Model:
    return model("cpu")


@pytest.mark.parametrize(
    "options",
    [{}, {"cuda_graphs": True}, {"arena_bytes": 1 << 30}, {"cuda_graphs": True, "arena_bytes": 1 << 30}],
    ids=["plain", "graphs", "small-arena", "graphs-in-a-small-arena"],
)
def test_cuda_answers_as_the_cpu_does_at_every_run_of_every_shape(cpu: Model, options: dict[str, Any]):
    cuda = model("cuda", **options)
    assert cuda.provider == "cuda"
    for turn in range(4):  # with graphs: without one, captured, replayed twice
        for shape in SHAPES:
            inputs = arrays(*shape, seed=turn)
            np.testing.assert_allclose(cuda(**inputs).logits, cpu(**inputs).logits, atol=1e-4)


def test_a_replayed_graph_overwrites_no_answer_in_hand():
    cuda = model("cuda", cuda_graphs=True)
    answers = [cuda(**arrays(2, 8, seed)).logits for seed in range(5)]
    again = [cuda(**arrays(2, 8, seed)).logits for seed in range(5)]
    assert [answer.tolist() for answer in answers] == [answer.tolist() for answer in again]


def test_a_stream_of_the_caller_is_used(cpu: Model):
    torch = pytest.importorskip("torch")
    stream = torch.cuda.Stream()
    cuda = model("cuda", stream=stream.cuda_stream)
    inputs = arrays(2, 8, seed=0)
    np.testing.assert_allclose(cuda(**inputs).logits, cpu(**inputs).logits, atol=1e-4)
