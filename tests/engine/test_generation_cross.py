"""What an encoder has said, kept for as long as somebody looks at it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ortolan.generation.cross import CrossCache
from ortolan.generation.layout import Layout, Part
from ortolan.session.base import Array
from ortolan.teacher_forcing import MASK

PARTS = (Part("0.key", 2, 3, "float32"), Part("0.value", 2, 3, "float32"))
LAYOUT = Layout((Part("0.key", 1, 1, "float32"),), PARTS)
PLENTY = 1 << 30


def encoded(*texts: list[int]) -> tuple[dict[str, Array], list[int]]:
    """What an encoder answers to texts: each token itself, and rubbish for padding."""
    longest = max(map(len, texts))
    rows = np.array([[*text, *[-1] * (longest - len(text))] for text in texts], np.float32)
    array = np.broadcast_to(rows[:, None, :, None], (len(texts), 2, longest, 3))
    return {f"cross.{part.name}": array for part in PARTS}, [len(text) for text in texts]


def read(cache: CrossCache, start: int = 0, stop: int | None = None) -> list[list[int]]:
    views = cache.views(start, cache.num_requests if stop is None else stop)
    mask = views.pop(MASK)
    assert (views["cross.0.key"] == views["cross.0.value"]).all()
    assert (np.diff(mask, axis=1) <= 0).all(), "padding is on the right"
    return [[int(one) for one in row[0, kept == 1, 0]] for row, kept in zip(views["cross.0.key"], mask, strict=True)]


def test_texts_come_and_go() -> None:
    cache = CrossCache(LAYOUT)
    cache.reserve(3, 5, PLENTY)
    cache.add(*encoded([1, 2], [3, 4, 5]))
    cache.add(*encoded([6, 7, 8, 9, 10]))
    assert read(cache) == [[1, 2], [3, 4, 5], [6, 7, 8, 9, 10]]
    assert read(cache, 1, 2) == [[3, 4, 5]]
    cache.reorder([2, 1])
    assert read(cache) == [[6, 7, 8, 9, 10], [3, 4, 5]]
    cache.reorder([])
    assert read(cache) == []


def test_width_follows_the_longest() -> None:
    cache = CrossCache(LAYOUT)
    cache.reserve(1, 5, PLENTY)
    assert cache.views(0, 0)[MASK].shape == (0, 16)
    cache.add(*encoded([1, 2]))
    cache.reserve(2, 100, PLENTY)
    cache.add(*encoded([3] * 100))
    assert cache.views(0, 2)[MASK].shape == (2, 112)
    cache.reorder([0])
    cache.reserve(1, 2, PLENTY)
    assert cache.views(0, 1)[MASK].shape == (1, 16), "no text pays for a longer one that has gone"
    assert read(cache) == [[1, 2]]


def test_memory_is_that_of_the_formula() -> None:
    cache = CrossCache(LAYOUT)
    cache.reserve(3, 20, LAYOUT.num_bytes(0, 0, 3, 20))
    assert cache.num_bytes == LAYOUT.num_bytes(0, 0, 3, 20) == 3 * 20 * 48
    cache.reserve(3, 20, PLENTY)
    assert cache.num_bytes == 3 * 20 * 48
    cache.reserve(0, 0, PLENTY)
    assert cache.num_bytes == 0


texts = st.lists(st.integers(1, 90), min_size=1, max_size=40)


@given(
    st.lists(st.tuples(st.lists(texts, min_size=1, max_size=3), st.lists(st.integers(0, 9), max_size=4, unique=True)))
)
def test_texts_are_what_lists_would_be(plan: list[tuple[list[list[int]], list[int]]]) -> None:
    cache, kept = CrossCache(LAYOUT), list[list[int]]()
    for new, order in plan:
        cache.reserve(len(kept) + len(new), max(map(len, [*kept, *new])), PLENTY)
        cache.add(*encoded(*new))
        kept += new
        assert read(cache) == kept
        order = [place for place in order if place < len(kept)]
        cache.reorder(order)
        kept = [kept[place] for place in order]
        cache.reserve(len(kept), max(map(len, kept), default=0), PLENTY)
        assert read(cache) == kept
