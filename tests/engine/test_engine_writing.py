"""An engine for models that write, on graphs that write by arithmetic."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ortolan import (
    Artifact,
    BatchingConfig,
    ClosedError,
    ConfigError,
    DeadlineError,
    Engine,
    InputTooLongError,
    InvalidInputError,
    Model,
    Pipeline,
    QueueFullError,
    Response,
    SessionError,
    Tokenizer,
)
from ortolan.session.base import Array, Bound, Session, Stop
from ortolan.tasks.classify import Classify
from ortolan.tasks.generate import Generate
from ortolan.tasks.text2text import Text2Text
from tests.engine.damage import GOLDEN
from tests.engine.fake_decoder import FakeDecoder, FakeEncoder
from tests.engine.fakes import FakeSession

SOON = 30.0
QUICK = BatchingConfig(calibration_ms=1)
TOKENIZER = Tokenizer.load(GOLDEN, max_length=64)
TEXTS = ["the film", "a great day and the rain", "what", "i love the music", "they like it very much"]


class Gated(FakeDecoder):
    """Runs wait for a gate to open, and take some time if they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.gate = threading.Event()
        self.gate.set()

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Bound:
        tied, graph = super().bind(inputs, outputs), self

        class Waiting:
            put = tied.put

            def run(self, stop: Stop | None = None) -> None:
                assert graph.gate.wait(SOON)
                time.sleep(graph.seconds)
                tied.run(stop)

        return Waiting()


def pipe_of(task: Any, graphs: Mapping[str, Session], **defaults: object) -> Pipeline:
    model = Model(Artifact.open(GOLDEN), TOKENIZER, FakeSession(), "fp32", "fake")
    model.graphs = dict(graphs)
    return Pipeline(task, model, TOKENIZER, {"max_new_tokens": 6, **defaults})


@pytest.fixture
def graph() -> Gated:
    return Gated()


@pytest.fixture
def pipe(graph: Gated) -> Pipeline:
    return pipe_of(Generate(), {"model": graph})


@pytest.fixture
def engine(pipe: Pipeline, graph: Gated) -> Iterator[Engine]:
    with Engine(pipe, batching=QUICK) as started:
        yield started
        graph.gate.set()


def test_a_request_gets_what_the_pipeline_answers(engine: Engine, pipe: Pipeline) -> None:
    for inputs in ("the film", TEXTS[:3], [], [{"role": "user", "content": "what"}][:0]):
        assert engine.submit_nowait(inputs).result(SOON) == pipe(inputs)


def test_options_of_a_call_are_its_own(engine: Engine, pipe: Pipeline) -> None:
    options: list[dict[str, Any]] = [
        {"max_new_tokens": 3},
        {"return_full_text": False},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "seed": 5, "num_return_sequences": 2},
        {"logprobs": 2},
    ]
    futures = [engine.submit_nowait("the film", **one) for one in options]
    assert [future.result(SOON) for future in futures] == [pipe("the film", **one) for one in options]


def test_coroutines_are_answered_side_by_side(pipe: Pipeline, graph: Gated) -> None:
    async def ask() -> list[Any]:
        async with Engine(pipe, batching=QUICK) as engine:
            graph.gate.clear()
            asking = [asyncio.create_task(engine.submit(text)) for text in TEXTS]
            await asyncio.sleep(0.01)
            graph.gate.set()
            return await asyncio.gather(*asking)

    assert asyncio.run(ask()) == [pipe(text) for text in TEXTS]
    assert max(rows for rows, _ in graph.shapes) > 1


def test_model_with_an_encoder_is_served() -> None:
    pipe = pipe_of(Text2Text(), {"encoder": FakeEncoder(), "decoder": FakeDecoder(has_encoder=True)})
    with Engine(pipe, batching=QUICK) as engine:
        futures = [engine.submit_nowait(text) for text in TEXTS]
        assert [future.result(SOON) for future in futures] == [pipe(text) for text in TEXTS]


def test_models_that_write_stand_beside_those_that_answer(pipe: Pipeline) -> None:
    other = Pipeline(Classify(), Model(Artifact.open(GOLDEN), TOKENIZER, FakeSession(), "fp32", "fake"), TOKENIZER, {})
    with Engine({"words": pipe, "mood": other}, batching=QUICK) as engine:
        assert engine.submit_nowait("the film", model="words").result(SOON) == pipe("the film")
        assert engine.submit_nowait("the film", model="mood").result(SOON) == other("the film")
        assert {name: one.answered for name, one in engine.counters.items()} == {"words": 1, "mood": 1}
        assert engine.num_waiting == {"words": 0, "mood": 0}
        with pytest.raises(ConfigError, match="a stream requested, text-classification does not write"):
            engine.stream_nowait("the film", model="mood")
        for name, version in (("words", other), ("mood", pipe)):
            with pytest.raises(ConfigError, match=f"another version of '{name}' requested"):
                engine.swap(version, model=name)


def test_text_is_read_along(engine: Engine, pipe: Pipeline) -> None:
    pieces = list(engine.stream_nowait("the film was"))
    assert pieces == list(pipe.stream("the film was"))
    assert len(pieces) > 1


def test_event_loop_reads_along(pipe: Pipeline) -> None:
    async def read() -> list[list[str]]:
        async with Engine(pipe, batching=QUICK) as engine:

            async def one(text: str) -> list[str]:
                return [piece async for piece in engine.stream(text)]

            return await asyncio.gather(*(one(text) for text in TEXTS))

    assert asyncio.run(read()) == [list(pipe.stream(text)) for text in TEXTS]


def test_reader_that_goes_away_ends_the_writing(engine: Engine, graph: Gated) -> None:
    graph.seconds = 0.005
    with_close = engine.stream_nowait("the film", max_new_tokens=55)
    next(with_close)
    with_close.close()
    assert list(with_close) == []
    next(engine.stream_nowait("the film", max_new_tokens=55))
    gc.collect()
    assert engine.drain(SOON)
    assert engine.counters["default"].cancelled == 2


def test_loop_that_is_left_ends_the_writing(pipe: Pipeline, graph: Gated) -> None:
    graph.seconds = 0.005

    async def read() -> int:
        async with Engine(pipe, batching=QUICK) as engine:
            reading = engine.stream("the film", max_new_tokens=55)
            async for _ in reading:
                break
            await reading.aclose()
            while not engine.counters["default"].cancelled:
                await asyncio.sleep(0.001)
            return engine.counters["default"].cancelled

    assert asyncio.run(read()) == 1


def test_cancelled_coroutine_and_future_are_dropped(pipe: Pipeline, graph: Gated) -> None:
    async def cancel() -> None:
        async with Engine(pipe, batching=QUICK) as engine:
            graph.gate.clear()
            asking = asyncio.create_task(engine.submit("the film", max_new_tokens=50))
            future = engine.submit_nowait("what", max_new_tokens=50)
            await asyncio.sleep(0.01)
            asking.cancel()
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            graph.gate.set()
            assert await asyncio.to_thread(engine.drain, SOON)
            assert engine.counters["default"].cancelled == 2

    asyncio.run(cancel())
    assert len(graph.shapes) < 20


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        (3, {}, InvalidInputError, "got"),
        ("the film " * 40, {}, InputTooLongError, "tokens"),
        ("the film", {"max_new_tokens": 0}, ConfigError, "max_new_tokens requested"),
        ("the film", {"cache_bytes": 9}, ConfigError, "cache_bytes requested, texts of all requests are written"),
        ("the film", {"strict_batching": True}, ConfigError, "strict_batching requested"),
        ("the film", {"batch_size": 3}, ConfigError, "batch_size requested"),
        ("the film", {"deadline_ms": -1}, ConfigError, "deadline_ms requested"),
        ("the film", {"priority": 99}, ConfigError, "priority"),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_said_at_once(
    engine: Engine, inputs: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        engine.submit_nowait(inputs, **options)


def test_several_texts_are_not_read_along(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="a stream with num_beams=2 requested"):
        engine.stream_nowait("the film", num_beams=2)
    with pytest.raises(InvalidInputError, match="a stream requested, got several inputs"):
        engine.stream_nowait(["the film", "what"])


def test_text_that_needs_too_much_of_the_cache_is_refused(graph: Gated) -> None:
    with Engine(pipe_of(Generate(), {"model": graph}, cache_bytes=400), batching=QUICK) as engine:
        with pytest.raises(ConfigError, match="their cache takes .* bytes, and may take 400"):
            engine.submit_nowait("the film", max_new_tokens=60).result(SOON)
        assert engine.submit_nowait("the film").result(SOON)


def test_deadline_ends_a_text(engine: Engine, graph: Gated) -> None:
    graph.gate.clear()
    future = engine.submit_nowait("the film", deadline_ms=20)
    time.sleep(0.03)
    graph.gate.set()
    with pytest.raises(DeadlineError, match="an answer by 'default' within 20 ms requested"):
        future.result(SOON)


def test_full_line_refuses(pipe: Pipeline, graph: Gated) -> None:
    with Engine(pipe, batching=BatchingConfig(max_queue=2, max_batch_size=1)) as engine:
        graph.gate.clear()
        futures = [engine.submit_nowait("the film")]
        while engine.num_waiting["default"]:
            time.sleep(0.001)  # until it has a row
        futures += [engine.submit_nowait("the film") for _ in range(2)]
        with pytest.raises(QueueFullError, match="2 texts wait of at most 2"):
            engine.submit_nowait("the film")
        graph.gate.set()
        assert all(future.result(SOON) for future in futures)


def test_time_of_each_stage_is_told_who_asks(engine: Engine, pipe: Pipeline) -> None:
    response = engine.submit_nowait("the film", timing=True).result(SOON)
    assert isinstance(response, Response)
    assert response.result == pipe("the film")
    assert response.timing.tokenize_ms > 0
    assert response.timing.run_ms > 0
    assert response.timing.batch_size == 1


def test_closing_ends_what_is_written(pipe: Pipeline, graph: Gated) -> None:
    before = set(threading.enumerate())
    engine = Engine(pipe, batching=QUICK).start()
    graph.gate.clear()
    futures = [engine.submit_nowait(text, max_new_tokens=50) for text in TEXTS]
    closing = threading.Thread(target=engine.close)
    closing.start()
    for future in futures:
        with pytest.raises(ClosedError):
            future.result(SOON)
    graph.gate.set()
    closing.join(SOON)
    with pytest.raises(ClosedError):
        engine.submit_nowait("the film")
    assert not set(threading.enumerate()) - before


def test_draining_engine_takes_no_more(engine: Engine, pipe: Pipeline) -> None:
    future = engine.submit_nowait("the film")
    assert engine.drain(SOON)
    assert future.result(0) == pipe("the film")
    with pytest.raises(ClosedError, match="the engine takes no requests"):
        engine.submit_nowait("the film")


def test_swap_loses_nothing_and_new_requests_get_the_new_version(engine: Engine, pipe: Pipeline) -> None:
    new = pipe_of(Generate(), {"model": FakeDecoder()}, max_new_tokens=3)
    before = [engine.submit_nowait(text) for text in TEXTS]
    engine.swap(new)
    after = [engine.submit_nowait(text) for text in TEXTS]
    assert [future.result(SOON) for future in before] == [pipe(text) for text in TEXTS]
    assert [future.result(SOON) for future in after] == [new(text) for text in TEXTS]
    assert engine.counters["default"].answered == 2 * len(TEXTS)


def test_version_that_does_not_run_leaves_the_old_one_in_its_place(engine: Engine, pipe: Pipeline) -> None:
    broken = FakeDecoder()
    broken.fails = 1
    with pytest.raises(SessionError):
        engine.swap(pipe_of(Generate(), {"model": broken}))
    assert engine.submit_nowait("the film").result(SOON) == pipe("the film")
    engine.drain(SOON)
    with pytest.raises(ClosedError, match="another version requested"):
        engine.swap(pipe)


def test_replicas_of_a_model_that_writes_are_refused(pipe: Pipeline) -> None:
    with pytest.raises(ConfigError, match="2 replicas of 'default' requested, text-generation writes"):
        Engine([pipe, pipe], batching=QUICK).start()


def test_run_that_fails_is_told_and_the_engine_goes_on(engine: Engine, graph: Gated, pipe: Pipeline) -> None:
    graph.fails = 1
    with pytest.raises(SessionError):
        engine.submit_nowait("the film").result(SOON)
    assert engine.submit_nowait("the film").result(SOON) == pipe("the film")
