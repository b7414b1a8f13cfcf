"""Texts for the rows of a call, on graphs that write by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ortolan import Artifact, Model, Tokenizer
from ortolan.config import BatchConfig
from ortolan.errors import ConfigError, InputTooLongError, NonFiniteError
from ortolan.forward import Row
from ortolan.generation.config import GenerationConfig
from ortolan.generation.loop import Writer, generate, stream
from ortolan.generation.pieces import Pieces
from ortolan.tokenize import Encoding
from tests.engine.damage import GOLDEN
from tests.engine.fake_decoder import POISON, FakeDecoder, FakeEncoder, continued
from tests.engine.fakes import FakeSession

MAX_LENGTH = 64
TOKENIZER = Tokenizer.load(GOLDEN, max_length=MAX_LENGTH)
ARTIFACT = Artifact.open(GOLDEN)


def writer_of(graph: FakeDecoder | None = None, *, has_encoder: bool = False) -> Writer:
    graph = FakeDecoder(has_encoder=has_encoder) if graph is None else graph
    model = Model(ARTIFACT, TOKENIZER, FakeSession(), "fp32", "fake")
    model.graphs = {"encoder": FakeEncoder(), "decoder": graph} if has_encoder else {"model": graph}
    return Writer(model, TOKENIZER)


def encoding(*ids: int) -> Encoding:
    return Encoding(list(ids), [0] * len(ids), [(0, 0)] * len(ids))


def rows(writer: Writer, prompts: list[list[int]], size: int = 8, cache_bytes: int | None = None, **rules: Any) -> Any:
    """All rows for each prompt."""
    encodings, limits = [encoding(*one) for one in prompts], BatchConfig(max_batch_size=size)
    found = list(generate(writer, encodings, GenerationConfig(**rules), limits, cache_bytes=cache_bytes))
    assert sorted(position for position, _ in found) == list(range(len(prompts)))
    by_position: Mapping[int, list[Row]] = dict(found)
    assert all(row.encoding is encodings[position] for position, some in found for row in some)
    return [[row.outputs["sequences"].tolist() for row in by_position[place]] for place in range(len(prompts))]


def write(writer: Writer, prompts: list[list[int]], **rules: Any) -> list[list[int]]:
    """The only text for each prompt."""
    return [text for [text] in rows(writer, prompts, **rules)]


def test_prompts_of_different_length_go_on_together() -> None:
    graph, prompts = FakeDecoder(), [[1, 2, 3], [20], [30, 30]]
    found = write(writer_of(graph), prompts, max_new_tokens=3)
    assert found == [[*prompt, *continued(prompt, 3)] for prompt in prompts]
    assert graph.shapes == [(3, 3), (3, 1), (3, 1)]


def test_text_that_is_done_makes_room_for_another() -> None:
    graph, prompts = FakeDecoder(), [[one] for one in range(1, 5)]
    ends = continued([2], 2)[-1]
    found = write(writer_of(graph), prompts, size=2, max_new_tokens=4, eos_token_id=(ends,))
    alone = [write(writer_of(), [one], max_new_tokens=4, eos_token_id=(ends,))[0] for one in prompts]
    assert found == alone
    assert len(found[1]) == 3
    assert max(rows for rows, _ in graph.shapes) == 2


def test_decoder_writes_from_its_start_token_on_to_what_the_encoder_has_read() -> None:
    found = write(writer_of(has_encoder=True), [[9, 9, 9], [8]], max_new_tokens=2, decoder_start_token_id=3)
    assert found == [[3, *continued([3], 2, [9, 9, 9])], [3, *continued([3], 2, [8])]]


def test_several_texts_have_a_row_each() -> None:
    [texts] = rows(writer_of(), [[1, 2]], max_new_tokens=5, num_beams=3, num_return_sequences=2)
    assert len(texts) == 2
    assert all(text[:2] == [1, 2] and len(text) == 7 for text in texts)
    sampled = rows(writer_of(), [[1], [2]], max_new_tokens=3, do_sample=True, num_return_sequences=3, seed=1)
    assert [len(one) for one in sampled] == [3, 3]


def test_logprobs_come_beside() -> None:
    [(_, [row])] = generate(writer_of(), [encoding(1)], GenerationConfig(max_new_tokens=2, logprobs=1), BatchConfig())
    assert row.outputs["logprobs"].shape == (2,)
    assert row.outputs["logprobs"].dtype == np.float32


def test_text_ends_where_the_positions_end() -> None:
    [found] = write(writer_of(), [[20] * 60])
    assert len(found) == MAX_LENGTH + 1, "what is written last needs no position"


def test_prompt_without_room_behind_it_is_refused() -> None:
    message = "a text requested, the prompt alone has 65 tokens, and there is room for 65 in all"
    with pytest.raises(InputTooLongError, match=message):
        write(writer_of(), [[20] * (MAX_LENGTH + 1)])


def test_cache_that_is_too_small_for_a_text_is_told() -> None:
    message = r"1 texts of up to 4 tokens requested, their cache takes 32 bytes, and may take 31; .* raise cache_bytes"
    with pytest.raises(ConfigError, match=message):
        write(writer_of(), [[1, 2]], max_new_tokens=3, cache_bytes=31)
    assert write(writer_of(), [[1, 2]] * 5, max_new_tokens=3, cache_bytes=32) == [[1, 2, *continued([1, 2], 3)]] * 5


def test_nan_is_an_error() -> None:
    with pytest.raises(NonFiniteError, match="a text requested, the graph answered NaN"):
        write(writer_of(), [[10, POISON]], max_new_tokens=9)


def test_prompts_that_begin_alike_are_read_once() -> None:
    graph = FakeDecoder()
    writer = writer_of(graph)
    for last in (1, 2):
        prompt = [*range(20, 40), last]
        assert write(writer, [prompt], max_new_tokens=1) == [[*prompt, *continued(prompt, 1)]]
    assert graph.shapes == [(1, 21), (1, 2)]
    assert (writer.prefixes.hits, writer.prefixes.saved_tokens) == (1, 19)
    list(generate(writer, [encoding(*prompt)], GenerationConfig(), BatchConfig(), reuses_prefixes=False))
    assert writer.prefixes.hits == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, POISON - 1), min_size=1, max_size=9), min_size=1, max_size=6),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_company_changes_nothing(prompts: list[list[int]], new: int, size: int) -> None:
    expected = [[*prompt, *continued(prompt, new)] for prompt in prompts]
    assert write(writer_of(), prompts, size=size, max_new_tokens=new) == expected


# Texts that are told as they are written.


def numbers(ids: Sequence[int]) -> str:
    return "".join(f"{one}," for one in ids)


def told(writer: Writer, prompt: list[int], **rules: Any) -> list[str]:
    config = GenerationConfig(**rules)
    return list(stream(writer, encoding(*prompt), config, Pieces(numbers, config.stop_strings)))


def test_text_is_told_piece_by_piece() -> None:
    expected = continued([1, 2], 4)
    assert told(writer_of(), [1, 2], max_new_tokens=4) == [f"{one}," for one in expected]


def test_closing_a_stream_ends_the_writing() -> None:
    graph = FakeDecoder()
    config = GenerationConfig(max_new_tokens=50)
    writing = stream(writer_of(graph), encoding(1, 2), config, Pieces(numbers, ()))
    assert next(writing) == f"{continued([1, 2], 1)[0]},"
    writing.close()
    assert graph.shapes == [(1, 2)]


def test_stream_raises_what_a_call_would() -> None:
    with pytest.raises(NonFiniteError):
        told(writer_of(), [1, POISON])


@pytest.mark.parametrize("name", ["num_beams", "num_return_sequences"])
def test_several_texts_are_not_told_at_a_time(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"a stream with {name}=2 requested, a text that is told cannot be taken back"
    ):
        told(writer_of(), [1, 2], **{name: 2, "do_sample": True})
