"""The thread that writes: every call ends in one result or one error, whatever happens meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.errors import ClosedError, DeadlineError, InvalidInputError, NonFiniteError, QueueFullError, SessionError
from ortolan.generation.scheduler import Scheduler
from ortolan.generation.seats import Request
from ortolan.generation.worker import Call, WritingWorker
from tests.engine.fake_decoder import POISON, FakeDecoder, Greedy, continued, fake_decoder

SOON = 10.0
"""Seconds that nothing here takes."""


class Owner:
    """Remembers what a call was told."""

    def __init__(self, finish: Callable[[Call], Any] | None = None) -> None:
        self.seen: list[int] = []
        self.outcomes: list[Any] = []
        self.is_told = threading.Event()
        self._finish = finish

    def wrote(self, ids: Sequence[int]) -> None:
        self.seen = list(ids)

    def finish(self, call: Call) -> Any:
        if self._finish is not None:
            return self._finish(call)
        return [list(texts[0].ids) for texts in call.texts if texts]

    def deliver(self, call: Call, outcome: Any) -> None:
        self.outcomes.append(outcome)
        self.is_told.set()

    @property
    def outcome(self) -> Any:
        assert self.is_told.wait(SOON), "nobody was told"
        [outcome] = self.outcomes
        return outcome


class Held:
    """A worker whose steps wait until they are let go on."""

    def __init__(self, max_waiting: int = 8, max_requests: int = 2) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.graphs: list[FakeDecoder] = []
        self.breaks = 0
        self.max_requests = max_requests
        self.worker = WritingWorker("model", self.make, max_waiting=max_waiting, run_timeout_seconds=SOON)
        self.worker.start()

    def make(self) -> Scheduler:
        decoder, graph = fake_decoder()
        self.graphs.append(graph)
        scheduler = Scheduler(decoder, max_requests=self.max_requests, chunk_tokens=512)
        step = scheduler.step

        def held(*arguments: Any) -> bool:
            assert self.gate.wait(SOON)
            if self.breaks:
                self.breaks -= 1
                raise ValueError("it is broken")
            return step(*arguments)

        scheduler.step = held  # type: ignore[method-assign,assignment]
        return scheduler

    def call(
        self, *prompts: list[int], count: int = 5, due: float = float("inf"), owner: Owner | None = None
    ) -> tuple[Call, Owner]:
        owner = owner or Owner()
        call = Call(owner, time.perf_counter(), due)
        for prompt in prompts:
            sink = self.worker.add_part(call)
            call.requests.append(Request(Greedy(prompt, count), prompt, len(prompt) + count, sink))
        return call, owner

    def put(self, *prompts: list[int], **options: Any) -> tuple[Call, Owner]:
        call, owner = self.call(*prompts, **options)
        assert self.worker.put(call)
        return call, owner


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.gate.set()
    made.worker.close()


def test_call_gets_the_texts_of_all_its_requests(held: Held) -> None:
    _, owner = held.put([1, 2], [3], [4, 5, 6])
    assert owner.outcome == [continued(prompt, 5) for prompt in ([1, 2], [3], [4, 5, 6])]
    assert owner.seen == continued([1, 2], 5), "of the first request is told what it has so far"


def test_call_without_requests_is_answered_too(held: Held) -> None:
    _, owner = held.put()
    assert owner.outcome == []
    assert held.worker.counters.answered == 1


def test_calls_of_many_threads_are_written_side_by_side(held: Held) -> None:
    found: dict[int, Any] = {}

    def ask(first: int) -> None:
        found[first] = held.put([first, 7])[1].outcome

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert found == {first: [continued([first, 7], 5)] for first in range(1, 7)}
    counters = held.worker.copy_counters()
    assert (counters.submitted, counters.answered) == (6, 6)
    assert counters.tokens == 6 * (2 + 4)


def test_request_that_fails_takes_its_call_along_and_no_other(held: Held) -> None:
    held.gate.clear()
    _, bad = held.put([1], [2, POISON])
    _, good = held.put([3])
    held.gate.set()
    assert isinstance(bad.outcome, NonFiniteError)
    assert good.outcome == [continued([3], 5)]
    assert (held.worker.counters.failed, held.worker.counters.answered) == (1, 1)


def test_full_line_refuses_and_says_when_to_come_again(held: Held) -> None:
    held.gate.clear()
    for _ in range(4):
        held.put([1], [2])
    with pytest.raises(QueueFullError, match=r"an answer by 'model' requested, \d texts wait of at most 8") as raised:
        held.put([1], [2], [3])
    assert raised.value.retry_after_ms > 0
    with pytest.raises(InvalidInputError, match="9 texts at once requested, at most 8 may wait"):
        held.put(*[[1]] * 9)
    assert held.worker.counters.refused == {"QueueFullError": 1}
    held.gate.set()
    assert held.worker.drain(SOON)


def test_deadline_that_is_over_is_said_at_once_or_before_the_next_step(held: Held) -> None:
    now = time.perf_counter()
    with pytest.raises(DeadlineError, match="that time is over"):
        held.put([1], due=now - 1)
    held.gate.clear()
    _, late = held.put([1], due=now + 0.05)
    time.sleep(0.06)
    held.gate.set()
    _, other = held.put([2])
    assert other.outcome
    assert isinstance(late.outcome, (DeadlineError, list))


def test_deadline_that_passes_while_a_text_is_written_frees_its_row(held: Held) -> None:
    def slowly(ids: Sequence[int]) -> None:
        if len(ids) == 2:
            time.sleep(0.1)

    owner = Owner()
    owner.wrote = slowly  # type: ignore[method-assign]
    held.put([1], count=50, due=time.perf_counter() + 0.1, owner=owner)
    error = owner.outcome
    assert isinstance(error, DeadlineError)
    assert "it was still written" in str(error)
    assert held.worker.drain(SOON)
    assert held.worker.counters.dropped == 1


def test_cancelled_call_is_told_nothing_and_frees_its_rows(held: Held) -> None:
    held.gate.clear()
    call, owner = held.put([1], count=100)
    held.worker.cancel(call)
    held.gate.set()
    assert held.worker.drain(SOON)
    assert owner.outcomes == []
    assert held.worker.counters.cancelled == 1
    assert len(held.graphs[0].shapes) <= 2


def test_closing_ends_every_call(held: Held) -> None:
    held.gate.clear()
    owners = [held.put([one], count=100)[1] for one in range(1, 6)]
    closing = threading.Thread(target=held.worker.close)
    closing.start()
    errors = [owner.outcome for owner in owners]
    held.gate.set()
    closing.join(SOON)
    assert all(isinstance(error, ClosedError) for error in errors)
    with pytest.raises(ClosedError, match="the engine takes no requests"):
        held.put([1])
    held.worker.close()


def test_draining_waits_for_all_and_gives_up_when_its_time_is_over(held: Held) -> None:
    held.gate.clear()
    _, owner = held.put([1])
    assert not held.worker.drain(0.01)
    held.gate.set()
    assert held.worker.drain(SOON)
    assert owner.outcomes == [[continued([1], 5)]]
    with pytest.raises(ClosedError):
        held.put([1])


def test_version_that_is_retired_answers_what_it_has_and_takes_no_more(held: Held) -> None:
    _, owner = held.put([1])
    held.worker.retire()
    assert owner.outcome == [continued([1], 5)]
    assert not held.worker.put(held.call([2])[0])


def test_next_version_goes_on_counting(held: Held) -> None:
    assert held.put([1])[1].outcome
    after = WritingWorker("model", held.make, max_waiting=8, run_timeout_seconds=SOON, before=held.worker)
    after.start()
    held.worker = after
    assert held.put([1])[1].outcome
    assert after.copy_counters().answered == 2


def test_scheduler_that_breaks_is_replaced_and_its_calls_fail(held: Held) -> None:
    held.gate.clear()
    _, bad = held.put([1])
    held.breaks = 1
    held.gate.set()
    error = bad.outcome
    assert isinstance(error, SessionError)
    assert "writing it failed: ValueError('it is broken')" in str(error)
    assert held.put([2])[1].outcome == [continued([2], 5)]
    assert held.worker.counters.replaced_workers == 1
    assert len(held.graphs) == 2


def test_result_that_cannot_be_made_is_an_error_of_its_call(held: Held) -> None:
    def broken(call: Call) -> Any:
        raise KeyError("no such token")

    def refused(call: Call) -> Any:
        raise NonFiniteError("an answer requested", "it is NaN", "look")

    _, one = held.put([1], owner=Owner(broken))
    assert "a result requested, writing it failed: KeyError('no such token')" in str(one.outcome)
    _, two = held.put([1], owner=Owner(refused))
    assert isinstance(two.outcome, NonFiniteError)
    assert held.worker.counters.failed == 2


def test_time_of_each_stage_is_known(held: Held) -> None:
    call, owner = held.put([1])
    assert owner.outcome
    assert call.run_seconds > 0
    assert call.queue_seconds >= 0
    assert call.batch_size == 1
    assert call.padding_share == 0.0


deeds = st.lists(
    st.tuples(
        st.lists(st.integers(1, 5), min_size=0, max_size=3),  # lengths of its prompts
        st.integers(1, 12),  # tokens to write
        st.sampled_from(["wait", "wait", "cancel", "deadline", "poison", "break", "fail"]),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(deeds, st.booleans())
def test_every_call_ends_once(plan: list[tuple[list[int], int, str]], closes: bool) -> None:
    held = Held(max_waiting=6, max_requests=3)
    asked = []
    for number, (lengths, count, deed) in enumerate(plan):
        prompts = [[20 + number] * length for length in lengths]
        if deed == "poison" and prompts:
            prompts[-1] = [POISON]
        due = time.perf_counter() + (0.002 if deed == "deadline" else SOON)
        call, owner = held.call(*prompts, count=count, due=due)
        try:
            held.worker.put(call)
        except (QueueFullError, DeadlineError):
            continue
        asked.append((call, owner, prompts, count, deed))
        if deed == "cancel":
            held.worker.cancel(call)
        if deed == "break":
            held.breaks = 1
        if deed == "fail":
            held.graphs[-1].fails = 1
    if not closes:
        assert held.worker.drain(SOON)
    held.worker.close()
    for call, owner, prompts, count, deed in asked:
        assert call.is_over
        assert len(owner.outcomes) == 1 or (deed == "cancel" and not owner.outcomes)
        if owner.outcomes and isinstance(owner.outcomes[0], list):
            assert owner.outcomes == [[continued(prompt, count) for prompt in prompts]]
    counters = held.worker.counters
    ended = counters.answered + counters.failed + counters.cancelled + counters.dropped
    assert counters.submitted == ended == len(asked)
