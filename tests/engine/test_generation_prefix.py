"""Prompts that begin alike are read once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ortolan.generation import prefix
from ortolan.generation.cache import SlotCache
from ortolan.generation.prefix import LEAST_SHARED, Prefixes
from ortolan.generation.scheduler import Scheduler
from tests.engine.fake_decoder import continued, fake_decoder, greedy
from tests.engine.test_generation_cache import LAYOUT, PLENTY, TOKEN_BYTES, read, write

SYSTEM = list(range(20, 50))


def cache_with(*prompts: list[int]) -> SlotCache:
    cache = SlotCache(LAYOUT)
    cache.reserve(len(prompts) + 1, 100, PLENTY)
    for prompt in prompts:
        write(cache, cache.add(), *prompt)
    return cache


def keep(prefixes: Prefixes, *prompts: list[int]) -> None:
    cache = cache_with(*prompts)
    for row, prompt in enumerate(prompts):
        prefixes.keep(prompt, cache, row)


def found(prefixes: Prefixes, prompt: list[int]) -> list[int]:
    """What a prompt's empty row holds after looking it up."""
    cache = cache_with()
    row = cache.add()
    assert prefixes.copy(prompt, cache, row) == cache.lengths[row]
    return read(cache, row)


def test_beginning_that_was_read_before_is_copied() -> None:
    prefixes = Prefixes()
    assert found(prefixes, [*SYSTEM, 1]) == []
    keep(prefixes, [*SYSTEM, 1, 2])
    assert found(prefixes, [*SYSTEM, 3, 4]) == SYSTEM
    assert (prefixes.hits, prefixes.misses, prefixes.saved_tokens) == (1, 1, len(SYSTEM))


def test_last_tokens_are_always_read_and_never_a_lone_one() -> None:
    prefixes = Prefixes()
    keep(prefixes, [*SYSTEM, 1])
    assert found(prefixes, [*SYSTEM, 1]) == SYSTEM[:-1]
    assert found(prefixes, SYSTEM) == SYSTEM[:-2]


def test_few_common_tokens_are_read_anew() -> None:
    prefixes = Prefixes()
    keep(prefixes, SYSTEM[: LEAST_SHARED - 1], [*SYSTEM[:LEAST_SHARED], 1])
    assert len(prefixes) == 1
    assert found(prefixes, [*SYSTEM[: LEAST_SHARED - 1], 2, 3]) == []
    assert found(prefixes, [*SYSTEM[:LEAST_SHARED], 2, 3]) == SYSTEM[:LEAST_SHARED]


def test_longest_common_beginning_is_taken() -> None:
    prefixes = Prefixes()
    keep(prefixes, [*SYSTEM[:20], 1], [*SYSTEM, 2], [*SYSTEM[:25], 3])
    assert found(prefixes, [*SYSTEM, 4, 5]) == SYSTEM


def test_prompt_that_goes_on_from_another_takes_its_place() -> None:
    prefixes = Prefixes()
    keep(prefixes, SYSTEM, [*SYSTEM, 1, 2])
    assert len(prefixes) == 1
    keep(prefixes, SYSTEM)
    assert len(prefixes) == 1
    assert prefixes.num_bytes == (len(SYSTEM) + 2) * (TOKEN_BYTES + 8)


def test_prompt_used_longest_ago_goes_first() -> None:
    prompts = [[one] * 20 for one in range(1, 4)]
    prefixes = Prefixes(2 * 20 * (TOKEN_BYTES + 8))
    keep(prefixes, *prompts[:2])
    assert found(prefixes, [*prompts[0], 8, 9]) == prompts[0]
    keep(prefixes, prompts[2])
    assert found(prefixes, [*prompts[1], 8, 9]) == []
    assert found(prefixes, [*prompts[0], 8, 9]) == prompts[0]
    assert found(prefixes, [*prompts[2], 8, 9]) == prompts[2]
    assert prefixes.num_bytes == prefixes.most_bytes


def test_prompt_that_is_too_long_is_not_kept() -> None:
    prefixes = Prefixes(20 * TOKEN_BYTES)
    keep(prefixes, [1] * 21)
    assert (len(prefixes), prefixes.num_bytes) == (0, 0)
    keep(Prefixes(0), [1] * 21)


def test_number_of_prompts_is_bounded(monkeypatch: object) -> None:
    monkeypatch.setattr(prefix, "MAX_PREFIXES", 2)  # type: ignore[attr-defined]
    prefixes = Prefixes()
    keep(prefixes, *([one] * 20 for one in range(1, 5)))
    assert len(prefixes) == 2


def test_texts_are_the_same_and_less_is_read() -> None:
    decoder, graph = fake_decoder()
    prefixes = Prefixes()
    scheduler = Scheduler(decoder, prefixes=prefixes, chunk_tokens=512)
    prompts = [[*SYSTEM, 51, 52], [*SYSTEM, 53], [*SYSTEM, 51, 52, 54]]
    for prompt in prompts:
        request, told = greedy(prompt, 3)
        scheduler.add(request)
        while scheduler.step():
            pass
        assert told.texts is not None
        assert list(told.texts[0].ids) == continued(prompt, 3)
    assert graph.shapes == [(1, 32), (1, 1), (1, 1), (1, 2), (1, 1), (1, 1), (1, 2), (1, 1), (1, 1)]
    assert (prefixes.hits, prefixes.saved_tokens) == (2, 29 + 31)


def test_there_are_none_beside_an_encoder() -> None:
    decoder, _ = fake_decoder(has_encoder=True)
    prefixes = Prefixes()
    scheduler = Scheduler(decoder, prefixes=prefixes)
    scheduler.add(greedy(SYSTEM, 3, [1, 2])[0])
    while scheduler.step():
        pass
    assert (len(prefixes), prefixes.misses) == (0, 0)


texts = st.lists(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=24), min_size=1, max_size=12)


@given(texts, st.integers(0, 4000))
def test_what_is_found_is_a_beginning_of_the_prompt(prompts: list[list[int]], most_bytes: int) -> None:
    prefixes = Prefixes(most_bytes)
    for prompt in prompts:
        start = found(prefixes, prompt)
        assert start == prompt[: len(start)]
        assert len(start) < len(prompt)
        keep(prefixes, prompt)
        assert prefixes.num_bytes <= most_bytes
    arrays = [array for one in prefixes._kept.values() for array in (one.ids, *one.tokens.values())]
    assert prefixes.num_bytes == sum(np.asarray(array).nbytes for array in arrays)
