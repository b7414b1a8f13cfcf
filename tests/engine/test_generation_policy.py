"""Who writes now, and what is read next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.errors import ConfigError
from ortolan.generation.layout import Layout, Part
from ortolan.generation.policy import (
    CHEAP_TOKENS,
    LEAST_CHUNK,
    LEAST_PART,
    MOST_CHUNK,
    MOST_PADDING,
    Limits,
    Need,
    Run,
    arrange,
    check_fits,
    chunk_within,
    num_admitted,
    plan_chunk,
    seated,
    together,
)

LAYOUT = Layout((Part("0.key", 1, 5, "float16"),), (Part("0.key", 1, 1, "float32"),))
needs = st.builds(Need, st.integers(1, 5), st.integers(1, 50), st.integers(0, 9))


def limits(cache_bytes: int = 1000, max_requests: int = 8, max_rows: int = 16) -> Limits:
    return Limits(LAYOUT, cache_bytes, max_requests, max_rows)


def test_all_take_as_much_as_the_longest() -> None:
    asked = [Need(1, 10), Need(4, 30, 7), Need(2, 20, 9)]
    assert together(asked) == (7, 30, 2, 9)
    assert limits().bytes_of(asked) == 7 * 30 * 10 + 2 * 9 * 4
    assert together([]) == (0, 0, 0, 0)


def test_those_are_admitted_that_fit_beside_those_who_write() -> None:
    waiting = [Need(1, 10), Need(1, 10), Need(1, 10)]
    assert num_admitted(waiting, [], limits(300)) == 3
    assert num_admitted(waiting, [Need(1, 10)], limits(300)) == 2
    assert num_admitted(waiting, [Need(1, 30)], limits(300)) == 0, "each would take as much as the longest"
    assert num_admitted([], [], limits()) == 0


def test_first_in_line_is_never_passed_over() -> None:
    assert num_admitted([Need(1, 90), Need(1, 1)], [Need(1, 10)], limits(1000)) == 0


def test_requests_and_their_rows_are_counted() -> None:
    waiting = [Need(4, 1)] * 6
    assert num_admitted(waiting, [], limits(max_requests=2)) == 2
    assert num_admitted(waiting, [], limits(max_rows=12)) == 3
    assert num_admitted([Need(40, 1)], [], limits(max_rows=12)) == 1, "a lone request has as many rows as it wants"


def test_request_that_can_never_run_is_refused() -> None:
    check_fits(Need(2, 50), limits(1000))
    message = (
        "2 texts of up to 51 tokens requested, their cache takes 1020 bytes, and may take 1000; "
        "ask for fewer tokens or texts, or raise cache_bytes"
    )
    with pytest.raises(ConfigError, match=message):
        check_fits(Need(2, 51), limits(1000))


@given(st.lists(needs, max_size=12), st.lists(needs, max_size=4), st.integers(0, 2000))
def test_who_is_admitted_fits_and_nobody_waits_for_nothing(
    waiting: list[Need], running: list[Need], cache_bytes: int
) -> None:
    allowed = limits(cache_bytes)
    count = num_admitted(waiting, running, allowed)
    assert not count or allowed.bytes_of([*running, *waiting[:count]]) <= cache_bytes
    if count < len(waiting):
        assert not allowed.hold([*running, *waiting[: count + 1]])


@pytest.mark.parametrize(
    ("left", "budget", "expected"),
    [
        ([5], 128, (1, 5)),
        ([300], 128, (1, 128)),
        ([5, 9, 17, 30], 128, (3, 17)),
        ([30, 30, 30, 30], 128, (4, 30)),
        ([30, 30, 30, 30], 100, (3, 30)),
        ([100, 110, 120], 512, (3, 120)),
        ([100, 300], 512, (1, 100)),
        ([300, 5], 128, (1, 128)),
        ([1, 1, 1], 2, (2, 1)),
        ([129], 128, (1, 129)),
        ([130], 128, (1, 128)),
        ([9], 0, (1, 2)),
        ([3], 0, (1, 3)),
    ],
    ids=str,
)
def test_prompts_are_read_in_turn_and_together_where_that_pads_little(
    left: list[int], budget: int, expected: tuple[int, int]
) -> None:
    assert plan_chunk(left, budget) == expected


@given(st.lists(st.integers(1, 400), min_size=1, max_size=10), st.integers(1, 512))
def test_chunk_keeps_to_its_budget_and_reads_others_only_to_the_end(left: list[int], budget: int) -> None:
    count, width = plan_chunk(left, budget)
    assert 1 <= count <= len(left)
    assert count * width <= max(budget, LEAST_PART) + 1
    assert all(one - width <= 0 or min(width, one - width) >= LEAST_PART for one in left[:count])
    real = sum(min(one, width) for one in left[:count])
    if count > 1:
        assert all(one <= width for one in left[:count])
        assert count * width <= max(CHEAP_TOKENS, real / (1 - MOST_PADDING) + 1e-9)


@pytest.mark.parametrize(
    ("seconds", "chunk", "price", "expected"),
    [
        (0.020, Run(24, 0.020), 0.001, 24),
        (0.030, Run(24, 0.020), 0.001, 32),
        (0.012, Run(24, 0.020), 0.001, 16),
        (0.010, Run(12, 0.020), 0.001, 0),
        (9.0, Run(24, 0.020), 0.001, MOST_CHUNK),
    ],
    ids=["known", "more, in multiples of four", "fewer", "too short", "at most so many"],
)
def test_last_parts_and_the_price_of_a_token_tell_what_can_be_read(
    seconds: float, chunk: Run, price: float, expected: int
) -> None:
    assert chunk_within(seconds, chunk, price) == expected


@given(st.floats(0.001, 0.05), st.floats(1e-4, 1e-2), st.floats(0.002, 0.5), st.integers(8, MOST_CHUNK))
def test_parts_of_prompts_come_to_take_the_time_they_may(base: float, each: float, seconds: float, first: int) -> None:
    def taken(count: int) -> float:
        return base + each * count

    chunk, price, tokens = Run(first, taken(first)), taken(first) / first, first
    for _ in range(60):
        tokens = max(LEAST_CHUNK, chunk_within(seconds, chunk, price))
        chunk, price = chunk.after(tokens, taken(tokens)), min(price, taken(tokens) / tokens)
    assert tokens == LEAST_CHUNK or taken(tokens) <= seconds * 1.001
    if tokens < MOST_CHUNK and base < 3 * each * tokens:  # else less is read than could be, to be on the safe side
        assert taken(tokens + 4 * LEAST_CHUNK) >= seconds * 0.999


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], []),
        ([1, 1, 9], [0, 1, 2]),
        ([1, -1, 1, 9], [0, 2, 3]),
        ([-1, 1, 1, 9, 9], [2, 1, 4, 3]),
        ([1, 9, 1], [0, 2, 1]),
        ([1, 4, 1, 4], [0, 2, 1, 3]),
    ],
    ids=str,
)
def test_gaps_are_filled_from_the_end(segments: list[int], expected: list[int]) -> None:
    assert arrange(segments) == expected


@given(st.lists(st.sampled_from([-1, 1, 2, 9]), max_size=12))
def test_segments_lie_side_by_side_and_who_may_stay_stays(segments: list[int]) -> None:
    order = arrange(segments)
    found = [segments[place] for place in order]
    assert found == sorted(one for one in segments if one >= 0)
    assert len(set(order)) == len(order)
    for place, segment in enumerate(segments):
        if segment >= 0 and place < len(found) and found[place] == segment:
            assert order[place] == place


@pytest.mark.parametrize(
    ("present", "first", "expected"),
    [
        ([0, 1, 2], 0, [0, 1, 2]),
        ([2, 0, 1], 0, [2, 0, 1]),
        ([1, 1, 1], 0, [1, 0, 2]),
        ([5, 6], 4, [5, 4]),
        ([7, 8], 4, [4, 5]),
    ],
    ids=str,
)
def test_who_sits_on_a_seat_stays_there(present: list[int], first: int, expected: list[int]) -> None:
    assert seated(present, first) == expected


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 9))
def test_every_member_has_a_seat_of_its_own(present: list[int], first: int) -> None:
    seats = seated(present, first)
    assert sorted(seats) == list(range(first, first + len(present)))
    for place in {place for place in present if first <= place < first + len(present)}:
        assert [seats[member] for member, one in enumerate(present) if one == place].count(place) == 1
