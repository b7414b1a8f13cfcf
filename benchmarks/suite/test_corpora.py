"""Question: how long does a pipeline take for a list of texts of mixed lengths, tokenizing and decoding included?

Expected: Ortolan's sorts texts by length and fills batches by tokens, which others' pipelines do not: they are called
with the list, as their users do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.peer_models import HELD_OUT, texts_of
from benchmarks.suite.races import Raced
from benchmarks.suite.session import Suite
from benchmarks.suite.subjects import BY_TASK, CLASSIFIERS
from benchmarks.suite.tools import names

full = pytest.mark.full
MODELS = {**CLASSIFIERS, "sentence-embedding": BY_TASK["sentence-embedding"]}
NUM_TEXTS = 100
CONTENDERS = dict.fromkeys(name for model in MODELS.values() for name in names("texts", model.task))


@pytest.fixture(
    scope="module",
    params=["minilm", *(pytest.param(name, marks=full) for name in MODELS if name != "minilm")],
)
def raced(request: pytest.FixtureRequest, suite: Suite) -> Iterator[Raced]:
    """Race one model."""
    with suite.race(MODELS[request.param], "texts", texts=texts_of(HELD_OUT, NUM_TEXTS)) as raced:
        yield raced


@pytest.mark.parametrize("contender", CONTENDERS)
def test_list_of_sentences(raced: Raced, show_raced: Callable[[Raced, str, str], None], contender: str) -> None:
    """Time one call with a list."""
    show_raced(raced, f"{NUM_TEXTS} texts", contender)
