"""Question: how long does a bare call of a model that reads take, by length and by batch, beside other tools?

Expected: Ortolan int8 is the quickest or next to OpenVINO's static int8, several times as quick as eager PyTorch.
Full runs add DistilBERT's size, the other tasks, more shapes, and tools whose environments have to be made first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from benchmarks.peer_models import HELD_OUT, texts_of
from benchmarks.suite.races import Raced
from benchmarks.suite.session import Suite
from benchmarks.suite.subjects import BY_TASK, CLASSIFIERS, SHAPES
from benchmarks.suite.tools import names
from ortolan_exporters.contenders.registry import READING

full = pytest.mark.full
QUICK = "minilm"
MORE_SHAPES = ((1, 8), (1, 32), (1, 64), (1, 256), (8, 32), (32, 128))
MODELS = {**dict.fromkeys(CLASSIFIERS, (*SHAPES, *MORE_SHAPES)), **dict.fromkeys(BY_TASK, SHAPES)}
"""Models, and in which shapes: other heads on MiniLM's layers are not told apart by more of them."""

NUM_COMPARED = 100
CONTENDERS = dict.fromkeys(name for task in READING for name in names("forward", task))


def _case(shape: tuple[int, int]) -> str:
    return "{}x{}".format(*shape)


@pytest.fixture(scope="module", params=[QUICK, *(pytest.param(name, marks=full) for name in MODELS if name != QUICK)])
def raced(request: pytest.FixtureRequest, suite: Suite) -> Iterator[Raced]:
    """Race one model."""
    model = (CLASSIFIERS | BY_TASK)[request.param]
    # questions need contexts, and masks a mask: those that come with Ortolan have them
    texts = texts_of(HELD_OUT, NUM_COMPARED) if model.task == "text-classification" else ()
    with suite.race(model, "forward", shapes=MODELS[request.param], texts=texts) as raced:
        yield raced


@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("case", [_case(one) for one in SHAPES])
def test_bare_call(raced: Raced, show_raced: Callable[[Raced, str, str], None], case: str, contender: str) -> None:
    """Time a call of so many texts of so many tokens."""
    show_raced(raced, case, contender)


@full
@pytest.mark.parametrize("raced", CLASSIFIERS, indirect=True)
@pytest.mark.parametrize("contender", CONTENDERS)
@pytest.mark.parametrize("case", [_case(one) for one in MORE_SHAPES])
def test_more_shapes(raced: Raced, show_raced: Callable[[Raced, str, str], None], case: str, contender: str) -> None:
    """The same, for more lengths and batches."""
    show_raced(raced, case, contender)
