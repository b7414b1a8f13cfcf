from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.batch.group import Group
from ortolan.batch.policy import PRIORITY_SECONDS, Limits
from ortolan.batch.queue import Queue
from ortolan.batch.slots import Slots
from ortolan.batch.tickets import Job, Text, Ticket
from ortolan.errors import ClosedError, DeadlineError, InvalidInputError, QueueFullError, SessionError
from tests.engine.traffic import Asked, Traffic, group, tables


def ticket(served: Group, length: int = 16, *, at: float = 0.0, key: object = None, due: float = math.inf) -> Ticket:
    return Ticket(served, [Text("text", length, key if key is not None else object())], at, due)


def queue_of(served: Group) -> Queue:
    queue = Queue()
    queue.groups.append(served)
    return queue


def answer(queue: Queue, job: Job) -> list[Ticket]:
    complete = queue.answered(job, ["answer"] * len(job.payloads), 0.001)
    queue.release(job)
    return complete


def started(queue: Queue, now: float = 0.0) -> Job:
    job = queue.next_job(now)
    assert job is not None
    return job


REQUESTS = st.lists(
    st.builds(
        Asked,
        at=st.floats(0, 0.2),
        lengths=st.lists(st.integers(1, 256), min_size=1, max_size=3).map(tuple),
        deadline=st.one_of(st.just(math.inf), st.floats(0.0001, 0.3)),
        priority=st.integers(-3, 3),
        is_alone=st.booleans(),
        word=st.one_of(st.none(), st.integers(0, 3)),
        cancelled_after=st.one_of(st.just(math.inf), st.floats(0, 0.2)),
    ),
    max_size=40,
)
PACE = st.floats(0.2, 3.0)
"""How many times as long as expected runs take."""


@settings(max_examples=150, deadline=None)
@given(REQUESTS, PACE, st.integers(1, 60))
def test_no_request_is_lost_or_ended_twice(requests: list[Asked], pace: float, max_queue: int):
    traffic = Traffic(group(max_queue=max_queue), duration=lambda job: pace * job.expected_seconds)
    served = traffic.served
    try:
        traffic.run(requests)
    except InvalidInputError:
        assert max_queue < 3
        return
    ended = [ended.ticket for ended in traffic.ended]
    assert len(set(map(id, ended))) == len(ended)
    cancelled = [one for one in traffic.tickets if one not in ended]
    counters = served.counters
    assert len(requests) == len(traffic.refused) + len(ended) + len(cancelled)
    assert counters.cancelled == len(cancelled)
    assert counters.submitted == counters.answered + counters.failed + counters.cancelled + counters.dropped
    assert traffic.queue.num_open == 0
    assert served.num_waiting == 0
    assert served.slots.free == served.slots.total


@settings(max_examples=100, deadline=None)
@given(REQUESTS, PACE)
def test_every_request_gets_its_own_answers(requests: list[Asked], pace: float):
    traffic = Traffic(group(), duration=lambda job: pace * job.expected_seconds)
    traffic.run(requests)
    for ended in traffic.ended:
        if isinstance(ended.outcome, list):
            for text, (word, payload) in zip(ended.ticket.texts, ended.outcome, strict=True):
                assert word == "answer"
                asked, mine = requests[payload[0]], requests[ended.ticket.asked]
                same_word = mine.word is not None and mine.word == asked.word
                assert payload == text.payload or (same_word and asked.lengths[payload[1]] == text.length)


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.integers(1, 16), st.integers(1, 600))
def test_the_budget_holds_or_the_batch_has_one_text(requests: list[Asked], max_rows: int, max_tokens: int):
    traffic = Traffic(group(limits=Limits(max_rows, max_tokens)))
    traffic.run(requests)
    for _, job in traffic.jobs:
        rows = len(job.payloads)
        assert rows == 1 or (rows <= max_rows and rows * job.width <= max_tokens)


@settings(max_examples=100, deadline=None)
@given(REQUESTS, PACE)
def test_a_deadline_is_kept_or_said_to_be_missed_when_it_is(requests: list[Asked], pace: float):
    traffic = Traffic(group(), duration=lambda job: pace * job.expected_seconds)
    traffic.run(requests)
    for ended in traffic.ended:
        assert ended.at <= ended.ticket.due + 1e-9
        if isinstance(ended.outcome, DeadlineError):
            assert ended.ticket.due < math.inf


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.integers(2, 7))
def test_failing_runs_lose_nothing_and_only_those_fail_that_fail_alone(requests: list[Asked], every: int):
    def is_bad(payload: tuple[int, int]) -> bool:
        return payload[0] % every == 0

    traffic = Traffic(group(), fails=lambda job: any(map(is_bad, job.payloads)))
    traffic.run([Asked(one.at, one.lengths) for one in requests])
    assert len(traffic.ended) == len(requests)
    for ended in traffic.ended:
        assert isinstance(ended.outcome, SessionError) == (ended.ticket.asked % every == 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.008, 0.05), st.sampled_from([16, 128])), max_size=30))
def test_under_light_load_equals_start_in_the_order_in_which_they_came(gaps: list[tuple[float, int]]):
    now, requests = 0.0, []
    for gap, length in gaps:
        now += gap
        requests.append(Asked(now, (length,)))
    traffic = Traffic(group())
    traffic.run(requests)
    for length in (16, 128):
        starts = [
            payload[0]
            for _, job in traffic.jobs
            for payload in job.payloads
            if requests[payload[0]].lengths == (length,)
        ]
        assert starts == sorted(starts)


def test_nobody_who_came_later_than_a_priority_is_worth_goes_before_a_low_one():
    flood = [Asked(number * 0.002, (64,), priority=1) for number in range(1000)]
    poor = Asked(0.5, (64,), priority=0)
    traffic = Traffic(group())
    traffic.run([*flood, poor])
    order = [payload[0] for _, job in traffic.jobs for payload in job.payloads]
    later = [number for number in order[: order.index(1000) - 16] if flood[number].at > 0.5 + PRIORITY_SECONDS]
    assert later == []


def test_a_high_priority_goes_first():
    traffic = Traffic(group(limits=Limits(1, 512)))
    traffic.run([*(Asked(0.0, (128,)) for _ in range(20)), Asked(0.001, (128,), priority=1)])
    order = [payload[0] for _, job in traffic.jobs for payload in job.payloads]
    assert order.index(20) <= 2


def test_a_lone_request_starts_at_once_on_all_threads():
    served = group()
    queue = queue_of(served)
    queue.put(ticket(served, at=1.0), 1.0)
    assert started(queue, 1.0).num_threads == 2
    assert served.slots.free == 0


def test_a_text_that_waits_for_a_wide_run_starts_when_the_run_before_it_ends():
    served = group()
    queue = queue_of(served)
    for _ in range(2):
        queue.put(ticket(served, 16), 0.0)
    first, second = started(queue), started(queue)
    answer(queue, second)
    queue.put(ticket(served, 128, at=0.0015), 0.0015)
    assert queue.next_job(0.0015) is None
    answer(queue, first)
    assert started(queue, 0.0022).num_threads == 2


def test_a_text_does_not_wait_for_a_run_that_is_overdue():
    served = group()
    queue = queue_of(served)
    for _ in range(2):
        queue.put(ticket(served, 16), 0.0)
    started(queue)
    answer(queue, started(queue))
    queue.put(ticket(served, 128, at=0.002), 0.002)
    assert queue.next_job(0.002) is None
    wake = queue.next_start(0.002)
    assert wake is not None
    assert started(queue, wake + 1e-6).num_threads == 1


def test_a_deep_line_runs_side_by_side():
    served = group()
    queue = queue_of(served)
    for _ in range(64):
        queue.put(ticket(served), 0.0)
    assert [started(queue).num_threads, started(queue).num_threads] == [1, 1]
    assert queue.next_job(0.0) is None


def test_equal_texts_run_once_and_all_get_the_answer():
    served = group()
    queue = queue_of(served)
    three = [ticket(served, key="same") for _ in range(3)]
    for one in three:
        queue.put(one, 0.0)
    job = started(queue)
    assert job.payloads == ["text"]
    assert answer(queue, job) == three
    assert [one.answers for one in three] == [["answer"]] * 3
    assert served.counters.duplicates == 2


def test_a_request_that_meets_a_full_line_is_told_when_to_come_again():
    served = group(max_queue=2)
    queue = queue_of(served)
    queue.put(ticket(served), 0.0)
    queue.put(ticket(served), 0.0)
    with pytest.raises(QueueFullError, match="2 texts wait of at most 2") as caught:
        queue.put(ticket(served), 0.0)
    assert caught.value.retry_after_ms >= 1
    assert served.counters.refused == {"QueueFullError": 1}


def test_a_request_larger_than_the_line_is_refused_for_good():
    served = group(max_queue=2)
    with pytest.raises(InvalidInputError, match="3 texts at once requested, at most 2 may wait"):
        queue_of(served).put(Ticket(served, [Text("text", 4, number) for number in range(3)], 0.0), 0.0)


def test_a_request_that_can_not_make_it_is_refused_before_it_waits():
    served = group()
    with pytest.raises(DeadlineError, match="within 1 ms requested") as caught:
        queue_of(served).put(ticket(served, 128, due=0.001), 0.0)
    assert caught.value.deadline_ms == pytest.approx(1)


def test_the_work_before_a_request_counts():
    served = group()
    queue = queue_of(served)
    for _ in range(200):
        queue.put(ticket(served, 128), 0.0)
    with pytest.raises(DeadlineError, match="ms of work are before it"):
        queue.put(Ticket(served, [Text("text", 128, "late")], 0.0, 0.5, priority=-2), 0.0)
    queue.put(ticket(served, 128, due=0.5), 0.0)  # due sooner than the others, it goes before them


def test_a_request_that_can_not_make_it_any_more_does_not_run():
    served = group()
    queue = queue_of(served)
    late = ticket(served, 128, due=0.02)
    queue.put(late, 0.0)
    assert queue.next_job(0.016) is None
    [(told, error)] = queue.settled
    assert told is late
    assert isinstance(error, DeadlineError)
    assert error.found == "its turn did not come within 16 ms"


def test_a_request_that_runs_is_of_use_until_its_deadline():
    served = group()
    queue = queue_of(served)
    slow = ticket(served, 128, due=0.02)
    queue.put(slow, 0.0)
    started(queue)
    queue.expire(0.016)
    assert queue.settled == []
    queue.expire(0.021)
    queue.expire(0.022)
    [(_, error)] = queue.settled
    assert error.found == "its run took longer"


def test_an_answer_that_comes_too_late_is_not_counted_as_one():
    served = group()
    queue = queue_of(served)
    slow = ticket(served, 128, due=0.02)
    queue.put(slow, 0.0)
    job = started(queue)
    queue.expire(0.016)
    queue.expire(0.021)
    assert answer(queue, job) == []
    assert (served.counters.answered, served.counters.dropped) == (0, 1)


def test_a_cancelled_request_makes_room_and_does_not_run():
    served = group(max_queue=1)
    queue = queue_of(served)
    first = ticket(served)
    queue.put(first, 0.0)
    queue.cancel(first)
    queue.put(ticket(served), 0.0)
    assert len(started(queue).payloads) == 1
    assert queue.settled == []
    assert served.counters.cancelled == 1


def test_a_text_that_two_want_runs_though_one_of_them_has_gone():
    served = group()
    queue = queue_of(served)
    first, second = ticket(served, key="same"), ticket(served, key="same")
    queue.put(first, 0.0)
    queue.put(second, 0.0)
    queue.cancel(first)
    assert answer(queue, started(queue)) == [second]


def test_a_request_with_equal_texts_is_cancelled_whole():
    served = group()
    queue = queue_of(served)
    twice = Ticket(served, [Text("text", 16, "same"), Text("text", 16, "same")], 0.0)
    queue.put(twice, 0.0)
    queue.cancel(twice)
    assert (served.num_waiting, served.is_idle, queue.num_open) == (0, True, 0)


def test_a_strict_request_runs_alone():
    served = group()
    queue = queue_of(served)
    queue.put(Ticket(served, [Text("alone", 16, "alone")], 0.0, is_alone=True), 0.0)
    for _ in range(5):
        queue.put(ticket(served, at=0.1), 0.1)
    assert started(queue, 0.1).payloads == ["alone"]


def test_texts_wait_for_company_as_long_as_they_may_and_no_longer():
    served = group(limits=Limits(4, 512, max_wait_seconds=0.01))
    queue = queue_of(served)
    queue.put(ticket(served), 0.0)
    assert queue.next_job(0.005) is None
    assert queue.next_start(0.005) == pytest.approx(0.01)
    assert len(started(queue, 0.01).payloads) == 1


def test_a_full_batch_does_not_wait():
    served = group(limits=Limits(2, 512, max_wait_seconds=10))
    queue = queue_of(served)
    queue.put(ticket(served), 0.0)
    queue.put(ticket(served), 0.0)
    assert queue.next_job(0.0) is not None


def test_closing_ends_what_waits_and_not_what_runs():
    served = group()
    queue = queue_of(served)
    first, second = ticket(served), ticket(served)
    queue.put(first, 0.0)
    job = started(queue)
    queue.put(second, 0.0)
    queue.close()
    [(told, error)] = queue.settled
    assert told is second
    assert isinstance(error, ClosedError)
    assert answer(queue, job) == [first]


def test_models_that_share_threads_take_turns_by_urgency():
    slots = Slots(2)
    one, two = group(slots=slots), group(slots=slots)
    queue = Queue()
    queue.groups += [one, two]
    queue.put(ticket(one, at=0.2), 0.2)
    queue.put(ticket(two, at=0.1), 0.2)
    assert started(queue, 0.2).group is two
    assert queue.next_job(0.2) is None


def test_threads_are_kept_for_the_most_urgent_model_though_another_would_need_fewer():
    slots = Slots(2)
    narrow = group(slots=slots)
    wide = Group("wide", {2: tables()[2]}, Limits(16, 512), 100, slots)
    queue = Queue()
    queue.groups += [narrow, wide]
    for _ in range(3):
        queue.put(Ticket(narrow, [Text("text", 16, object())], 0.0, is_alone=True), 0.0)
    slots.free = 1
    queue.put(ticket(wide, at=-1.0), 0.0)
    assert queue.next_job(0.0) is None
    slots.free = 2
    assert started(queue).group is wide
