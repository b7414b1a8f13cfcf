"""Texts of a pipeline, told as they are written, in threads and in event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ortolan import Artifact, ConfigError, InputTooLongError, InvalidInputError, Model, Pipeline, Tokenizer
from ortolan.session.base import Session
from ortolan.tasks.classify import Classify
from ortolan.tasks.generate import Generate
from ortolan.tasks.text2text import Text2Text
from tests.engine.damage import GOLDEN
from tests.engine.fake_decoder import FakeDecoder, FakeEncoder
from tests.engine.fakes import FakeSession

TOKENIZER = Tokenizer.load(GOLDEN, max_length=64)


def pipe_of(task: Any, graphs: Mapping[str, Session], **defaults: object) -> Pipeline:
    model = Model(Artifact.open(GOLDEN), TOKENIZER, FakeSession(), "fp32", "fake")
    model.graphs = dict(graphs)
    return Pipeline(task, model, TOKENIZER, {"max_new_tokens": 6, **defaults})


@pytest.fixture
def graph() -> FakeDecoder:
    return FakeDecoder()


@pytest.fixture
def pipe(graph: FakeDecoder) -> Pipeline:
    return pipe_of(Generate(), {"model": graph})


def test_pieces_of_a_stream_are_the_text_of_a_call(pipe: Pipeline) -> None:
    [answer] = pipe("the film was", return_full_text=False)
    pieces = list(pipe.stream("the film was"))
    assert "".join(pieces) == answer["generated_text"]
    assert len(pieces) > 1


def test_options_of_a_call_count(pipe: Pipeline) -> None:
    options = {"max_new_tokens": 9, "skip_special_tokens": False, "do_sample": True, "seed": 3}
    [answer] = pipe("the film", return_full_text=False, **options)
    assert "".join(pipe.stream("the film", **options)) == answer["generated_text"]


def test_model_with_an_encoder_streams_what_its_decoder_writes() -> None:
    pipe = pipe_of(Text2Text(), {"encoder": FakeEncoder(), "decoder": FakeDecoder(has_encoder=True)})
    [answer] = pipe("the film was good")
    assert "".join(pipe.stream("the film was good")) == answer["generated_text"]


def test_lists_and_streams_of_prompts_are_answered_in_order(pipe: Pipeline) -> None:
    texts = ["the film", "a great day and the rain", "what"]
    alone = [pipe(text) for text in texts]
    assert pipe(texts) == alone
    assert list(pipe(iter(texts), batch_size=2)) == alone


def test_several_texts_of_a_prompt_come_together(pipe: Pipeline) -> None:
    answers = pipe(["the film", "what"], num_beams=3, num_return_sequences=2)
    assert [len(one) for one in answers] == [2, 2]
    assert answers[0][0]["generated_text"] != answers[0][1]["generated_text"]


def test_prompts_are_kept_unless_texts_must_not_depend_on_each_other(pipe: Pipeline) -> None:
    text = "the film was good and the actor was great and it was the best story ever"
    for _ in range(2):
        pipe(text)
    assert pipe.writer is not None
    assert pipe.writer.prefixes.hits == 1
    pipe(text, strict_batching=True)
    assert pipe.writer.prefixes.hits == 1


def test_cache_may_be_bounded(pipe: Pipeline) -> None:
    with pytest.raises(ConfigError, match="their cache takes"):
        pipe("the film", cache_bytes=8)
    with pytest.raises(ConfigError, match="cache_bytes requested, got 0"):
        pipe("the film", cache_bytes=0)


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        (["a", "b"], {}, InvalidInputError, "a stream requested, got several inputs"),
        (3, {}, InvalidInputError, "got"),
        ("the film " * 40, {}, InputTooLongError, "tokens"),
        ("the film", {"num_beams": 2}, ConfigError, "a stream with num_beams=2 requested"),
        ("the film", {"depth": 2}, ConfigError, "option 'depth' requested"),
    ],
    ids=["list", "number", "too long", "beams", "unknown option"],
)
def test_what_cannot_be_streamed_is_said_at_once(
    pipe: Pipeline, prompt: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pipe.stream(prompt, **options)


def test_task_that_does_not_write_has_no_stream() -> None:
    pipe = Pipeline(Classify(), Model(Artifact.open(GOLDEN), TOKENIZER, FakeSession(), "fp32", "fake"), TOKENIZER, {})
    with pytest.raises(ConfigError, match="a stream requested, text-classification does not write"):
        pipe.stream("the film")


def test_event_loop_gets_the_same_pieces(pipe: Pipeline) -> None:
    async def collect() -> list[str]:
        return [piece async for piece in pipe.astream("the film was")]

    assert asyncio.run(collect()) == list(pipe.stream("the film was"))


def test_streams_of_an_event_loop_go_on_side_by_side(pipe: Pipeline) -> None:
    async def collect(text: str) -> str:
        return "".join([piece async for piece in pipe.astream(text)])

    async def both() -> Sequence[str]:
        return await asyncio.gather(collect("the film"), collect("what a day"))

    assert list(asyncio.run(both())) == ["".join(pipe.stream(text)) for text in ("the film", "what a day")]


def test_errors_come_with_the_first_piece(pipe: Pipeline) -> None:
    async def first(prompt: str) -> str:
        return await anext(pipe.astream(prompt, num_beams=2))

    with pytest.raises(ConfigError, match="a stream with num_beams=2 requested"):
        asyncio.run(first("the film"))


def test_leaving_the_loop_ends_the_writing(pipe: Pipeline, graph: FakeDecoder) -> None:
    async def leave() -> None:
        writing = pipe.astream("the film", max_new_tokens=40)
        await anext(writing)
        await writing.aclose()

    asyncio.run(leave())
    assert len(graph.shapes) < 10


def test_cancelled_reader_ends_the_writing(pipe: Pipeline, graph: FakeDecoder) -> None:
    async def read() -> None:
        async for _ in pipe.astream("the film", max_new_tokens=60):
            await asyncio.sleep(0.01)

    async def cancel() -> None:
        reading = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(cancel())
    assert len(graph.shapes) < 40
