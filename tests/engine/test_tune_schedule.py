from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ortolan.choice import Way
from ortolan.tune.schedule import FINALISTS, MAX_LOOKS, next_way


def ways(count: int) -> list[Way]:
    return [Way("fp32", "fused", (), number + 1) for number in range(count)]


def play(count: int, steps: int = 10_000) -> list[Way]:
    """Ways in the order of the looks, if the first of `ways(count)` is always the best."""
    looks: Counter[Way] = Counter(dict.fromkeys(ways(count), 0))
    order = []
    while len(order) < steps and (way := next_way(ways(count), looks)) is not None:
        looks[way] += 1
        order.append(way)
    return order


def test_every_way_gets_a_look_before_any_gets_a_second():
    assert play(5, steps=5) == ways(5)


def test_the_better_half_goes_on_with_twice_as_many_looks():
    assert Counter(play(8, steps=8 + 4)) == Counter(ways(8)) + Counter(ways(4))


def test_the_finalists_get_all_looks():
    looks = Counter(play(20))
    assert [way for way, count in looks.items() if count == MAX_LOOKS] == ways(20)[:FINALISTS]


def test_nothing_is_left_to_learn_of_no_ways():
    assert next_way([], {}) is None


def test_a_way_that_moves_to_the_front_is_looked_at_next():
    first, second, third, fourth, fifth, sixth, seventh = ways(7)
    looks = dict.fromkeys(ways(7), 1) | {first: 4, second: 4, third: 4}
    assert next_way([seventh, first, second, third, fourth, fifth, sixth], looks) == seventh


@given(st.integers(1, 60))
def test_the_search_ends_and_the_best_has_the_most_looks(count: int):
    looks = Counter(play(count))
    assert looks[ways(count)[0]] == max(looks.values()) == MAX_LOOKS


@given(st.integers(2, 60), st.integers(1, 400))
def test_whenever_it_is_stopped_better_ways_have_no_fewer_looks_than_half_of_any(count: int, steps: int):
    looks = Counter(play(count, steps))
    counts = [looks[way] for way in ways(count)]
    assert all(2 * better >= worse for better, worse in pairwise(counts))
