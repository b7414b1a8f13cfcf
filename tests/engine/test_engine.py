"""The engine as services use it, on the golden artifact and on sessions that do what a test wants."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ortolan import (
    BatchingConfig,
    ClosedError,
    ConfigError,
    DeadlineError,
    Engine,
    InputTooLongError,
    InvalidInputError,
    NonFiniteError,
    Pipeline,
    QueueFullError,
    Response,
    SessionError,
    UnknownModelError,
    pipeline,
)
from ortolan.session.base import Array, Stop
from tests.engine.damage import GOLDEN
from tests.engine.fakes import FakeSession, fake_model

TASK = "text-classification"
WORDS = ["the", "film", "was", "good", "bad", "i", "love", "hate", "it", "rain", "sun"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)
QUICK = BatchingConfig(calibration_ms=1)
RAIN = 38
"""Id of a token that sessions below take offence at."""


class GatedSession(FakeSession):
    """Runs wait for a gate to open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        self.entered.release()
        assert self.gate.wait(30), "the gate never opened"
        return super().run(feed, stop)

    def close_gate(self) -> None:
        self.gate.clear()
        while self.entered.acquire(blocking=False):
            pass

    def wait_until_entered(self) -> None:
        assert self.entered.acquire(timeout=30), "nothing runs"


class TouchySession(FakeSession):
    """Does something bad to batches with a certain token in them."""

    def __init__(self, deed: str) -> None:
        super().__init__()
        self.deed = deed
        self.is_on = False
        self.stopped = threading.Event()

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        outputs = super().run(feed, stop)
        bad = (feed["input_ids"] == RAIN).any(axis=1)
        if not self.is_on or not bad.any():
            return outputs
        if self.deed == "raise":
            raise SessionError("a run requested", "it rains", "wait for the sun")
        if self.deed == "bug":
            raise ZeroDivisionError("it rains")
        if self.deed == "die":
            raise SystemExit
        if self.deed == "hang":
            until = time.monotonic() + 30
            while not (stop and stop.is_set) and time.monotonic() < until:
                time.sleep(0.001)
            self.stopped.set()
            raise SessionError("a run requested", "it was stopped", "ask again")
        outputs["logits"][bad if self.deed == "nan" else slice(None)] = float("nan")  # or all of them
        return outputs


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return pipeline(TASK, GOLDEN, provider="cpu", precision="fp32")


@pytest.fixture(scope="module")
def engine(pipe: Pipeline) -> Iterator[Engine]:
    with Engine(pipe, batching=QUICK) as started:
        yield started


def piped(artifact: Path, session: FakeSession) -> Pipeline:
    return pipeline(TASK, fake_model(artifact, session), function_to_apply="none")


def approximately(found: Any) -> Any:
    """The same labels and nesting, scores within what rounding does in a batch."""
    if isinstance(found, list):
        return [approximately(one) for one in found]
    return {**found, "score": pytest.approx(found["score"], abs=1e-5)}


def result(future: Future[Any]) -> Any:
    return future.result(timeout=30)


# Answers


def test_a_request_gets_what_the_pipeline_answers(engine: Engine, pipe: Pipeline):
    assert result(engine.submit_nowait("the film was good")) == pipe("the film was good")


def test_a_coroutine_gets_what_the_pipeline_answers(pipe: Pipeline):
    async def ask() -> Any:
        async with Engine(pipe, batching=QUICK) as engine:
            return await engine.submit("the film was good", top_k=2)

    assert asyncio.run(ask()) == pipe("the film was good", top_k=2)


@pytest.mark.parametrize("inputs", [["the", "film was"], {"text": "the", "text_pair": "film"}, ["good"], [], "sun"])
def test_every_form_of_input_is_answered_as_the_pipeline_does(engine: Engine, pipe: Pipeline, inputs: Any):
    assert result(engine.submit_nowait(inputs)) == approximately(pipe(inputs))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_many_at_once_each_get_their_own(engine: Engine, pipe: Pipeline, texts: list[str]):
    futures = [engine.submit_nowait(text, top_k=2) for text in texts]
    for text, future in zip(texts, futures, strict=True):
        assert result(future) == approximately(pipe(text, top_k=2))


def test_threads_and_loops_may_ask_at_the_same_time(engine: Engine, pipe: Pipeline):
    expected = {text: pipe(text) for text in WORDS}

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*[engine.submit(text) for text in WORDS for _ in range(5)])

    with ThreadPoolExecutor(6) as pool:
        loops = [pool.submit(asyncio.run, ask_all()) for _ in range(3)]
        threads = [pool.submit(lambda: [result(engine.submit_nowait(text)) for text in WORDS]) for _ in range(3)]
        for loop in loops:
            labels = [row["label"] for [row] in loop.result(60)]
            assert labels == [expected[text][0]["label"] for text in WORDS for _ in range(5)]
        for thread in threads:
            assert [row["label"] for [row] in thread.result(60)] == [expected[text][0]["label"] for text in WORDS]


def test_long_inputs_are_tokenized_beside_the_loop(engine: Engine):
    async def ask() -> Any:
        return await engine.submit("rain " * 10_000, truncation=True)

    assert len(asyncio.run(ask())) == 1


def test_the_time_of_each_stage_is_told_who_asks(engine: Engine, pipe: Pipeline):
    response = result(engine.submit_nowait("the film", timing=True))
    assert isinstance(response, Response)
    assert [row["label"] for row in response.result] == [row["label"] for row in pipe("the film")]
    timing = response.timing
    assert min(timing.tokenize_ms, timing.run_ms, timing.postprocess_ms) > 0
    assert timing.queue_ms >= 0
    assert (timing.batch_size, timing.padding_share) == (1, 0.0)


def test_the_padding_of_a_batch_is_told(artifact: Path):
    session = GatedSession()
    with Engine(
        piped(artifact, session), batching=BatchingConfig(calibration_ms=1, max_batch_size=2), num_threads=1
    ) as engine:
        session.close_gate()
        first = engine.submit_nowait("the")
        session.wait_until_entered()
        pair = [engine.submit_nowait("film", timing=True), engine.submit_nowait("film was", timing=True)]
        session.gate.set()
        result(first)
        timings = [result(future).timing for future in pair]
    assert {timing.batch_size for timing in timings} in ({1}, {2})
    for timing in timings:
        assert timing.padding_share == (pytest.approx(1 / 8) if timing.batch_size == 2 else 0.0)


def test_counters_say_what_became_of_requests(pipe: Pipeline):
    with Engine(pipe, batching=QUICK) as engine:
        wait_for([engine.submit_nowait(text) for text in WORDS])
        counters = engine.counters["default"]
    assert (counters.submitted, counters.answered, counters.failed) == (len(WORDS), len(WORDS), 0)
    assert counters.rows == len(WORDS)
    assert all(sum(histogram.counts) == len(WORDS) for histogram in counters.stages.values())


def test_equal_texts_in_a_batch_run_once(artifact: Path):
    session = GatedSession()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.close_gate()
        first = engine.submit_nowait("the")
        session.wait_until_entered()
        same = [engine.submit_nowait("film was") for _ in range(10)]
        session.gate.set()
        assert [result(future) for future in same] == [result(same[0])] * 10
        result(first)
        assert engine.counters["default"].duplicates == 9


def test_results_of_equal_texts_share_no_memory(artifact: Path):
    session = GatedSession()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.close_gate()
        engine.submit_nowait("the")
        session.wait_until_entered()
        one, two = engine.submit_nowait("film"), engine.submit_nowait("film")
        session.gate.set()
        result(one)[0]["score"] = 7.0
        assert result(two)[0]["score"] != 7.0


# Bad input


def test_bad_input_is_refused_at_once_and_hurts_nobody(engine: Engine):
    good = engine.submit_nowait("good")
    with pytest.raises(InvalidInputError, match="an input requested"):
        engine.submit_nowait(7)
    with pytest.raises(InvalidInputError, match="at index 1"):
        engine.submit_nowait(["a", ""])
    with pytest.raises(InputTooLongError):
        engine.submit_nowait("rain " * 70)
    with pytest.raises(InvalidInputError, match="got a stream"):
        engine.submit_nowait(text for text in WORDS)
    assert len(result(good)) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deadline_ms": 0}, "deadline_ms requested, got 0; use milliseconds from now, above 0"),
        ({"deadline_ms": float("nan")}, "deadline_ms requested, got nan"),
        ({"priority": 11}, "priority requested, got 11; use a whole number from -10 to 10"),
        ({"priority": 0.5}, "priority requested, got 0.5"),
        ({"batch_size": 4}, "batch_size requested, whoever runs the rows decides about them; leave it out"),
        ({"progress": True}, "progress requested"),
        ({"top_q": 1}, "option 'top_q' requested"),
    ],
)
def test_options_that_make_no_sense_are_refused(engine: Engine, options: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as caught:
        engine.submit_nowait("the", **options)
    assert str(caught.value).startswith(message)


def test_a_model_that_is_not_there_is_named_with_those_that_are(pipe: Pipeline):
    with Engine({"mood": pipe, "topic": pipe}, batching=QUICK) as engine:
        with pytest.raises(UnknownModelError, match="model 'mod' requested, there are 'mood', 'topic'"):
            engine.submit_nowait("the", model="mod")
        with pytest.raises(UnknownModelError, match="an answer requested, there are 'mood', 'topic'"):
            engine.submit_nowait("the")
        assert result(engine.submit_nowait("the", model="topic")) == pipe("the")


@pytest.mark.parametrize("models", [{}, [], {"a": []}])
def test_an_engine_without_models_is_refused(models: Any):
    with pytest.raises(ConfigError, match="there is no model"):
        Engine(models)


def test_replicas_on_one_cpu_are_refused(pipe: Pipeline):
    with pytest.raises(ConfigError, match="2 replicas of 'default' requested"):
        Engine([pipe, pipe]).start()


@pytest.mark.parametrize(
    "settings_",
    [{"max_queue": 0}, {"max_batch_size": 1.5}, {"max_wait_ms": -1}, {"run_timeout_ms": 0}, {"calibration_ms": None}],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings_: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"{next(iter(settings_))} requested, got"):
        BatchingConfig(**settings_)


# The line


def test_a_full_line_refuses_and_says_when_to_come_again(artifact: Path):
    session = GatedSession()
    with Engine(
        piped(artifact, session), batching=BatchingConfig(calibration_ms=1, max_queue=2), num_threads=1
    ) as engine:
        session.close_gate()
        futures = [engine.submit_nowait("the")]
        session.wait_until_entered()
        futures += [engine.submit_nowait("film"), engine.submit_nowait("was")]
        with pytest.raises(QueueFullError, match="2 texts wait of at most 2; try again in") as caught:
            engine.submit_nowait("good")
        assert caught.value.retry_after_ms >= 1
        assert engine.num_waiting == {"default": 2}
        session.gate.set()
        assert [len(result(future)) for future in futures] == [1, 1, 1]
        assert engine.counters["default"].refused == {"QueueFullError": 1}


def test_a_deadline_that_passes_in_the_line_is_said_when_it_does(artifact: Path):
    session = GatedSession()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.close_gate()
        first = engine.submit_nowait("the")
        session.wait_until_entered()
        late = engine.submit_nowait("film", deadline_ms=60)
        with pytest.raises(DeadlineError, match="within 60 ms requested, its turn did not come"):
            result(late)  # the gate is closed still
        session.gate.set()
        assert len(result(first)) == 1
    assert session.shapes[-1] == (1, 3), "the late one did not run"


def test_a_deadline_that_passes_in_the_run_is_said_when_it_does(artifact: Path):
    session = GatedSession()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.close_gate()
        late = engine.submit_nowait("film", deadline_ms=80)
        session.wait_until_entered()
        with pytest.raises(DeadlineError, match="its run took longer"):
            result(late)
        session.gate.set()


def test_ten_thousand_cancelled_requests_leave_nothing_behind(artifact: Path):
    session = GatedSession()
    with Engine(
        piped(artifact, session), batching=BatchingConfig(calibration_ms=1, max_queue=20_000), num_threads=1
    ) as engine:
        session.close_gate()
        first = engine.submit_nowait("the")
        session.wait_until_entered()
        runs = len(session.shapes)
        futures = [engine.submit_nowait(WORDS[number % len(WORDS)]) for number in range(10_000)]
        assert all(future.cancel() for future in futures)
        assert engine.num_waiting == {"default": 0}
        session.gate.set()
        assert len(result(first)) == 1
        assert len(result(engine.submit_nowait("film"))) == 1
        assert engine.counters["default"].cancelled == 10_000
    assert len(session.shapes) == runs + 2


def test_a_cancelled_coroutine_is_dropped_before_it_runs(artifact: Path):
    session = GatedSession()

    async def ask() -> None:
        async with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
            session.close_gate()
            first = asyncio.create_task(engine.submit("the"))
            await asyncio.to_thread(session.wait_until_entered)
            gone = asyncio.create_task(engine.submit("film"))
            await asyncio.sleep(0.01)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert engine.num_waiting == {"default": 0}
            session.gate.set()
            await first
            assert engine.counters["default"].cancelled == 1

    asyncio.run(ask())


def test_a_long_input_is_dropped_too_when_its_coroutine_is_cancelled(pipe: Pipeline):
    async def ask() -> None:
        async with Engine(pipe, batching=QUICK) as engine:
            gone = asyncio.create_task(engine.submit("rain " * 20_000, truncation=True, deadline_ms=60_000))
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            for _ in range(1000):
                counters = engine.counters["default"]
                if counters.cancelled + counters.answered:
                    break
                await asyncio.sleep(0.01)
            assert engine.num_waiting == {"default": 0}
            assert counters.submitted == counters.cancelled + counters.answered == 1

    asyncio.run(ask())


def test_a_loop_that_ends_does_not_stop_the_engine(artifact: Path):
    session = GatedSession()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.close_gate()

        async def leave() -> None:
            task = asyncio.create_task(engine.submit("the"))
            await asyncio.to_thread(session.wait_until_entered)
            task.cancel()

        asyncio.run(leave())
        session.gate.set()
        assert len(result(engine.submit_nowait("film"))) == 1


# Faults


@pytest.mark.parametrize(
    ("deed", "error", "message"),
    [("raise", SessionError, "it rains"), ("bug", SessionError, "please report"), ("nan", NonFiniteError, "NaN")],
)
def test_one_bad_text_does_not_take_its_batch_along(artifact: Path, deed: str, error: type[Exception], message: str):
    session = TouchySession(deed)
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.is_on = True
        for _ in range(5):
            futures = {text: engine.submit_nowait(text) for text in WORDS}
            with pytest.raises(error, match=message):
                result(futures.pop("rain"))
            for future in futures.values():
                assert len(result(future)) == 1


def test_a_text_that_spoils_the_whole_batch_fails_alone(artifact: Path):
    gate = GatedSession()
    session = TouchySession("nan for all")
    session.is_on = True

    class Both(GatedSession):
        def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
            gate.run(feed, stop)
            return session.run(feed, stop)

    both = Both()
    with Engine(
        piped(artifact, both), batching=BatchingConfig(calibration_ms=1, max_batch_size=8), num_threads=1
    ) as engine:
        gate.close_gate()
        engine.submit_nowait("the")
        gate.wait_until_entered()
        futures = [engine.submit_nowait(text) for text in ("film", "rain", "good")]
        gate.gate.set()
        assert [len(result(futures[0])), len(result(futures[2]))] == [1, 1]
        with pytest.raises(NonFiniteError):
            result(futures[1])


def test_a_run_that_hangs_fails_and_the_engine_goes_on(artifact: Path):
    session = TouchySession("hang")
    config = BatchingConfig(calibration_ms=1, run_timeout_ms=50)
    with Engine(piped(artifact, session), batching=config, num_threads=1) as engine:
        session.is_on = True
        with pytest.raises(SessionError, match="a run of 1 texts of up to 3 tokens requested, it hangs"):
            result(engine.submit_nowait("rain"))
        assert len(result(engine.submit_nowait("sun"))) == 1
        assert session.stopped.wait(10), "the run was told to stop"
        assert engine.counters["default"].replaced_workers == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is what is tested
def test_a_worker_that_dies_is_replaced_and_its_requests_fail(artifact: Path):
    session, before, threads = TouchySession("die"), set(threading.enumerate()), set()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.is_on = True
        for _ in range(5):
            threads |= set(threading.enumerate()) - before
            with pytest.raises(SessionError, match="the thread that ran it died"):
                result(engine.submit_nowait("rain"))
            assert len(result(engine.submit_nowait("sun"))) == 1
        assert engine.counters["default"].replaced_workers == 5
    for thread in threads:  # what they died of is reported in this test, and not in another one
        thread.join(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is what is tested
def test_a_worker_that_dies_while_it_makes_a_result_is_replaced_too(artifact: Path, monkeypatch: pytest.MonkeyPatch):
    pipe, before = piped(artifact, FakeSession()), set(threading.enumerate())
    with Engine(pipe, batching=QUICK, num_threads=1) as engine:
        threads = set(threading.enumerate()) - before

        def die(*_: object) -> None:
            monkeypatch.undo()
            raise SystemExit

        monkeypatch.setattr(pipe, "decode", die)
        with pytest.raises(SessionError, match="the thread that ran it died"):
            result(engine.submit_nowait("sun"))
        assert len(result(engine.submit_nowait("sun"))) == 1
    for thread in threads:
        thread.join(10)


def test_closing_under_load_ends_every_request(artifact: Path):
    session = GatedSession()
    engine = Engine(
        piped(artifact, session), batching=BatchingConfig(calibration_ms=1, max_queue=5000), num_threads=1
    ).start()
    session.close_gate()
    first = engine.submit_nowait("the")
    session.wait_until_entered()
    futures = [engine.submit_nowait(f"{WORDS[number % 11]} film") for number in range(1000)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    for future in futures:
        with pytest.raises(ClosedError, match="the engine closed before"):
            result(future)
    session.gate.set()
    closing.join(30)
    assert not closing.is_alive()
    assert len(result(first)) == 1, "what ran was answered"
    with pytest.raises(ClosedError, match="takes no requests"):
        engine.submit_nowait("the")


def test_leaving_the_block_answers_what_waits(artifact: Path):
    with Engine(
        piped(artifact, FakeSession()), batching=BatchingConfig(calibration_ms=1, max_queue=5000), num_threads=1
    ) as engine:
        futures = [engine.submit_nowait(f"{WORDS[number % 11]} film") for number in range(2000)]
    assert all(future.done() and len(future.result()) == 1 for future in futures)


def test_an_exception_in_the_block_does_not_wait_for_the_line(artifact: Path):
    session = GatedSession()
    engine = Engine(piped(artifact, session), batching=QUICK, num_threads=1)
    engine.__enter__()
    session.close_gate()
    first = engine.submit_nowait("the")
    session.wait_until_entered()
    second = engine.submit_nowait("film")
    threading.Timer(0.05, session.gate.set).start()
    engine.__exit__(RuntimeError, RuntimeError("enough"), None)
    assert len(result(first)) == 1
    with pytest.raises(ClosedError):
        result(second)


def test_draining_gives_up_when_its_time_is_over(artifact: Path):
    session = GatedSession()
    with Engine(piped(artifact, session), batching=QUICK, num_threads=1) as engine:
        session.close_gate()
        future = engine.submit_nowait("the")
        assert engine.drain(timeout_seconds=0.02) is False
        with pytest.raises(ClosedError):
            engine.submit_nowait("film")
        session.gate.set()
        assert engine.drain(timeout_seconds=30) is True
        assert len(result(future)) == 1


def test_an_engine_that_is_not_started_says_so(pipe: Pipeline):
    with pytest.raises(ClosedError, match="it is not started; use it in a 'with' block, or call start"):
        Engine(pipe).submit_nowait("the")


def test_an_engine_starts_once(pipe: Pipeline):
    with Engine(pipe, batching=QUICK) as engine, pytest.raises(ClosedError, match="it was started before"):
        engine.start()


def test_an_engine_that_could_not_start_may_try_again(artifact: Path):
    class Late(FakeSession):
        is_ready = False

        def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
            if not self.is_ready:
                raise SessionError("a run requested", "it is too early", "wait")
            return super().run(feed, stop)

    session = Late()
    engine = Engine(piped(artifact, session), batching=QUICK, num_threads=1)
    with pytest.raises(SessionError, match="too early"):
        engine.start()
    session.is_ready = True
    with engine:
        assert len(result(engine.submit_nowait("the"))) == 1


def test_a_swap_after_the_end_is_refused(pipe: Pipeline):
    with Engine(pipe, batching=QUICK) as engine:
        engine.drain()
        with pytest.raises(ClosedError, match="another version requested"):
            engine.swap(pipe)


def test_closing_twice_is_no_fault(pipe: Pipeline):
    engine = Engine(pipe, batching=QUICK).start()
    engine.close()
    engine.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12 on: that is what is tested
def test_a_forked_child_is_told_to_make_its_own(engine: Engine):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        try:
            engine.submit_nowait("the")
        except ClosedError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        message = told.read()
    os.waitpid(child, 0)
    assert message == (
        f"an engine requested, it was started in process {os.getpid()}, and threads don't survive a fork; "
        "make and start it in the child process"
    )
    assert len(result(engine.submit_nowait("the"))) == 1, "the parent goes on"


# Swapping


def test_a_swap_under_load_loses_nothing_and_new_requests_get_the_new_version(artifact: Path):
    class Constant(FakeSession):
        def __init__(self, score: float) -> None:
            super().__init__()
            self.score = score

        def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
            outputs = super().run(feed, stop)
            outputs["logits"][:, 1] = self.score
            return outputs

    versions = [piped(artifact, Constant(1.0 + number)) for number in range(4)]
    stop = threading.Event()
    scores: list[float] = []

    with Engine(versions[0], batching=BatchingConfig(calibration_ms=1, max_queue=10_000), num_threads=1) as engine:

        def ask() -> None:
            while not stop.is_set():
                futures = [engine.submit_nowait(text) for text in WORDS]
                scores.extend(result(future)[0]["score"] for future in futures)

        askers = [threading.Thread(target=ask) for _ in range(3)]
        for asker in askers:
            asker.start()
        for number in (1, 2, 3):
            time.sleep(0.05)
            engine.swap(versions[number])
            assert result(engine.submit_nowait("the"))[0]["score"] == 1.0 + number
        stop.set()
        for asker in askers:
            asker.join(30)
        counters = engine.counters["default"]
        assert len(engine._queue.groups) == 1
    assert set(scores) == {1.0, 2.0, 3.0, 4.0}
    assert counters.answered == len(scores) + 3
    assert counters.failed == counters.dropped == counters.cancelled == 0


def test_a_version_that_does_not_run_leaves_the_old_one_in_its_place(artifact: Path):
    broken = TouchySession("raise")
    with Engine(piped(artifact, FakeSession()), batching=QUICK, num_threads=1) as engine:

        class Broken(FakeSession):
            def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
                raise SessionError("a run requested", "it is broken", "mend it")

        with pytest.raises(SessionError, match="it is broken"):
            engine.swap(piped(artifact, Broken()))
        with pytest.raises(UnknownModelError):
            engine.swap(piped(artifact, broken), model="other")
        assert len(result(engine.submit_nowait("the"))) == 1


# Memory and threads


def test_an_engine_that_is_closed_leaves_no_thread_behind(pipe: Pipeline):
    before = threading.active_count()
    with Engine(pipe, batching=QUICK) as engine:
        result(engine.submit_nowait("the"))
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_answered_requests_are_not_kept(artifact: Path):
    with Engine(piped(artifact, FakeSession()), batching=QUICK, num_threads=1) as engine:

        def count() -> int:
            gc.collect()
            return sum(type(found).__name__ in {"Ticket", "Job", "Entry"} for found in gc.get_objects())

        for number in range(300):
            result(engine.submit_nowait(WORDS[number % 11], deadline_ms=20_000))
        few = count()
        for number in range(300):
            result(engine.submit_nowait(WORDS[number % 11], deadline_ms=20_000))
        assert count() <= few + 10
