"""The cache: rows that grow, move and split, and what it takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.errors import ConfigError
from ortolan.generation.cache import KEPT_BYTES, SlotCache
from ortolan.generation.layout import Layout, Part

LAYOUT = Layout((Part("0.key", 2, 3, "float32"), Part("0.value", 1, 5, "float16")))
TOKEN_BYTES = 2 * 3 * 4 + 5 * 2
PLENTY = 1 << 34


def cache_of(rows: int, length: int, most_bytes: int = PLENTY) -> SlotCache:
    cache = SlotCache(LAYOUT)
    cache.reserve(rows, length, most_bytes)
    return cache


def write(cache: SlotCache, row: int, *values: int) -> None:
    """Write what stands for tokens behind those of a row, as a graph does."""
    length = int(cache.lengths[row])
    for array in cache.views(row, row + 1).values():
        array[0, :, length : length + len(values)] = np.array(values)[:, None]
    cache.wrote(row, np.array([length]), len(values), np.array([len(values)]))


def read(cache: SlotCache, row: int) -> list[int]:
    """What stands in a row, the same in all parts."""
    length = int(cache.lengths[row])
    found = [array[:, :length] for array in cache.read(row, length).values()]
    assert all((part == found[0][0, :, :1]).all() for part in found)
    return [int(one) for one in found[0][0, :, 0]]


def test_memory_is_rows_times_length_times_bytes_of_a_token() -> None:
    cache = cache_of(3, 70)
    assert (cache.max_rows, cache.max_length) == (4, 128), "it grows by steps"
    assert cache.num_bytes == LAYOUT.num_bytes(4, 128) == 4 * 128 * TOKEN_BYTES
    assert cache.num_bytes == sum(array.nbytes for array in cache.views(0, 4).values())


def test_steps_are_left_out_where_memory_is_short() -> None:
    assert cache_of(3, 70, LAYOUT.num_bytes(3, 128)).num_bytes == LAYOUT.num_bytes(3, 128)
    assert cache_of(3, 70, LAYOUT.num_bytes(3, 70)).num_bytes == LAYOUT.num_bytes(3, 70)
    message = "a cache of 3 rows of 70 tokens requested, it takes 7140 bytes, and may take 7139; ask for fewer"
    with pytest.raises(ConfigError, match=message):
        cache_of(3, 70, LAYOUT.num_bytes(3, 70) - 1)


def test_rows_that_are_there_survive_growth() -> None:
    cache = cache_of(1, 10)
    write(cache, cache.add(), 1, 2, 3)
    version = cache.version
    cache.reserve(9, 500, PLENTY)
    assert cache.version > version
    assert (cache.max_rows, cache.max_length) == (16, 512)
    assert read(cache, 0) == [1, 2, 3]
    cache.reserve(9, 500, PLENTY)
    assert cache.version == version + 1, "what is large enough stays where it is"


def test_small_cache_is_kept_and_a_large_one_let_go() -> None:
    small = cache_of(2, 64)
    small.reserve(0, 0, PLENTY)
    assert small.num_bytes == LAYOUT.num_bytes(2, 64)
    large = cache_of(2 * KEPT_BYTES // LAYOUT.num_bytes(1, 1024), 1024)
    assert large.num_bytes > KEPT_BYTES
    write(large, large.add(), 1, 2)
    large.reserve(1, 64, PLENTY)
    assert large.num_bytes == LAYOUT.num_bytes(1, 64)
    assert read(large, 0) == [1, 2]
    large.reorder([])
    large.reserve(0, 0, PLENTY)
    assert large.num_bytes <= KEPT_BYTES


def test_cache_that_has_got_too_large_for_what_it_may_take_shrinks() -> None:
    cache = cache_of(8, 64)
    cache.reserve(1, 128, LAYOUT.num_bytes(1, 128))
    assert cache.num_bytes == LAYOUT.num_bytes(1, 128)


def test_use_is_reported() -> None:
    cache = cache_of(2, 10)
    assert cache.used_bytes == 0
    write(cache, cache.add(), 1, 2, 3)
    write(cache, cache.add(), 4)
    assert cache.used_bytes == 4 * TOKEN_BYTES
    cache.reorder([1])
    assert cache.used_bytes == TOKEN_BYTES


def test_rows_split_swap_and_leave() -> None:
    cache = cache_of(4, 10)
    for values in ([1, 2], [3], [4, 5, 6]):
        write(cache, cache.add(), *values)
    cache.reorder([2, 0, 0, 2])
    assert [read(cache, row) for row in range(4)] == [[4, 5, 6], [1, 2], [1, 2], [4, 5, 6]]
    cache.reorder([1])
    assert (cache.num_rows, read(cache, 0)) == (1, [1, 2])


def test_rows_with_a_common_past_copy_only_what_differs() -> None:
    cache = cache_of(2, 10)
    write(cache, cache.add(), 1, 2, 3, 4)
    cache.reorder([0, 0])
    write(cache, 0, 5)
    write(cache, 1, 6)
    for array in cache.views(1, 2).values():
        array[0, :, :4] = 9  # would be mended by a copy of the whole row
    cache.reorder([0, 0])
    assert [read(cache, row) for row in range(2)] == [[1, 2, 3, 4, 5], [9, 9, 9, 9, 5]]


def test_tokens_that_were_guessed_wrong_are_dropped_and_written_over() -> None:
    cache = cache_of(2, 10)
    write(cache, cache.add(), 1, 2, 3)
    cache.reorder([0, 0])
    cache.drop(0, 1, 2)
    write(cache, 0, 7)
    assert [read(cache, row) for row in range(2)] == [[1, 7], [1, 2, 3]]
    cache.reorder([0, 0])
    assert [read(cache, row) for row in range(2)] == [[1, 7], [1, 7]]


def test_padding_behind_a_row_is_no_part_of_it() -> None:
    cache = cache_of(2, 10)
    write(cache, cache.add(), 1, 2, 3)
    cache.reorder([0, 0])
    for array in cache.views(0, 1).values():
        array[0, :, 3:6] = np.array([4, 0, 0])[:, None]
    cache.wrote(0, np.array([3]), 3, np.array([1]))
    assert read(cache, 0) == [1, 2, 3, 4]
    write(cache, 1, 8, 8, 8, 8)
    cache.reorder([1, 1])
    assert read(cache, 0) == [1, 2, 3, 8, 8, 8, 8], "what padding has overwritten is not taken for the same"


def test_row_is_copied_out_and_in() -> None:
    cache = cache_of(2, 10)
    write(cache, cache.add(), 1, 2, 3)
    kept = cache.read(0, 3)
    assert {name: array.shape for name, array in kept.items()} == {"0.key": (2, 3, 3), "0.value": (1, 3, 5)}
    write(cache, 0, 4)
    cache.write(cache.add(), kept, 2)
    assert [read(cache, row) for row in range(2)] == [[1, 2, 3, 4], [1, 2]]


values = st.lists(st.integers(1, 200), min_size=1, max_size=4)
deeds = st.lists(
    st.one_of(
        st.tuples(st.just("add"), values),
        st.tuples(st.just("write"), values),
        st.tuples(st.just("drop"), st.integers(0, 3)),
        st.tuples(st.just("order"), st.lists(st.integers(0, 99), max_size=6)),
        st.tuples(st.just("room"), st.integers(1, 300)),
    ),
    max_size=25,
)


@given(deeds, st.randoms(use_true_random=False))
def test_rows_are_what_lists_would_be(plan: list[tuple[str, object]], random: object) -> None:
    cache, rows = SlotCache(LAYOUT), list[list[int]]()
    for name, what in plan:
        row = random.randrange(len(rows)) if rows else None  # type: ignore[attr-defined]
        if name == "order" and rows:
            parents = [one % len(rows) for one in what]  # type: ignore[attr-defined]
            cache.reserve(max(len(parents), len(rows)), 0, PLENTY)
            cache.reorder(parents)
            rows = [list(rows[parent]) for parent in parents]
        elif name == "room":
            cache.reserve(0, int(what), PLENTY)  # type: ignore[call-overload]
        elif name == "add":
            cache.reserve(len(rows) + 1, 100, PLENTY)
            write(cache, cache.add(), *what)  # type: ignore[misc]
            rows.append(list(what))  # type: ignore[call-overload]
        elif row is not None and name == "write":
            cache.reserve(0, 100, PLENTY)
            write(cache, row, *what)  # type: ignore[misc]
            rows[row] += list(what)  # type: ignore[call-overload]
        elif row is not None and name == "drop":
            count = min(int(what), len(rows[row]) - 1)  # type: ignore[call-overload]
            cache.drop(row, row + 1, count)
            rows[row] = rows[row][: len(rows[row]) - count]
        assert cache.num_rows == len(rows)
        assert [read(cache, number) for number in range(len(rows))] == rows
