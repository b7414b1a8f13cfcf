"""Graphs in optimum's layout, whose cache comes in and goes out longer, as if they wrote it in place.

What such graphs read is copied for each run, and so is what they answer. Where a graph takes positions and a mask, rows
share a run whatever their lengths: what they have read stands at the right edge, and the mask covers the rest. Others
count positions themselves, as those behind an encoder do; there rows that have read equally much share a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ortolan.batch.padding import IntArray
from ortolan.session.base import Array, Bound, Session, Signature, Stop, TensorSpec
from ortolan.teacher_forcing import CROSS, MASK, PAST, PRESENT, is_cached

FIRST, NEXT = "decoder", "decoder_with_past"
"""Graphs of a decoder that looks at an encoder: for its first tokens, and for those that have others before them."""

ENCODED, SAID = "encoder_hidden_states", f"{CROSS}hidden"
"""What an encoder says, as an input of its decoder and as what is kept of a text."""


def in_place(graphs: Mapping[str, Session]) -> dict[str, Session]:
    """Give graphs that write a cache in place: those that do, and what stands in for those whose cache grows.

    Args:
        graphs: By role, as a manifest has them.

    Returns:
        "model", or "encoder" and "decoder".
    """
    if NEXT in graphs:
        decoder = GrowingDecoder(graphs[NEXT], graphs[FIRST])
        return {"encoder": _Encoder(graphs["encoder"], graphs[FIRST], decoder.cross), "decoder": decoder}
    if "model" in graphs and grows(graphs["model"].signature):
        return {"model": GrowingDecoder(graphs["model"])}
    return dict(graphs)


def grows(signature: Signature) -> bool:
    """Say whether a graph takes a cache and gives a longer one back."""
    return is_cached(signature) and not writes_in_place(signature)


def writes_in_place(signature: Signature) -> bool:
    """Say whether a graph writes into the cache that it is handed, which then has to be where it runs."""
    return any(spec.name == "seqlens_k" for spec in signature.inputs)


class GrowingDecoder:
    """Stands in for a decoder that writes in place; see `Session` and `Binds`.

    Attributes:
        cross: What is kept of a text that an encoder has read: what it said, and keys and values of every layer.
    """

    def __init__(self, graph: Session, first: Session | None = None) -> None:
        """Take a decoder in.

        Args:
            graph: Reads tokens behind others.
            first: Reads the first tokens of a text, where that takes another graph, as with an encoder.
        """
        self._graph = graph
        self._first = first
        names = {spec.name for spec in graph.signature.inputs}
        self._is_told_lengths = {"attention_mask", "position_ids"} <= names
        past = [spec for spec in graph.signature.inputs if spec.name.startswith(PAST)]
        self._own = [spec for spec in past if ".encoder." not in spec.name]
        self.cross = tuple(
            TensorSpec(
                spec.name.replace(PAST, CROSS), spec.dtype, ("requests", spec.shape[1], "encoded", spec.shape[3])
            )
            for spec in past
            if ".encoder." in spec.name
        )
        if first is not None:
            [said] = [spec for spec in first.signature.inputs if spec.name == ENCODED]
            self.cross = (TensorSpec(SAID, said.dtype, ("requests", 1, "encoded", said.shape[2])), *self.cross)

    @property
    def provider(self) -> str:
        """Short name of the provider that really runs the graph."""
        return self._graph.provider

    @property
    def signature(self) -> Signature:
        """That of a decoder that writes in place."""
        [logits] = [spec for spec in self._graph.signature.outputs if spec.name == "logits"]
        mask = (TensorSpec(MASK, "int64", ("requests", "encoded")),) if self.cross else ()
        kept = [(spec, ("batch", spec.shape[1], "max_length", spec.shape[3])) for spec in self._own]
        return Signature(
            (
                TensorSpec("input_ids", "int64", ("batch", "sequence")),
                TensorSpec("seqlens_k", "int32", ("batch",)),
                TensorSpec("total_sequence_length", "int32", ()),
                TensorSpec("last_index", "int64", ("batch", "places")),
                *mask,
                *(TensorSpec(spec.name, spec.dtype, axes) for spec, axes in kept),
                *self.cross,
            ),
            (
                TensorSpec("logits", "float32", ("batch", "places", logits.shape[-1])),
                *(TensorSpec(spec.name.replace(PAST, PRESENT), spec.dtype, axes) for spec, axes in kept),
            ),
        )

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Read tokens; see `Session.run`. The cache is written in place."""
        ends, width = feed["seqlens_k"].astype(np.int64) + 1, feed["input_ids"].shape[1]
        # of a first prompt, rows may be shorter than the longest one
        begins = np.zeros_like(ends) if width == feed["total_sequence_length"] else ends - width
        logits = np.empty((*feed["last_index"].shape, int(self.signature.outputs[0].shape[2])), np.float32)
        shared = begins.max() if self._is_told_lengths else begins
        for past in np.unique(shared):
            rows = np.flatnonzero(np.broadcast_to(shared == past, begins.shape))
            found = self._read(feed, rows, begins[rows], ends[rows], int(past), stop)
            logits[rows] = np.take_along_axis(found, feed["last_index"][rows][:, :, None], axis=1)
        return {"logits": logits, **{spec.name.replace(PAST, PRESENT): feed[spec.name] for spec in self._own}}

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Bound:
        """Tie inputs and outputs to arrays; see `Binds.bind`."""
        return Standing(self, dict(inputs), outputs["logits"])

    def _read(
        self, feed: Mapping[str, Array], rows: IntArray, begins: IntArray, ends: IntArray, past: int, stop: Stop | None
    ) -> Array:
        """Let some rows read, the longest of which has read `past` tokens: logits of all places, and the cache."""
        ids = _some(feed["input_ids"], rows)
        places = begins[:, None] + np.arange(ids.shape[1])
        # what a row has read ends where the new tokens begin
        from_right = np.arange(-past, ids.shape[1])
        is_real = (from_right >= -begins[:, None]) & (from_right < (ends - begins)[:, None])
        given: dict[str, Array] = {"input_ids": ids, "position_ids": places, "attention_mask": is_real.astype(np.int64)}
        graph = self._graph
        if self._first is not None:
            given = {"input_ids": ids, **self._said(feed, rows)}
            graph = graph if past else self._first
        given |= {spec.name: _at_right_edge(feed[spec.name], rows, begins, past) for spec in self._own}
        wanted = {spec.name for spec in graph.signature.inputs}
        outputs = graph.run({name: array for name, array in given.items() if name in wanted}, stop)
        for spec in self._own:
            new = outputs[spec.name.replace(PAST, PRESENT)][:, :, past:]
            feed[spec.name][rows[:, None], :, places] = new.transpose(0, 2, 1, 3)
        return outputs["logits"]

    def _said(self, feed: Mapping[str, Array], rows: IntArray) -> dict[str, Array]:
        """What an encoder said to the texts of some rows; the beams of a text follow each other."""
        texts = rows // (len(feed["input_ids"]) // len(feed[MASK]))
        kept = {spec.name.replace(CROSS, PAST): _some(feed[spec.name], texts) for spec in self.cross[1:]}
        return {MASK: _some(feed[MASK], texts), ENCODED: _some(feed[SAID], texts)[:, 0], **kept}


class Standing:
    """Runs of a stand-in over arrays that stay where they are; see `Bound`."""

    def __init__(self, session: _Runs, inputs: dict[str, Array], logits: Array) -> None:
        self._session = session
        self._inputs = inputs
        self._logits = logits

    def run(self, stop: Stop | None = None) -> None:
        """Run once; see `Bound.run`."""
        self._logits[...] = self._session.run(self._inputs, stop)["logits"]

    def put(self, name: str, array: Array) -> None:
        """Let an input be read from another array; see `Bound.put`."""
        self._inputs[name] = array


class _Runs(Protocol):
    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]: ...


class _Encoder:
    """Stands in for an encoder that answers with keys and values: its decoder is asked for them, with a token."""

    def __init__(self, graph: Session, first: Session, cross: tuple[TensorSpec, ...]) -> None:
        self._graph = graph
        self._first = first
        self._cross = cross

    @property
    def provider(self) -> str:
        return self._graph.provider

    @property
    def signature(self) -> Signature:
        return Signature(self._graph.signature.inputs, self._cross)

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        said = self._graph.run(feed, stop)["last_hidden_state"]
        token = np.zeros((len(said), 1), np.int64)
        found = self._first.run({"input_ids": token, MASK: feed["attention_mask"], ENCODED: said}, stop)
        return {SAID: said[:, None], **{one.name: found[one.name.replace(CROSS, PRESENT)] for one in self._cross[1:]}}


def _some(array: Array, places: IntArray) -> Array:
    """Take some rows; nothing is copied where they are all."""
    return array if np.array_equal(places, np.arange(len(array))) else array[places]


def _at_right_edge(cache: Array, rows: IntArray, lengths: IntArray, past: int) -> Array:
    """Copy the first tokens of rows, [rows, heads, past, size], with zeros before those of shorter rows."""
    made = np.zeros((len(rows), cache.shape[1], past, cache.shape[3]), cache.dtype)
    for one, row, length in zip(made, rows, lengths, strict=True):
        one[:, past - length :] = cache[row, :, :length]
    return made
