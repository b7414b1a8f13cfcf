"""What a decoder is asked where nobody says: the text itself, one place later, as in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ortolan.batch.padding import IntArray
from ortolan.positions import buckets_of, relative_buckets
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array, Session, Signature, Stop, TensorSpec

PAST, PRESENT = "past_key_values.", "present."
"""What the names of a cache begin with: as it comes into a graph, and as it leaves it."""

CROSS = "cross."
"""What the names of a decoder's inputs begin with that say what the encoder said."""

MASK = "encoder_attention_mask"
"""Input of a decoder: 1 for tokens, 0 for padding, int64 [requests, encoded]."""


def decoder_start_id(config: Mapping[str, Any], generation: Mapping[str, Any]) -> int:
    """Find the token that a decoder begins with.

    Args:
        config: config.json of the model.
        generation: Its generation_config.json.

    Returns:
        The one that the settings name as such, else the one that begins a text, else the padding.
    """
    for key in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        for settings in (generation, config):
            if isinstance(found := settings.get(key), int):
                return found
    return 0


def shift_right(ids: IntArray, start_id: int) -> IntArray:
    """Put a start token before each row, and leave out its last token.

    Args:
        ids: int64 [B, S].
        start_id: The token.

    Returns:
        int64 [B, S].
    """
    return np.concatenate([np.full_like(ids[:, :1], start_id), ids[:, :-1]], axis=1)


class TeacherForced:
    """A `Session` that reads whole texts, over the graphs of a decoder that works on a cache.

    It answers what a graph without a cache would: the logits at every place. The cache lives as long as one run.
    """

    def __init__(self, graphs: Mapping[str, Session], config: Mapping[str, Any], *, chunk: int | None = None) -> None:
        """Put the graphs together.

        Args:
            graphs: "model", or "encoder" and "decoder".
            config: config.json of the model.
            chunk: Tokens that are read at a time, of one text alone; by default all of a batch at once.
        """
        self._decoder = graphs["model"] if "model" in graphs else graphs["decoder"]
        self._encoder = graphs.get("encoder")
        self._buckets = buckets_of(config).by_distance()
        self._chunk = chunk
        self._reads = {spec.name for spec in self._decoder.signature.inputs}
        self._past = [spec for spec in self._decoder.signature.inputs if spec.name.startswith(PAST)]

    @property
    def signature(self) -> Signature:
        """Texts in, and what was written to them where there is an encoder; logits out."""
        names = ("input_ids", "attention_mask")
        inputs = tuple(TensorSpec(name, "int64", ("batch", "sequence")) for name in names)
        length = "sequence"
        if self._encoder is not None:
            length = "decoder_sequence"
            inputs = (*inputs, TensorSpec("decoder_input_ids", "int64", ("batch", length)))
        [logits] = [spec for spec in self._decoder.signature.outputs if spec.name == "logits"]
        return Signature(inputs, (TensorSpec("logits", "float32", ("batch", length, logits.shape[-1])),))

    @property
    def provider(self) -> str:
        """Short name of the provider that really runs the decoder."""
        return self._decoder.provider

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Run the graphs; see `Session.run`. What stands at padding is zero."""
        ids, mask = feed["input_ids"], feed["attention_mask"]
        if self._encoder is not None:
            written = feed["decoder_input_ids"]
            said = self._encoder.run({"input_ids": ids, "attention_mask": mask}, stop)
            rest = {name: array for name, array in said.items() if name in self._reads}
            rest[MASK] = mask
            return {"logits": self._read(written, np.full(len(written), written.shape[1]), rest, stop)}
        # the graph counts places from the first column on, so padding on the left goes to the right
        order = np.argsort(mask == 0, axis=1, kind="stable")
        logits = self._read(np.take_along_axis(ids, order, axis=1), mask.sum(axis=1), {}, stop)
        return {"logits": np.take_along_axis(logits, np.argsort(order, axis=1)[..., None], axis=1)}

    def _read(self, ids: IntArray, lengths: IntArray, rest: Mapping[str, Array], stop: Stop | None) -> FloatArray:
        """Logits at every place of rows that are padded on the right, float32 [B, S, V]."""
        lengths = np.maximum(lengths, 1)
        # chunks of rows that differ in length do not end together
        groups = np.split(np.arange(len(ids)), 1 if self._chunk is None else len(ids))
        found: FloatArray | None = None
        for rows in groups:
            longest = int(lengths[rows].max())
            said = {name: array[rows] for name, array in rest.items()}
            logits = self._read_rows(ids[rows, :longest], lengths[rows], said, stop)
            if found is None:
                found = np.zeros((*ids.shape, logits.shape[-1]), np.float32)
            found[rows, :longest] = logits
        assert found is not None, "a batch has rows"
        found[np.arange(ids.shape[1]) >= lengths[:, None]] = 0
        return found

    def _read_rows(self, ids: IntArray, lengths: IntArray, rest: Mapping[str, Array], stop: Stop | None) -> FloatArray:
        batch, longest = ids.shape
        size = longest if self._chunk is None else min(self._chunk, longest)
        # what does not fill a chunk goes first: after a first one the graph takes full rows alone
        ends = range(longest % size or size, longest + 1, size)
        cache = {spec.name: np.zeros(_sizes(spec, batch, longest), spec.dtype) for spec in self._past}
        found, start = [], 0
        for end in ends:
            places = np.broadcast_to(np.arange(start, end), (batch, end - start))
            last = lengths - 1 if start == 0 and end == longest else np.full(batch, end - 1)
            given: dict[str, Array] = {
                "input_ids": ids[:, start:end],
                "position_ids": places,
                "seqlens_k": last.astype(np.int32),
                "total_sequence_length": np.array(end, np.int32),
                "last_index": places - start,
            }
            if "relative_buckets" in self._reads:
                given["relative_buckets"] = relative_buckets(self._buckets, places, end)
            fed = {name: np.ascontiguousarray(one) for name, one in given.items() if name in self._reads}
            outputs = self._decoder.run({**fed, **cache, **rest}, stop)
            cache = {spec.name: outputs[spec.name.replace(PAST, PRESENT)] for spec in self._past}
            found.append(outputs["logits"])
            start = end
        return np.concatenate(found, axis=1).astype(np.float32)


def whole_texts(graphs: Mapping[str, Session], config: Mapping[str, Any], *, chunk: int | None = None) -> Session:
    """Give the session that reads whole texts: a lone graph without a cache itself, else `TeacherForced`."""
    if "model" in graphs and not is_cached(graphs["model"].signature):
        return graphs["model"]
    return TeacherForced(graphs, config, chunk=chunk)


def is_cached(signature: Signature) -> bool:
    """Say whether a graph works on a cache that is handed in."""
    return any(spec.name.startswith(PAST) for spec in signature.inputs)


def _sizes(spec: TensorSpec, batch: int, length: int) -> tuple[int, ...]:
    _, heads, _, size = spec.shape
    return batch, int(heads), length, int(size)
