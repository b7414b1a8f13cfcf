"""Graphs without a cache, as if they had one: all that is kept of a token is its id, and each run reads the whole text.

Slow, and the way to write for models that no operator has a cache for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ortolan.batch.padding import IntArray
from ortolan.growing import Standing
from ortolan.model import DECODER_IDS, Model
from ortolan.session.base import Array, Bound, Session, Signature, Stop, TensorSpec
from ortolan.teacher_forcing import CROSS, MASK, PAST, PRESENT, is_cached

KEPT, SAID = f"{PAST}0.key", f"{CROSS}0.key"
"""The ids of a text, and those that its encoder has read: float32, which is exact for all ids below 16,777,216."""


def writing_graphs(model: Model) -> Mapping[str, Session]:
    """Give the graphs of a model that work on a cache, or what stands in for them."""
    if any(is_cached(session.signature) for session in model.graphs.values()):
        return model.graphs
    if any(spec.name == DECODER_IDS for spec in model.signature.inputs):
        return {"encoder": _Reader(model), "decoder": Rereader(model, has_encoder=True)}
    return {"model": Rereader(model)}


class _Stand:
    """What both have in common."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def provider(self) -> str:
        """Short name of the provider that really runs the graph."""
        return self._model.provider


class _Reader(_Stand):
    """Stands in for an encoder: it remembers what it was given."""

    @property
    def signature(self) -> Signature:
        """Ids in, ids out."""
        inputs = tuple(TensorSpec(name, "int64", ("batch", "encoded")) for name in ("input_ids", "attention_mask"))
        return Signature(inputs, (TensorSpec(SAID, "float32", ("batch", 1, "encoded", 1)),))

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Give the ids back; see `Session.run`."""
        return {SAID: feed["input_ids"][:, None, :, None].astype(np.float32)}


class Rereader(_Stand):
    """Stands in for a decoder over a cache; see `Session` and `Binds`."""

    def __init__(self, model: Model, *, has_encoder: bool = False) -> None:
        """Take a model in.

        Args:
            model: Gives `logits`, float32 [B, S, V], for whole texts.
            has_encoder: Whether they are written to other texts.
        """
        super().__init__(model)
        self._has_encoder = has_encoder

    @property
    def signature(self) -> Signature:
        """What a decoder over a cache has, with one layer of one head of one number."""
        cross = (
            TensorSpec(MASK, "int64", ("requests", "encoded")),
            TensorSpec(SAID, "float32", ("requests", 1, "encoded", 1)),
        )
        kept = ("batch", 1, "max_length", 1)
        [logits] = [spec for spec in self._model.signature.outputs if spec.name == "logits"]
        size = logits.shape[-1]
        vocabulary = size if isinstance(size, int) else int(self._model.artifact.config["vocab_size"])
        return Signature(
            (
                TensorSpec("input_ids", "int64", ("batch", "sequence")),
                TensorSpec("seqlens_k", "int32", ("batch",)),
                TensorSpec("total_sequence_length", "int32", ()),
                TensorSpec("last_index", "int64", ("batch", "places")),
                *(cross if self._has_encoder else ()),
                TensorSpec(KEPT, "float32", kept),
            ),
            (
                TensorSpec("logits", "float32", ("batch", "places", vocabulary)),
                TensorSpec(f"{PRESENT}0.key", "float32", kept),
            ),
        )

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        """Read whole texts anew; see `Session.run`. The cache is written in place."""
        ids, ends = feed["input_ids"], feed["seqlens_k"].astype(np.int64) + 1
        kept, total = feed[KEPT], int(feed["total_sequence_length"])
        width = ids.shape[1]
        # of a first prompt, rows may be shorter than the longest one
        begins = np.zeros_like(ends) if width == total else ends - width
        rows = np.arange(len(ids))[:, None]
        kept[rows, 0, begins[:, None] + np.arange(width), 0] = ids
        asked = self._asked(feed, kept[:, 0, :total, 0].astype(np.int64), ends)
        logits = self._model.run(asked, stop)["logits"]
        return {"logits": logits[rows, begins[:, None] + feed["last_index"]], f"{PRESENT}0.key": kept}

    def bind(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Bound:
        """Tie inputs and outputs to arrays; see `Binds.bind`."""
        return Standing(self, dict(inputs), outputs["logits"])

    def _asked(self, feed: Mapping[str, Array], texts: IntArray, ends: IntArray) -> dict[str, Array]:
        if not self._has_encoder:
            return {"input_ids": texts, "attention_mask": (np.arange(texts.shape[1]) < ends[:, None]).astype(np.int64)}
        said, mask = feed[SAID][:, 0, :, 0].astype(np.int64), feed[MASK]
        beams = len(texts) // len(said)
        return {
            "input_ids": np.repeat(said, beams, axis=0),
            "attention_mask": np.repeat(mask, beams, axis=0),
            DECODER_IDS: texts,
        }
