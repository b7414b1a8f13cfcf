"""Any text in: a result comes out, or an error of this project."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ortolan import OrtolanError, TruncatedWarning
from ortolan.postprocess.entities import STRATEGIES
from tests.parity.conftest import Served
from tests.parity.matrix import QUICK

pytestmark = pytest.mark.parity

PIECES = (
    "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<s>", "</s>", "<mask>", "<pad>", "<unk>", "<|endoftext|>",
    "##ing", "▁", "Ġ", " ", "\t", "\r\n", "\x00", "\ud800", "\u200d", "\u0301", "\u202e", "\ufeff", "\U0010ffff",
    "🏳️‍🌈", "ß", "İ", "ﬁ", "שָׁ", "中", "a" * 120, "Anna ", "Anna went home. " * 30,
)  # fmt: skip

# with lone surrogates, which hypothesis leaves out by default
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(st.characters(), max_size=12)), max_size=8).map("".join)

# what a fixture makes is never changed, so that examples may share it
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)


def heads(*names: str) -> Any:
    rows = [(model_type, kind) for head in names for model_type, kind in QUICK[head]]
    return pytest.mark.parametrize(("model_type", "kind"), rows)


def answer(pipe: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    """Answer, or None where an error of this project says why not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncatedWarning)
        try:
            return pipe(*inputs, **options)
        except OrtolanError:
            return None


def is_refused(text: str) -> bool:
    """Whether a text has nothing to read, or is none at all."""
    return not text.strip() or any("\ud800" <= character <= "\udfff" for character in text)


def scores_are_shares(scores: list[float]) -> bool:
    return all(type(score) is float and 0 <= score <= 1 for score in scores)


@heads("text-classification")
@shared
@given(text=texts, pair=st.one_of(st.none(), texts))
def test_text_classification(served: Served, model_type: str, kind: str, text: str, pair: str | None) -> None:
    pipe = served(model_type, "text-classification", kind).ours("text-classification")
    found = answer(pipe, {"text": text, "text_pair": pair}, top_k=None, truncation=True)
    assert (found is None) == (is_refused(text) or (pair is not None and is_refused(pair)))
    if found is not None:
        assert scores_are_shares([one["score"] for one in found])


@heads("token-classification")
@shared
@given(text=texts, strategy=st.sampled_from(STRATEGIES), stride=st.one_of(st.none(), st.integers(0, 50)))
def test_token_classification(
    served: Served, model_type: str, kind: str, text: str, strategy: str, stride: int | None
) -> None:
    pipe = served(model_type, "token-classification", kind, 66).ours("ner")
    stride = None if strategy == "none" else stride
    found = answer(pipe, text, aggregation_strategy=strategy, stride=stride, ignore_labels=[])
    assert (found is None) == is_refused(text)
    if found is not None:
        check_places(found, len(text))


@heads("token-classification")
@shared
@given(words=st.lists(texts, max_size=5), delimiter=st.sampled_from([" ", "", "\n--"]))
def test_token_classification_of_words(
    served: Served, model_type: str, kind: str, words: list[str], delimiter: str
) -> None:
    pipe = served(model_type, "token-classification", kind, 66).ours("ner")
    found = answer(pipe, words, is_split_into_words=True, delimiter=delimiter, ignore_labels=[])
    assert (found is None) == (not words or any(map(is_refused, words)))
    if found is not None:
        check_places(found[0], len(delimiter.join(words)))


def check_places(found: list[dict[str, Any]], length: int) -> None:
    assert scores_are_shares([one["score"] for one in found])
    assert all(0 <= one["start"] <= one["end"] <= length for one in found)


@heads("fill-mask")
@shared
@given(before=texts, after=texts, targets=st.one_of(st.none(), texts))
@pytest.mark.filterwarnings("ignore:target .* has no token")
@pytest.mark.filterwarnings("ignore:target .* is no token")
def test_fill_mask(served: Served, model_type: str, kind: str, before: str, after: str, targets: str | None) -> None:
    both = served(model_type, "fill-mask", kind)
    pipe = both.ours("fill-mask")
    found = answer(pipe, before + both.tokenizer.mask_token + after, targets=targets)
    if targets is None and len(before + after) < 200 and not is_refused(f"x{before}{after}"):
        assert found is not None
    if found is not None:
        gaps = [found] if isinstance(found[0], dict) else found
        assert all(scores_are_shares([one["score"] for one in gap]) for gap in gaps)


@heads("feature-extraction")
@shared
@given(text=texts)
def test_feature_extraction(served: Served, model_type: str, kind: str, text: str) -> None:
    pipe = served(model_type, "feature-extraction", kind).ours("feature-extraction")
    found = answer(pipe, text, truncation=True)
    assert (found is None) == is_refused(text)
    if found is not None:
        assert np.isfinite(found).all()


@heads("text-classification")
@shared
@given(text=texts, labels=st.one_of(texts, st.lists(texts, max_size=3)))
def test_zero_shot_classification(
    served: Served, model_type: str, kind: str, text: str, labels: str | list[str]
) -> None:
    pipe = served(model_type, "text-classification", kind).ours("zero-shot-classification")
    found = answer(pipe, text, labels)
    if found is not None:
        assert found["sequence"] == text
        assert scores_are_shares(found["scores"])
        assert sum(found["scores"]) == pytest.approx(1.0) or len(found["scores"]) == 1
