"""Runs over a cache: however a text gets into it, what follows is what would follow if it were read anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ortolan.errors import ConfigError, SessionError, SignatureError
from ortolan.generation.decoder import KEPT_RUNS, Decoder
from ortolan.positions import buckets_of, relative_buckets
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Session, Signature, TensorSpec
from tests.engine.fake_decoder import FakeDecoder, fake_decoder, follower
from tests.engine.fakes import FakeSession
from tests.engine.tiny_decoder import BUCKETS, CONFIG, POSITIONS, VOCABULARY, write_decoder, write_encoder

Graphs = Mapping[str, Session]
RANDOM = np.random.default_rng(0)
TEXTS = [RANDOM.integers(0, VOCABULARY, length).tolist() for length in (37, 21, 40, 9)]
SOURCES = [RANDOM.integers(0, VOCABULARY, length).tolist() for length in (4, 19, 7, 33)]


@pytest.fixture(scope="module", params=["table", "grouped heads", "buckets"])
def graphs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """A model without encoder."""
    options: dict[str, dict[str, Any]] = {
        "table": {},
        "grouped heads": {"kv_heads": 2},
        "buckets": {"positions": "buckets"},
    }
    return {"model": write_decoder(tmp_path_factory.mktemp("graph") / "model.onnx", **options[request.param])}


@pytest.fixture(scope="module", params=["table", "buckets"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """A model with encoder."""
    folder = tmp_path_factory.mktemp("graph")
    decoder = write_decoder(folder / "decoder.onnx", positions=request.param, has_encoder=True)
    return {"encoder": write_encoder(folder / "encoder.onnx"), "decoder": decoder}


def decoder_of(graphs: Graphs, rows: int, length: int = 64, sources: list[list[int]] | None = None) -> Decoder:
    """A decoder with so many empty rows."""
    decoder = Decoder(graphs, CONFIG, max_length=POSITIONS)
    decoder.reserve(rows, length, len(sources or []), max(map(len, sources or [[]])))
    if sources:
        decoder.encode(sources)
    for _ in range(rows):
        decoder.cache.add()
    return decoder


def anew(graphs: Graphs, text: list[int], source: list[int] | None = None) -> FloatArray:
    """Logits behind each token of a text that is read at once, [S, V]."""
    decoder = decoder_of(graphs, 1, sources=[source] if source else None)
    logits: FloatArray = decoder.run(0, [text], requests=(0, 1 if source else 0), places="every")[0]
    return logits


def close(found: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_prompts_of_different_length_are_read_together(graphs: Graphs) -> None:
    decoder = decoder_of(graphs, 4)
    logits = decoder.run(0, TEXTS)
    assert logits.shape == (4, 1, VOCABULARY)
    for text, found in zip(TEXTS, logits, strict=True):
        close(found[0], anew(graphs, text)[-1])
    assert decoder.cache.lengths[:4].tolist() == [37, 21, 40, 9]


@pytest.mark.parametrize("width", [1, 5, 16])
def test_prompt_is_read_in_parts(graphs: Graphs, width: int) -> None:
    text, decoder = TEXTS[0], decoder_of(graphs, 1)
    parts = [decoder.run(0, [text[at : at + width]], places="every")[0].copy() for at in range(0, len(text), width)]
    close(np.concatenate(parts), anew(graphs, text))


def test_rows_go_on_token_by_token(graphs: Graphs) -> None:
    decoder = decoder_of(graphs, 4)
    decoder.run(0, [text[:5] for text in TEXTS])
    for at in range(5, 9):
        logits = decoder.run(0, [text[at : at + 1] for text in TEXTS])
        for text, found in zip(TEXTS, logits, strict=True):
            close(found[0], anew(graphs, text)[at])


def test_new_row_reads_its_prompt_behind_rows_that_are_further(graphs: Graphs) -> None:
    decoder = decoder_of(graphs, 3)
    decoder.run(0, [TEXTS[0][:20]])
    decoder.run(1, [TEXTS[1][:3], TEXTS[2][:7]])
    logits = decoder.run(0, [TEXTS[0][20:21], TEXTS[1][3:4], TEXTS[2][7:8]])
    for row, length in enumerate((21, 4, 8)):
        close(logits[row, 0], anew(graphs, TEXTS[row])[length - 1])


def test_rows_are_moved_split_and_copied_out_and_in(graphs: Graphs) -> None:
    decoder = decoder_of(graphs, 4)
    decoder.run(0, TEXTS)
    decoder.cache.reorder([2, 1, 2])
    decoder.cache.write(decoder.cache.add(), decoder.cache.read(1, 21), 15)
    decoder.reserve(4, 100)  # moves the arrays
    texts = [TEXTS[2], TEXTS[1], TEXTS[2], TEXTS[1][:15]]
    logits = decoder.run(0, [[1], [2], [3], [4]])
    for text, token, found in zip(texts, (1, 2, 3, 4), logits, strict=True):
        close(found[0], anew(graphs, [*text, token])[-1])


def test_wrong_guesses_leave_no_trace(graphs: Graphs) -> None:
    decoder = decoder_of(graphs, 2)
    decoder.run(0, [TEXTS[0][:10], TEXTS[1][:10]])
    decoder.run(1, [[TEXTS[1][10], 3, 4]])
    decoder.cache.drop(1, 2, 2)
    logits = decoder.run(0, [TEXTS[0][10:11], TEXTS[1][11:12]])
    for row in range(2):
        close(logits[row, 0], anew(graphs, TEXTS[row])[10 + row])


def test_each_text_looks_at_what_its_encoder_has_read(pair: Graphs) -> None:
    decoder = decoder_of(pair, 4, sources=SOURCES)
    decoder.run(0, [text[:2] for text in TEXTS], requests=(0, 4))
    for at in (2, 3):
        logits = decoder.run(0, [text[at : at + 1] for text in TEXTS], requests=(0, 4))
        for text, source, found in zip(TEXTS, SOURCES, logits, strict=True):
            close(found[0], anew(pair, text[:4], source)[at])


def test_beams_share_what_the_encoder_has_read(pair: Graphs) -> None:
    decoder = decoder_of(pair, 4, sources=SOURCES[:2])
    decoder.cache.reorder([0, 1])
    decoder.run(0, [[5], [6]], requests=(0, 2))
    decoder.cache.reorder([0, 0, 1, 1])
    logits = decoder.run(0, [[1], [2], [3], [4]], requests=(0, 2))
    for row, text in enumerate(([5, 1], [5, 2], [6, 3], [6, 4])):
        close(logits[row, 0], anew(pair, text, SOURCES[row // 2])[-1])
    close(decoder.run(2, [[7], [7]], requests=(1, 2))[0, 0], anew(pair, [6, 3, 7], SOURCES[1])[-1])


def test_encoder_reads_texts_as_they_come_and_go(pair: Graphs) -> None:
    decoder = decoder_of(pair, 3, sources=SOURCES[:3])
    decoder.cross.reorder([2, 0])
    decoder.reserve(3, 64, 3, 33)
    decoder.encode(SOURCES[3:])
    logits = decoder.run(0, [TEXTS[0][:3]] * 3, requests=(0, 3))
    for source, found in zip((SOURCES[2], SOURCES[0], SOURCES[3]), logits, strict=True):
        close(found[0], anew(pair, TEXTS[0][:3], source)[-1])


def test_steps_of_one_shape_are_tied_to_the_graph_once() -> None:
    decoder, graph = fake_decoder()
    decoder.reserve(8, 60)
    for _ in range(8):
        decoder.cache.add()
    decoder.run(0, [[1, 2, 3]] * 8)
    for _ in range(5):
        decoder.run(0, [[4]] * 8)
    assert graph.num_bound == 2
    for count in range(1, KEPT_RUNS + 2):
        decoder.run(0, [[4]] * count)
    assert graph.num_bound == 2 + KEPT_RUNS + 1
    decoder.reserve(8, 100)
    decoder.run(0, [[4]] * 8)
    assert graph.num_bound == 2 + KEPT_RUNS + 2, "the arrays are elsewhere"


def test_run_that_fails_leaves_the_rows_as_they_were() -> None:
    decoder, graph = fake_decoder()
    decoder.reserve(1, 60)
    decoder.cache.add()
    decoder.run(0, [[1, 2, 3]])
    graph.fails = 1
    with pytest.raises(SessionError):
        decoder.run(0, [[4, 5]])
    assert decoder.cache.lengths[0] == 3
    found = decoder.run(0, [[4]])[0, 0].argmax()
    assert found == follower([1, 2, 3, 4])


def test_cache_keeps_to_its_bytes() -> None:
    decoder, _ = fake_decoder(has_encoder=True, cache_bytes=1000)
    decoder.reserve(2, 50, 2, 25)
    assert decoder.layout.num_bytes(2, 50, 2, 25) == 2 * 50 * 8 + 2 * 25 * 4 == 1000
    assert decoder.cache.num_bytes + decoder.cross.num_bytes == 1000
    with pytest.raises(ConfigError, match="a cache of 2 rows of 51 tokens requested, it takes 816 bytes"):
        decoder.reserve(2, 51, 2, 25)
    decoder.reserve(4, 30, 1, 10)
    assert decoder.cache.num_bytes + decoder.cross.num_bytes == 1000


def test_buckets_of_every_token_as_seen_from_new_ones() -> None:
    buckets = buckets_of(BUCKETS)
    by_distance = buckets.of(np.arange(21))
    places = np.array([[3, 4], [30, 31]])
    found = relative_buckets(by_distance, places, 32)
    assert found.shape == (2, 2, 32)
    assert found[0, 0, :6].tolist() == [3, 2, 1, 0, 0, 0]
    np.testing.assert_array_equal(found, buckets.of(places[..., None] - np.arange(32)))


class _Described(FakeDecoder):
    """A graph with another signature than others."""

    def __init__(self, *, without: str = "", more: tuple[TensorSpec, ...] = (), logits: str = "logits") -> None:
        super().__init__()
        kept = tuple(spec for spec in self.signature.inputs if spec.name != without)
        outputs = tuple(replace(spec, name=logits) for spec in self.signature.outputs if spec.name == "logits")
        self.signature = Signature((*kept, *more), outputs)


@pytest.mark.parametrize(
    "graph",
    [
        _Described(without="last_index"),
        _Described(more=(TensorSpec("attention_mask", "int64", ("batch", "sequence")),)),
        _Described(more=(TensorSpec("encoder_attention_mask", "int64", ("requests", "encoded")),)),
        _Described(without="past_key_values.0.key"),
        _Described(logits="hidden"),
    ],
    ids=["input missing", "input unknown", "encoder missing", "no cache", "no logits"],
)
def test_graph_of_another_kind_is_refused(graph: FakeDecoder) -> None:
    with pytest.raises(SignatureError, match="a graph that writes requested"):
        Decoder({"model": graph}, {}, max_length=9)


def test_session_that_cannot_work_in_place_is_refused() -> None:
    with pytest.raises(SessionError, match="a session on 'fake' cannot do that; load the model with provider 'cpu'"):
        Decoder({"model": FakeSession()}, {}, max_length=9)
