"""Graphs whose cache grows, in the place of those that write one in place: the same tokens, whoever writes beside."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from ortolan.generation.decoder import Decoder
from ortolan.generation.scheduler import Scheduler
from ortolan.generation.seats import Request
from ortolan.growing import GrowingDecoder, grows, in_place
from ortolan.session.base import Array, Session, Signature, Stop, TensorSpec
from ortolan.teacher_forcing import TeacherForced
from tests.engine.fake_decoder import (
    MAX_LENGTH,
    POISON,
    VOCABULARY,
    FakeDecoder,
    Told,
    Wandering,
    continued,
    follower,
    greedy,
)

IDS = TensorSpec("input_ids", "int64", ("batch", "sequence"))
LOGITS = TensorSpec("logits", "float32", ("batch", "sequence", VOCABULARY))
ENCODED_MASK = TensorSpec("encoder_attention_mask", "int64", ("batch", "encoded"))


def kept(name: str, length: str) -> TensorSpec:
    return TensorSpec(name, "float32", ("batch", 1, length, 2))


class FakeGrowing:
    """A decoder graph in optimum's layout, whose keys are tokens and places, and which answers what follows them."""

    provider = "fake"

    def __init__(self, *, whose: str = "", has_past: bool = True, reads_positions: bool = True) -> None:
        self.has_past, self.whose = has_past, whose
        more = [TensorSpec("attention_mask", "int64", ("batch", "total"))]
        if reads_positions:
            more.append(TensorSpec("position_ids", "int64", ("batch", "sequence")))
        if whose:
            more = [ENCODED_MASK]
            if has_past:
                more.append(kept("past_key_values.0.encoder.key", "encoded"))
            else:
                more.append(TensorSpec("encoder_hidden_states", "float32", ("batch", "encoded", 2)))
        past = [kept(f"past_key_values.0{whose}.key", "past")] if has_past else []
        said = [] if has_past else [kept("present.0.encoder.key", "encoded")]
        self.signature = Signature((IDS, *more, *past), (LOGITS, kept(f"present.0{whose}.key", "total"), *said))
        self.shapes: list[tuple[int, int, int]] = []

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        assert set(feed) == {spec.name for spec in self.signature.inputs}
        ids = feed["input_ids"]
        batch, width = ids.shape
        past = feed.get(f"past_key_values.0{self.whose}.key", np.zeros((batch, 1, 0, 2), np.float32))
        self.shapes.append((batch, width, past.shape[2]))
        mask = feed.get("attention_mask", np.ones((batch, past.shape[2] + width), np.int64))
        assert mask.shape == (batch, past.shape[2] + width)
        places = feed.get("position_ids", np.arange(past.shape[2], mask.shape[1]) * np.ones_like(ids))
        new = np.stack([ids, places], axis=2).astype(np.float32)[:, None]
        keys = np.concatenate([past, new], axis=2)
        logits = np.zeros((batch, width, VOCABULARY), np.float32)
        for row in range(batch):
            for place in range(width):
                end = past.shape[2] + place + 1
                tokens, at = keys[row, 0, :end][mask[row, :end] == 1].T
                assert at.tolist() == list(range(len(at))), "a token was moved to another place"
                logits[row, place, follower([int(one) for one in tokens], self._source(feed, row))] = 1
        present = {f"present.0{self.whose}.key": keys}
        if "encoder_hidden_states" in feed:
            present["present.0.encoder.key"] = feed["encoder_hidden_states"][:, None]
        return {"logits": logits, **present}

    def _source(self, feed: Mapping[str, Array], row: int) -> list[int]:
        if not self.whose:
            return []
        name = "past_key_values.0.encoder.key"
        said = feed[name][row, 0] if self.has_past else feed["encoder_hidden_states"][row]
        return [int(one) for one in said[feed["encoder_attention_mask"][row] == 1, 0]]


class FakeEncoder:
    """An encoder graph that says what it reads, and nonsense at padding."""

    provider = "fake"
    signature = Signature(
        (IDS, TensorSpec("attention_mask", "int64", ("batch", "sequence"))),
        (TensorSpec("last_hidden_state", "float32", ("batch", "sequence", 2)),),
    )

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        said = np.where(feed["attention_mask"] == 1, feed["input_ids"], 1000).astype(np.float32)
        return {"last_hidden_state": np.stack([said, said], axis=2)}


def alone() -> dict[str, Session]:
    return {"model": FakeGrowing()}


def after_encoder() -> dict[str, Session]:
    return {
        "encoder": FakeEncoder(),
        "decoder": FakeGrowing(whose=".decoder", has_past=False),
        "decoder_with_past": FakeGrowing(whose=".decoder"),
    }


def write(graphs: Mapping[str, Session], asked: Sequence[Request]) -> None:
    decoder = Decoder(in_place(graphs), {}, max_length=MAX_LENGTH)
    scheduler = Scheduler(decoder, max_requests=4, chunk_tokens=20)
    for number, request in enumerate(asked):
        scheduler.add(request)
        if number % 2:
            scheduler.step()  # others have begun
    while scheduler.step():
        pass


@pytest.mark.parametrize("has_encoder", [False, True], ids=["alone", "after an encoder"])
def test_each_text_is_what_it_would_be_alone(has_encoder: bool) -> None:
    draw = random.Random(3)
    prompts = [draw.choices(range(POISON), k=length) for length in (1, 9, 2, 45, 4, 30)]
    sources = [draw.choices(range(POISON), k=length) if has_encoder else [] for length in (3, 17, 1, 5, 5, 40)]
    asked = [greedy(prompt, 12, source) for prompt, source in zip(prompts, sources, strict=True)]
    write(after_encoder() if has_encoder else alone(), [request for request, _ in asked])
    for (_, told), prompt, source in zip(asked, prompts, sources, strict=True):
        assert told.texts is not None, told.error
        assert list(told.texts[0].ids) == continued(prompt, 12, source)


@pytest.mark.parametrize("has_encoder", [False, True], ids=["alone", "after an encoder"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_split_swap_and_take_back_what_was_guessed(has_encoder: bool, seed: int) -> None:
    asked, told = [], []
    for number in range(6):
        draw = random.Random(f"{seed} {number}")
        prompt = draw.choices(range(POISON), k=draw.randint(1, 30))
        source = draw.choices(range(POISON), k=draw.randint(1, 20)) if has_encoder else []
        search = Wandering(prompt, 60, number, max_rows=draw.randint(1, 3), drafts=draw.randint(0, 2), source=source)
        told.append(Told())
        asked.append(Request(search, prompt, 60, told[-1], source))
    write(after_encoder() if has_encoder else alone(), asked)
    assert all(one.texts is not None for one in told), [one.error for one in told]


def test_rows_of_every_length_share_a_run_where_a_mask_can_say_so() -> None:
    graph = FakeGrowing()
    write({"model": graph}, [greedy([5] * length, 3)[0] for length in (7, 3)])
    assert graph.shapes == [(2, 7, 0), (2, 1, 7), (2, 1, 8)]


def test_rows_of_equal_length_share_a_run_where_the_graph_counts_positions_itself() -> None:
    graph = FakeGrowing(reads_positions=False)
    asked = [greedy([5] * length, 3) for length in (7, 3)]
    write({"model": graph}, [request for request, _ in asked])
    assert graph.shapes == [(2, 7, 0), (1, 1, 3), (1, 1, 7), (1, 1, 4), (1, 1, 8)]
    for (_, told), length in zip(asked, (7, 3), strict=True):
        assert told.texts is not None, told.error
        assert list(told.texts[0].ids) == continued([5] * length, 3)


def test_with_an_encoder_rows_share_a_run_that_have_read_equally_much() -> None:
    graphs = after_encoder()
    write(graphs, [greedy([5] * length, 2, [1])[0] for length in (7, 3, 7)])
    later = graphs["decoder_with_past"]
    assert isinstance(later, FakeGrowing)
    assert sorted(later.shapes) == [(1, 1, 3), (2, 1, 7)]


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("has_encoder", [False, True], ids=["alone", "after an encoder"])
def test_whole_texts_are_read_too(has_encoder: bool, chunk: int | None) -> None:
    texts, sources = [[5, 6, 7, 8], [9, 3, 4, 2]], [[4, 4], [7, 1]]
    feed = {"input_ids": np.array(texts), "attention_mask": np.array([[1] * 4, [1, 1, 0, 0]])}
    graphs = alone()
    if has_encoder:
        graphs = after_encoder()
        mask = np.array([[1, 1], [1, 0]])
        feed = {"input_ids": np.array(sources), "attention_mask": mask, "decoder_input_ids": np.array(texts)}
    logits = TeacherForced(in_place(graphs), {}, chunk=chunk).run(feed)["logits"]
    for row, (text, source) in enumerate(zip(texts, ([4, 4], [7]) if has_encoder else ([], []), strict=True)):
        length = 4 if has_encoder or row == 0 else 2
        for place in range(length):
            assert logits[row, place].argmax() == follower(text[: place + 1], source)


def test_graphs_that_write_in_place_are_left_alone() -> None:
    graph = FakeDecoder()
    assert not grows(graph.signature)
    assert in_place({"model": graph}) == {"model": graph}
    plain = GrowingDecoder(FakeGrowing())
    assert in_place({"model": plain}) == {"model": plain}
