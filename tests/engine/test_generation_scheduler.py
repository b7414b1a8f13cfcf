"""Many requests side by side: each gets what it would get alone, whatever becomes of the others."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.errors import ConfigError, NonFiniteError, SessionError
from ortolan.generation.policy import FIRST_CHUNK, FORGETTING, READING_SHARE, Need
from ortolan.generation.prefix import Prefixes
from ortolan.generation.scheduler import Pace, Scheduler
from ortolan.generation.seats import Request
from ortolan.session.base import Stop
from tests.engine.fake_decoder import (
    MAX_LENGTH,
    POISON,
    FakeDecoder,
    Told,
    Wandering,
    continued,
    fake_decoder,
    greedy,
)


def scheduler_of(
    *, has_encoder: bool = False, cache_bytes: int | None = None, max_requests: int = 8, chunk_tokens: int | None = 512
) -> tuple[Scheduler, FakeDecoder]:
    decoder, graph = fake_decoder(has_encoder=has_encoder, cache_bytes=cache_bytes)
    return Scheduler(decoder, max_requests=max_requests, chunk_tokens=chunk_tokens), graph


def finish(scheduler: Scheduler, most_steps: int = 1000) -> None:
    for _ in range(most_steps):
        if not scheduler.step():
            return
    raise AssertionError("it never ends")


def ids(told: Told) -> list[int]:
    assert told.texts is not None, told.error
    return list(told.texts[0].ids)


def test_text_is_written_token_by_token() -> None:
    scheduler, graph = scheduler_of()
    request, told = greedy([5, 6, 7], 4)
    scheduler.add(request)
    assert scheduler.step()
    expected = continued([5, 6, 7], 4)
    assert told.ids == [expected[:1]], "a first token is told at once"
    finish(scheduler)
    assert ids(told) == expected
    assert graph.shapes == [(1, 3), (1, 1), (1, 1), (1, 1)]
    assert (scheduler.num_active, scheduler.num_waiting) == (0, 0)


def test_requests_join_between_steps_and_leave_when_they_are_done() -> None:
    scheduler, graph = scheduler_of()
    first, told_first = greedy([1, 2], 6)
    scheduler.add(first)
    scheduler.step()
    second, told_second = greedy([3], 2)
    scheduler.add(second)
    finish(scheduler)
    assert ids(told_first) == continued([1, 2], 6)
    assert ids(told_second) == continued([3], 2)
    assert graph.shapes == [(1, 2), (1, 1), (2, 1), *[(1, 1)] * 4]


def test_prompts_that_wait_are_read_together_the_shortest_first() -> None:
    scheduler, graph = scheduler_of()
    prompts = [[1] * 9, [2] * 5, [3] * 7]
    asked = [greedy(prompt, 2) for prompt in prompts]
    for request, _ in asked:
        scheduler.add(request)
    finish(scheduler)
    assert graph.shapes == [(3, 9), (3, 1)]
    assert [ids(told) for _, told in asked] == [continued(prompt, 2) for prompt in prompts]
    assert (scheduler.work.read, scheduler.work.padding, scheduler.work.chunks) == (21, 6, 1)


def test_long_prompt_is_read_in_parts_while_others_write() -> None:
    scheduler, graph = scheduler_of(chunk_tokens=20)
    short, told_short = greedy([1], 9)
    scheduler.add(short)
    scheduler.step()
    long, told_long = greedy([2] * 70, 3)
    scheduler.add(long)
    finish(scheduler)
    assert graph.shapes[1:9] == [(1, 20), (1, 1), (1, 20), (1, 1), (1, 20), (1, 1), (1, 10), (2, 1)]
    assert ids(told_short) == continued([1], 9)
    assert ids(told_long) == continued([2] * 70, 3)


def test_short_prompts_wait_for_the_one_that_came_first() -> None:
    scheduler, graph = scheduler_of(chunk_tokens=20)
    long, told_long = greedy([2] * 30, 2)
    scheduler.add(long)
    scheduler.step()
    short, told_short = greedy([1], 2)
    scheduler.add(short)
    finish(scheduler)
    assert graph.shapes == [(1, 20), (1, 10), (1, 1), (2, 1)]
    assert (ids(told_long), ids(told_short)) == (continued([2] * 30, 2), continued([1], 2))


def test_no_more_requests_are_admitted_than_may_be() -> None:
    scheduler, _ = scheduler_of(max_requests=2)
    asked = [greedy([one], 3) for one in range(1, 6)]
    for request, _ in asked:
        scheduler.add(request)
    scheduler.step()
    assert (scheduler.num_active, scheduler.num_waiting) == (2, 3)
    finish(scheduler)
    assert [ids(told) for _, told in asked] == [continued([one], 3) for one in range(1, 6)]


def test_request_that_the_cache_has_no_room_for_waits() -> None:
    scheduler, _ = scheduler_of(cache_bytes=2 * 12 * 8)
    asked = [greedy([one] * 10, 3) for one in range(1, 5)]
    for request, _ in asked:
        scheduler.add(request)
    scheduler.step()
    assert (scheduler.num_active, scheduler.num_waiting) == (2, 2)
    finish(scheduler)
    assert all(told.texts for _, told in asked)


def test_request_that_never_fits_is_refused() -> None:
    scheduler, _ = scheduler_of(cache_bytes=100)
    with pytest.raises(ConfigError, match="1 texts of up to 13 tokens requested, their cache takes 104 bytes"):
        scheduler.add(greedy([1] * 10, 4)[0])
    assert scheduler.num_waiting == 0


def test_request_that_nobody_wants_any_more_leaves_with_the_next_step() -> None:
    scheduler, _ = scheduler_of(max_requests=2)
    asked = [greedy([one], 9) for one in range(1, 5)]
    for request, _ in asked:
        scheduler.add(request)
    scheduler.step()
    asked[0][0].is_cancelled = asked[2][0].is_cancelled = True
    told = [len(told.ids) for _, told in asked]
    scheduler.step()
    assert (scheduler.num_active, scheduler.num_waiting) == (2, 0)
    finish(scheduler)
    assert [len(told.ids) for _, told in asked] == [told[0], 9, 0, 9]
    assert [told.is_over for _, told in asked] == [False, True, False, True]


def test_nan_fails_one_request_alone() -> None:
    scheduler, _ = scheduler_of()
    good, told_good = greedy([1, 2, 3], 5)
    bad, told_bad = greedy([4, POISON], 5)
    for request in (good, bad):
        scheduler.add(request)
    finish(scheduler)
    assert isinstance(told_bad.error, NonFiniteError)
    assert ids(told_good) == continued([1, 2, 3], 5)


def test_bug_in_a_search_or_a_sink_fails_one_request_alone() -> None:
    class Broken(Told):
        def wrote(self, ids: Sequence[int]) -> None:
            raise ValueError("the pipe is broken")

    scheduler, _ = scheduler_of()
    good, told_good = greedy([1, 2, 3], 5)
    bad, _ = greedy([4], 5)
    bad.sink = broken = Broken()
    for request in (good, bad):
        scheduler.add(request)
    finish(scheduler)
    assert isinstance(broken.error, SessionError)
    assert "a text requested, writing it failed: ValueError('the pipe is broken')" in str(broken.error)
    assert ids(told_good) == continued([1, 2, 3], 5)


def test_run_that_fails_ends_those_in_it_and_others_go_on() -> None:
    scheduler, graph = scheduler_of()
    first, told_first = greedy([1, 2, 3], 5)
    scheduler.add(first)
    scheduler.step()
    second, told_second = greedy([4], 5)
    scheduler.add(second)
    graph.fails = 1
    finish(scheduler)
    assert isinstance(told_second.error, SessionError)
    assert ids(told_first) == continued([1, 2, 3], 5)
    third, told_third = greedy([5], 5)
    scheduler.add(third)
    scheduler.step()
    graph.fails = 1
    scheduler.step()
    assert isinstance(told_third.error, SessionError)
    assert scheduler.num_active == 0


def test_encoder_that_fails_ends_those_it_read_for() -> None:
    scheduler, _ = scheduler_of(has_encoder=True)
    first, told_first = greedy([1], 4, [7, 8])
    scheduler.add(first)
    scheduler.step()
    second, told_second = greedy([1], 4, [9])
    scheduler.add(second)
    scheduler._decoder._encoder.fails = 1  # type: ignore[union-attr]
    finish(scheduler)
    assert isinstance(told_second.error, SessionError)
    assert ids(told_first) == continued([1], 4, [7, 8])


def test_all_can_be_ended_at_once() -> None:
    scheduler, _ = scheduler_of(max_requests=2)
    asked = [greedy([one], 9) for one in range(1, 5)]
    for request, _ in asked:
        scheduler.add(request)
    scheduler.step()
    asked[0][0].is_cancelled = asked[2][0].is_cancelled = True
    error = SessionError("a text requested", "the engine closed", "ask another")
    scheduler.fail_all(error)
    assert [told.error for _, told in asked] == [None, error, None, error]
    assert not scheduler.step()


def test_texts_of_an_encoder_are_written_side_by_side() -> None:
    scheduler, graph = scheduler_of(has_encoder=True)
    sources = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    asked = [greedy([9], count, source) for count, source in zip((6, 2, 4), sources, strict=True)]
    for request, _ in asked:
        scheduler.add(request)
    finish(scheduler)
    for count, source, (_, told) in zip((6, 2, 4), sources, asked, strict=True):
        assert ids(told) == continued([9], count, source)
    assert graph.shapes == [(3, 1), (3, 1), (2, 1), (2, 1), (1, 1), (1, 1)]


def wandering(prompt: list[int], seed: int, rows: int, drafts: int, source: Sequence[int] = ()) -> tuple[Request, Told]:
    longest, told = min(MAX_LENGTH, len(prompt) + 40), Told()
    search = Wandering(prompt, longest, seed, max_rows=rows, drafts=drafts, source=source)
    return Request(search, prompt, longest, told, source), told


def test_guesses_are_read_along_by_a_lone_row() -> None:
    scheduler, graph = scheduler_of()
    request, told = wandering([1, 2], 3, rows=1, drafts=4)
    scheduler.add(request)
    finish(scheduler)
    assert told.texts
    assert max(width for _, width in graph.shapes[1:]) == 5


def test_rows_of_different_requests_split_and_end_on_their_own() -> None:
    scheduler, graph = scheduler_of()
    asked = [wandering([one], one, rows=rows, drafts=0) for one, rows in enumerate((1, 4, 4, 2), start=1)]
    for request, _ in asked:
        scheduler.add(request)
    finish(scheduler)
    assert all(told.texts for _, told in asked)
    assert max(rows for rows, _ in graph.shapes) > 6


arrivals = st.lists(
    st.tuples(
        st.integers(0, 12),  # steps until it comes
        st.integers(1, 60),  # tokens of its prompt
        st.integers(1, 5),  # rows
        st.integers(0, 3),  # guesses
        st.sampled_from([None, None, None, 1, 5, 20]),  # steps until it is cancelled
        st.booleans(),  # whether its prompt is the same as that of others
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.parametrize("has_encoder", [False, True], ids=["lone decoder", "with encoder"])
@given(arrivals, st.integers(1, 5), st.sampled_from([None, 5, 40, 512]), st.integers(0, 3))
def test_any_traffic_is_served(
    has_encoder: bool,
    plan: list[tuple[int, int, int, int, int | None, bool]],
    max_requests: int,
    chunk_tokens: int | None,
    fails: int,
) -> None:
    cache_bytes = 5 * MAX_LENGTH * 8 + 5 * 60 * 4
    decoder, graph = fake_decoder(has_encoder=has_encoder, cache_bytes=cache_bytes)
    prefixes = Prefixes(most_bytes=3000)
    scheduler = Scheduler(decoder, max_requests=max_requests, chunk_tokens=chunk_tokens, prefixes=prefixes)
    choices = random.Random(len(plan))
    asked: list[tuple[Request, Told, int | None]] = []
    now, comes = 0, 0
    for number, (delay, length, rows, drafts, cancelled, is_same) in enumerate(plan):
        comes += delay
        while now < comes:
            step(scheduler, asked, now)
            now += 1
        tokens = [1] * length if is_same else [choices.randint(20, 90) for _ in range(length)]
        prompt, source = ([7], tokens) if has_encoder else (tokens, [])
        request, told = wandering(prompt, number, rows, drafts, source)
        asked.append((request, told, None if cancelled is None else now + cancelled))
        scheduler.add(request)
        if number == fails:
            graph.fails = 1
    while step(scheduler, asked, now):
        now += 1
        assert now < 2000, "it never ends"
    assert all(told.is_over or request.is_cancelled for request, told, _ in asked)
    assert sum(told.error is not None for _, told, _ in asked) <= max_requests * (fails < len(plan))
    assert all(isinstance(told.error, SessionError | None) for _, told, _ in asked)
    assert (decoder.cache.num_rows, decoder.cross.num_requests) == (0, 0)
    assert prefixes.num_bytes <= 3000


def step(scheduler: Scheduler, asked: list[tuple[Request, Told, int | None]], now: int) -> bool:
    for request, told, cancelled in asked:
        if cancelled == now and not told.is_over:
            request.is_cancelled = True
    goes_on = scheduler.step()
    decoder = scheduler._decoder
    rows = sum(len(seat.places) for seat in scheduler._seats.taken)
    assert decoder.cache.num_rows == rows, "rows lie side by side, and are free when nobody has them"
    assert decoder.cache.num_bytes + decoder.cross.num_bytes <= decoder.cache_bytes
    seats = scheduler._seats.taken
    assert [seat.first for seat in seats] == [sum(len(one.places) for one in seats[:n]) for n in range(len(seats))]
    return goes_on


def test_chunks_follow_what_runs_take() -> None:
    pace = Pace()
    pace.saw_chunk(100, 1.0)
    assert pace.tokens_within(1.0) == FIRST_CHUNK, "nobody waits"
    pace.saw_step(0.010)
    pace.saw_step(0.020)
    assert pace.step == pytest.approx(0.015)
    assert pace.seconds_for(3) == pytest.approx(READING_SHARE * 0.045)
    assert pace.tokens_within(0.9) == 88, "a token takes a hundredth of a second"
    pace.saw_chunk(10, 0.3)
    assert pace.price == pytest.approx(0.01 * FORGETTING), "in large parts they are cheaper"


def test_time_between_tokens_decides_how_much_is_read() -> None:
    decoder, graph = fake_decoder()

    def clock() -> float:
        # parts of prompts leave out the head, and take a fiftieth of a second for each token
        return sum(0.8 if width == 1 else 0.4 + rows * width / 50 for rows, width in graph.shapes)

    scheduler = Scheduler(decoder, clock=clock)
    asked = [greedy([one] * 20, 60)[0] for one in range(1, 9)]
    for request in asked:
        scheduler.add(request)
    for _ in range(3):
        scheduler.step()
    scheduler.add(greedy([9] * 190, 3)[0])
    before = len(graph.shapes)
    for _ in range(8):
        scheduler.step()
    parts = [width for _, width in graph.shapes[before::2]]
    assert set(graph.shapes[before + 1 :: 2]) == {(8, 1)}
    assert parts == [28, 20, 16, 16, 12, 12, 12, 12], "14 tokens take as long as reading may, 0.85 of a step"


def test_need_of_a_request_is_all_but_its_last_token() -> None:
    request, _ = greedy([1, 2, 3], 4)
    assert request.need == Need(1, 6, 0)


def test_stop_reaches_the_runs() -> None:
    scheduler, graph = scheduler_of()
    stop = Stop()
    scheduler.add(greedy([1], 2)[0])
    while scheduler.step(stop):
        pass
    assert graph.stops == [stop, stop]


def test_urgent_requests_go_first_and_equals_in_their_turn() -> None:
    scheduler, _ = scheduler_of(max_requests=1)
    asked = [greedy([one], 1) for one in range(1, 5)]
    for (request, _), urgency in zip(asked, (1.0, 2.0, 0.0, 1.0), strict=True):
        request.urgency = urgency
        scheduler.add(request)
    order = []
    for _ in range(4):
        scheduler.step()
        order += [place for place, (_, told) in enumerate(asked) if told.is_over and place not in order]
    assert order == [2, 0, 3, 1]
