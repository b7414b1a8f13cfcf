"""Question: how long does tokenizing take, beside the library that does it and beside transformers?

Expected: near the bare library, which Ortolan calls, and less than transformers, which wraps the same library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import tokenizers
import transformers

from benchmarks.peer_models import HELD_OUT, MINILM, texts_of
from benchmarks.suite.session import Suite
from ortolan.bench.records import Case
from ortolan.request import TextInput
from ortolan.timing import interleave
from ortolan.tokenize import Tokenizer

LIBRARY, TRANSFORMERS, OWN = "tokenizers", "transformers", "Ortolan"
COUNTS = (1, 100, 1000)
MAX_LENGTH = 512


@pytest.fixture(scope="module", params=COUNTS, ids=lambda count: f"{count} texts")
def cases(request: pytest.FixtureRequest, suite: Suite) -> list[Case]:
    """Let the three take turns in this process, on sentences of the default model."""
    asked = texts_of(HELD_OUT, request.param)
    texts = [one.text for one in asked]
    bare = tokenizers.Tokenizer.from_file(str(MINILM / "tokenizer.json"))
    bare.enable_truncation(MAX_LENGTH)
    bare.no_padding()
    wrapped = transformers.AutoTokenizer.from_pretrained(MINILM)
    own = Tokenizer.load(MINILM, max_length=MAX_LENGTH)
    calls: dict[str, Callable[[], object]] = {
        LIBRARY: lambda: bare.encode_batch(texts),
        TRANSFORMERS: lambda: wrapped(texts, truncation=True, max_length=MAX_LENGTH),
        OWN: lambda: own.encode(asked, own.truncation(True, None)),
    }
    _check(bare, wrapped, own, asked)
    count = f"{len(texts)} text{'s' * (len(texts) != 1)}"
    times = interleave(calls, suite.rounds, f"tokenizing {count}")
    return [
        suite.case(
            group="tokenization",
            subject="WordPiece of MiniLM-L6",
            case=count,
            contender=name,
            unit="ms",
            better="less",
            rounds=tuple(map(tuple, times[name].rounds)),
            rows=len(texts),
            reference=TRANSFORMERS,
        )
        for name in calls
    ]


@pytest.mark.parametrize("contender", [LIBRARY, TRANSFORMERS, OWN])
def test_tokenizing(cases: list[Case], show: Callable[[Sequence[Case], str, str], None], contender: str) -> None:
    """Time one call with a list of texts."""
    show(cases, contender, "not measured")


def _check(bare: tokenizers.Tokenizer, wrapped: object, own: Tokenizer, asked: Sequence[TextInput]) -> None:
    """Stop unless all three give the same ids: parity comes before timing."""
    texts = [one.text for one in asked]
    found = [one.ids for one in own.encode(asked, own.truncation(True, None))]
    assert found == [one.ids for one in bare.encode_batch(texts)]
    assert found == wrapped(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]  # type: ignore[operator]
