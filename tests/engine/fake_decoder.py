"""Graphs that write by arithmetic on what stands in their cache, and a search that knows what they must answer.

Whatever is mixed up on the way, a row, a place, a text of the encoder, changes the next token.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ortolan.errors import NonFiniteError, OrtolanError, SessionError
from ortolan.generation.decoder import Decoder
from ortolan.generation.search import Step, Written
from ortolan.generation.seats import Request
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array, Bound, Session, Signature, Stop, TensorSpec

VOCABULARY = 97
MAX_LENGTH = 200
POISON = VOCABULARY - 1
"""The logits behind this token are NaN. No other token is followed by it."""

IDS = TensorSpec("input_ids", "int64", ("batch", "sequence"))
MASK = TensorSpec("attention_mask", "int64", ("batch", "encoded"))
READS = (
    IDS,
    TensorSpec("position_ids", "int64", ("batch", "sequence")),
    TensorSpec("seqlens_k", "int32", ("batch",)),
    TensorSpec("total_sequence_length", "int32", ()),
    TensorSpec("last_index", "int64", ("batch", "places")),
)
PAST = tuple(TensorSpec(f"past_key_values.{part}", "float32", ("batch", 1, "max_length", 2)) for part in ("0.key",))
PRESENT = tuple(TensorSpec(f"present.{part}", "float32", ("batch", 1, "max_length", 2)) for part in ("0.key",))
CROSS = TensorSpec("cross.0.key", "float32", ("requests", 1, "encoded", 1))
ENCODED = TensorSpec("encoder_attention_mask", "int64", ("requests", "encoded"))
LOGITS = TensorSpec("logits", "float32", ("batch", "places", VOCABULARY))


def follower(ids: Sequence[int], source: Sequence[int] = ()) -> int:
    """The token that the graphs want behind others."""
    mixed = sum((place + 1) * token for place, token in enumerate(ids)) * 7 + sum(source) * 3 + len(ids)
    return mixed % POISON


def continued(prompt: Sequence[int], count: int, source: Sequence[int] = ()) -> list[int]:
    """What is written behind a prompt where the best token is always taken."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(follower(ids, source))
    return ids[len(prompt) :]


class FakeDecoder:
    """A decoder graph that keeps tokens and places in its cache, and answers `follower` of what it finds there."""

    provider = "fake"

    def __init__(self, *, has_encoder: bool = False) -> None:
        self.signature = Signature((*READS, *PAST, *((CROSS, ENCODED) if has_encoder else ())), (LOGITS, *PRESENT))
        self.shapes: list[tuple[int, int]] = []
        self.num_bound = 0
        self.stops: list[Stop | None] = []
        self.fails = 0  # so many of the next runs do

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        raise NotImplementedError

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Bound:
        self.num_bound += 1
        assert {spec.name for spec in self.signature.inputs} == set(inputs)
        assert {spec.name for spec in self.signature.outputs} == set(outputs)
        assert all(inputs[spec.name].dtype == spec.dtype for spec in self.signature.inputs)
        assert all(array.flags.c_contiguous for array in (*inputs.values(), *outputs.values()))
        return _Tied(self, dict(inputs), outputs)


@dataclass(slots=True)
class _Tied:
    graph: FakeDecoder
    inputs: dict[str, Array]
    outputs: Mapping[str, Array]

    def put(self, name: str, array: Array) -> None:
        self.inputs[name] = array

    def run(self, stop: Stop | None = None) -> None:
        if self.graph.fails:
            self.graph.fails -= 1
            raise SessionError("a run requested", "it failed", "try again")
        ids, cache = self.inputs["input_ids"], self.inputs["past_key_values.0.key"]
        batch, width = ids.shape
        self.graph.shapes.append((batch, width))
        self.graph.stops.append(stop)
        ends, total = self.inputs["seqlens_k"] + 1, int(self.inputs["total_sequence_length"])
        assert total == ends.max()
        assert total <= min(cache.shape[2], MAX_LENGTH), "no room, or no positions"
        is_first = width == total
        assert is_first or width == 1 or batch == 1, "the operator refuses that"
        for row in range(batch):
            past = 0 if is_first else int(ends[row]) - width
            assert past >= 0
            places = past + np.arange(width)
            assert self.inputs["position_ids"][row].tolist() == places.tolist()
            count = int(ends[row]) if is_first else width  # padding behind it is left out
            cache[row, 0, past : past + count, 0] = ids[row, :count]
            cache[row, 0, past : past + count, 1] = places[:count]
            for place, last in enumerate(self.inputs["last_index"][row]):
                self.outputs["logits"][row, place] = self._logits(row, past + int(last) + 1)

    def _logits(self, row: int, length: int) -> FloatArray:
        tokens, places = self.inputs["past_key_values.0.key"][row, 0, :length].T
        assert places.tolist() == list(range(length)), "a token was moved to another place"
        if tokens[-1] == POISON:
            return np.full(VOCABULARY, np.nan, np.float32)
        logits = np.zeros(VOCABULARY, np.float32)
        logits[follower([int(one) for one in tokens], self._source(row))] = 1
        return logits

    def _source(self, row: int) -> list[int]:
        if "cross.0.key" not in self.inputs:
            return []
        mask = self.inputs["encoder_attention_mask"]
        request = row * len(mask) // len(self.inputs["input_ids"])
        return [int(one) for one in self.inputs["cross.0.key"][request, 0, mask[request] == 1, 0]]


class FakeEncoder:
    """An encoder graph that says what it reads."""

    provider = "fake"

    def __init__(self) -> None:
        self.signature = Signature((IDS, MASK), (CROSS,))
        self.shapes: list[tuple[int, ...]] = []
        self.fails = 0

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        if self.fails:
            self.fails -= 1
            raise SessionError("a run requested", "it failed", "try again")
        self.shapes.append(feed["input_ids"].shape)
        padding = np.where(feed["attention_mask"] == 1, 0, 1000)
        return {"cross.0.key": (feed["input_ids"] + padding).astype(np.float32)[:, None, :, None]}


def fake_decoder(*, has_encoder: bool = False, cache_bytes: int | None = None) -> tuple[Decoder, FakeDecoder]:
    """A decoder on fake graphs, and the graph."""
    graph = FakeDecoder(has_encoder=has_encoder)
    graphs: dict[str, Session] = {"encoder": FakeEncoder(), "decoder": graph} if has_encoder else {"model": graph}
    return Decoder(graphs, {}, max_length=MAX_LENGTH, cache_bytes=cache_bytes), graph


@dataclass(slots=True, eq=False)
class Told:
    """Remembers what a request was told."""

    ids: list[list[int]] = field(default_factory=list)
    texts: list[Written] | None = None
    error: OrtolanError | None = None

    @property
    def is_over(self) -> bool:
        return self.texts is not None or self.error is not None

    def wrote(self, ids: Sequence[int]) -> None:
        assert not self.is_over
        self.ids.append(list(ids))

    def done(self, texts: Sequence[Written]) -> None:
        assert not self.is_over
        self.texts = list(texts)

    def failed(self, error: OrtolanError) -> None:
        assert not self.is_over
        self.error = error


class Greedy:
    """The plainest search: the best token, until there are enough."""

    max_rows = 1

    def __init__(self, prompt: Sequence[int], count: int) -> None:
        self.ids: list[int] = []
        self._count = count

    def advance(self, logits: FloatArray) -> Step:
        assert logits.shape == (1, 1, VOCABULARY)
        if not np.isfinite(logits).all():
            raise NonFiniteError("a text requested", "the graph answered NaN", "look into it")
        self.ids.append(int(logits[0, 0].argmax()))
        return Step(((self.ids[-1],),), (0,), 1) if len(self.ids) < self._count else Step((), (), 1)

    @property
    def written(self) -> Sequence[Written]:
        return [Written(tuple(self.ids), "length")]


class Wandering:
    """A search that goes any way: rows split, swap and end at random, and guesses are wrong at random.

    It knows what is in each of its rows, and checks every answer.
    """

    def __init__(
        self, prompt: Sequence[int], longest: int, seed: int, *, max_rows: int, drafts: int, source: Sequence[int] = ()
    ) -> None:
        self.max_rows = max_rows
        self.ids: list[int] = []
        self._random = random.Random(seed)
        self._longest = longest
        self._drafts = drafts
        self._source = source
        self._texts = [list(prompt)]
        self._fed = 1

    def advance(self, logits: FloatArray) -> Step:
        rows, places, size = logits.shape
        assert (rows, size) == (len(self._texts), VOCABULARY)
        assert 1 <= places <= self._fed
        for text, row in zip(self._texts, logits, strict=True):
            for place, scores in enumerate(row):
                read = text[: len(text) - self._fed + place + 1]
                assert int(scores.argmax()) == follower(read, self._source)
        kept = self._random.randint(1, places)
        texts = [text[: len(text) - self._fed + kept] for text in self._texts]
        room = self._longest - 1 - len(texts[0])
        if room < 1 or self._random.random() < 0.05:
            return Step((), (), kept)
        count = self._random.randint(1, self.max_rows)
        parents = tuple(self._random.randrange(len(texts)) for _ in range(count))
        if self._random.random() < 0.5 and len(texts) == count:
            parents = tuple(range(count))
        self._fed = self._random.randint(1, min(room, 1 + self._drafts))
        tokens = tuple(tuple(self._random.choices(range(POISON), k=self._fed)) for _ in parents)
        self._texts = [[*texts[parent], *one] for parent, one in zip(parents, tokens, strict=True)]
        return Step(tokens, parents, kept)

    @property
    def written(self) -> Sequence[Written]:
        return [Written(tuple(self._texts[0]), "length")]


def greedy(prompt: Sequence[int], count: int, source: Sequence[int] = ()) -> tuple[Request, Told]:
    """A request for the best tokens."""
    told = Told()
    return Request(Greedy(prompt, count), prompt, len(prompt) + count, told, source), told
