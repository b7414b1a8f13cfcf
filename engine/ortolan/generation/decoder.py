"""Runs of a decoder over its cache: prompts, parts of prompts, and single tokens of many texts at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ortolan.batch.padding import pad
from ortolan.errors import SessionError, SignatureError
from ortolan.generation.cache import SlotCache
from ortolan.generation.cross import CrossCache
from ortolan.generation.layout import read_layout
from ortolan.positions import buckets_of, relative_buckets
from ortolan.postprocess.activations import FloatArray
from ortolan.session.base import Array, Binds, Bound, Session, Stop
from ortolan.session.memory import usable_bytes
from ortolan.teacher_forcing import CROSS, MASK, PAST, PRESENT

SHARE = 4
"""Where nobody says what a cache may take, it is the fourth part of the memory that the process may use."""

KEPT_RUNS = 4
"""Shapes of runs that stay tied to the graph: those of the last steps."""

KEPT_WIDTH = 64
"""Runs of more tokens of a text are prompts, which come in every shape."""

Places = Literal["none", "last", "every"]
"""Which tokens logits are wanted for: those of no use are not computed."""

READ = {"input_ids", "position_ids", "relative_buckets", "seqlens_k", "total_sequence_length", "last_index", MASK}
"""Inputs of a decoder beside its cache."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the arrays of a run are made by.

    Attributes:
        start: First row.
        count: How many rows.
        width: Tokens of each.
        places: Of how many of them logits are wanted.
        requests: First and last text of the encoder, the last one not included.
    """

    start: int
    count: int
    width: int
    places: int
    requests: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Run:
    """A graph tied to arrays."""

    bound: Bound
    inputs: Mapping[str, Array]
    logits: FloatArray


class Decoder:
    """The graphs of a model that writes, with the cache that they work on. For one thread.

    Attributes:
        layout: What is kept of a token.
        cache_bytes: What the cache may take, cross-attention included.
        cache: Keys and values of the texts in the making.
        cross: Those of what the encoder has read.
        max_length: Tokens that a text can have in the cache.
        vocabulary: Tokens that there are logits for, V.
    """

    def __init__(
        self,
        graphs: Mapping[str, Session],
        config: Mapping[str, Any],
        *,
        max_length: int,
        cache_bytes: int | None = None,
    ) -> None:
        """Read what the graphs want.

        Args:
            graphs: "model", or "encoder" and "decoder".
            config: config.json of the model.
            max_length: Tokens that the model has positions for.
            cache_bytes: What the cache may take; None for a share of what the process may use.

        Raises:
            SignatureError: Graphs that are not of this kind.
            SessionError: The session of the decoder cannot work in place.
        """
        self._graph = _decoder_of(graphs)
        self._binds = _binding(self._graph)
        self._encoder = graphs.get("encoder")
        self.layout = read_layout(self._graph.signature)
        self.cache_bytes = usable_bytes() // SHARE if cache_bytes is None else cache_bytes
        self.cache = SlotCache(self.layout)
        self.cross = CrossCache(self.layout)
        self.max_length = max_length
        self.vocabulary = vocabulary_of(graphs)
        self._names = {spec.name for spec in self._graph.signature.inputs}
        self._check_inputs()
        self._buckets = buckets_of(config).by_distance()
        self._runs: dict[_Shape, _Run] = {}  # the one used last at the end
        self._version = (0, 0)

    @property
    def has_encoder(self) -> bool:
        """Whether texts are written to what an encoder has read."""
        return self._encoder is not None

    def reserve(self, rows: int, length: int, requests: int = 0, encoded: int = 0) -> None:
        """See that there is room in the cache, and not much more of it than needed; see `Layout.num_bytes`.

        Raises:
            ConfigError: That takes more than `cache_bytes`.
        """
        self.cache.reserve(rows, length, self.cache_bytes - self.layout.num_bytes(0, 0, requests, encoded))
        self.cross.reserve(requests, encoded, self.cache_bytes - self.cache.num_bytes)

    def encode(self, sources: Sequence[Sequence[int]], stop: Stop | None = None) -> None:
        """Let the encoder read texts together, and keep what it says behind what it said of others.

        Args:
            sources: Token ids of each.
            stop: Ends the run early when it is set.

        Raises:
            SessionError: ONNX Runtime failed.
        """
        assert self._encoder is not None, "whoever has sources has an encoder"
        feed = {"input_ids": pad(sources, 0), "attention_mask": pad([[1] * len(one) for one in sources], 0)}
        self.cross.add(self._encoder.run(feed, stop), [len(one) for one in sources])

    def run(
        self,
        start: int,
        tokens: Sequence[Sequence[int]],
        *,
        requests: tuple[int, int] = (0, 0),
        places: Places = "last",
        stop: Stop | None = None,
    ) -> FloatArray:
        """Let some rows read tokens, behind those that they have read; the cache takes them in.

        GroupQueryAttention on the CPU takes three forms: whole prompts of any length, one token of each row, and
        several tokens of a lone row.

        Args:
            start: The first row.
            tokens: For each row from there on what it reads, one token at least. Of several rows each reads one, unless
                none of them has read any before.
            requests: First and last text that the encoder has read for them, the last one not included; each has
                equally many rows.
            places: Whether logits are wanted for every token, for the last of each row, or for none.
            stop: Ends the run early when it is set.

        Returns:
            float32 [rows, places, V]: one place, or none, or as many as the longest row has tokens, of which those
            behind the tokens of a row mean nothing. Valid until the next run.

        Raises:
            SessionError: ONNX Runtime failed. The rows are what they were.
        """
        counts = np.array([len(one) for one in tokens])
        width = int(counts.max())
        past = self.cache.lengths[start : start + len(tokens)].copy()
        assert len(tokens) == 1 or width == 1 or not past.any(), "the operator would refuse this"
        ends = past + counts
        num_places = {"none": 0, "last": 1, "every": width}[places]
        run = self._run_of(_Shape(start, len(tokens), width, num_places, requests))
        inputs = run.inputs
        inputs["input_ids"][...] = pad(tokens, 0)
        inputs["seqlens_k"][...] = ends - 1
        inputs["total_sequence_length"][...] = ends.max()
        last = counts[:, None] - 1
        inputs["last_index"][...] = np.minimum(np.arange(num_places), last) if places == "every" else last
        positions = past[:, None] + np.arange(width)
        if "position_ids" in inputs:
            inputs["position_ids"][...] = positions
        if "relative_buckets" in self._names:
            run.bound.put("relative_buckets", relative_buckets(self._buckets, positions, int(ends.max())))
        run.bound.run(stop)
        self.cache.wrote(start, past, width, counts)
        return run.logits

    def _run_of(self, shape: _Shape) -> _Run:
        """Tie the graph to the arrays of a shape, unless it is."""
        version = (self.cache.version, self.cross.version)
        if version != self._version:
            self._runs.clear()
            self._version = version
        run = self._runs.pop(shape, None) or self._tied(shape)
        if shape.width <= KEPT_WIDTH:
            self._runs[shape] = run
            if len(self._runs) > KEPT_RUNS:
                del self._runs[next(iter(self._runs))]
        return run

    def _tied(self, shape: _Shape) -> _Run:
        rows = (shape.count, shape.width)
        inputs: dict[str, Array] = {
            "input_ids": np.zeros(rows, np.int64),
            "position_ids": np.zeros(rows, np.int64),
            "relative_buckets": np.zeros((*rows, shape.width), np.int64),
            "seqlens_k": np.zeros(shape.count, np.int32),
            "total_sequence_length": np.zeros((), np.int32),
            "last_index": np.zeros((shape.count, shape.places), np.int64),
            **self.cross.views(*shape.requests),
        }
        inputs = {name: array for name, array in inputs.items() if name in self._names}
        cached = self.cache.views(shape.start, shape.start + shape.count)
        logits = np.empty((shape.count, shape.places, self.vocabulary), np.float32)
        bound = self._binds.bind(
            {**inputs, **{PAST + name: array for name, array in cached.items()}},
            {"logits": logits, **{PRESENT + name: array for name, array in cached.items()}},
        )
        return _Run(bound, inputs, logits)

    def _check_inputs(self) -> None:
        unknown = sorted(name for name in self._names if name not in READ and not name.startswith((PAST, CROSS)))
        missing = sorted(READ - {"position_ids", "relative_buckets", MASK} - self._names)
        if unknown or missing or (MASK in self._names) != (self._encoder is not None):
            raise SignatureError(
                "a graph that writes requested",
                f"its inputs are {', '.join(sorted(name for name in self._names if '.' not in name))}",
                "export the checkpoint again",
            )


def vocabulary_of(graphs: Mapping[str, Session]) -> int:
    """Tell how many tokens a model that writes has logits for.

    Args:
        graphs: "model", or "encoder" and "decoder".

    Raises:
        SignatureError: It has no logits, or no fixed number of them.
    """
    for spec in _decoder_of(graphs).signature.outputs:
        if spec.name == "logits" and isinstance(spec.shape[-1], int):
            return spec.shape[-1]
    raise SignatureError(
        "a graph that writes requested", "this one has no logits of a known width", "export the checkpoint again"
    )


def _decoder_of(graphs: Mapping[str, Session]) -> Session:
    return graphs["decoder"] if "decoder" in graphs else graphs["model"]


def _binding(graph: Session) -> Binds:
    if not isinstance(graph, Binds):
        raise SessionError(
            "a decoder that works in place requested",
            f"a session on '{graph.provider}' cannot do that",
            "load the model with provider 'cpu'",
        )
    return graph
