"""A decoder as a graph over a cache that it writes in place: prompts, chunks of prompts and single tokens alike.

The cache belongs to whoever runs the graph, `com.microsoft::GroupQueryAttention` reads and writes it. What an encoder
says is asked once for each text: its graph answers with the keys and values of every layer that looks at it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ortolan_exporters.errors import TraceError
from ortolan_exporters.fused import fused_attention, merge_heads
from ortolan_exporters.patches import replaced
from ortolan_exporters.resolve import Checkpoint

Axes = tuple[int | str, ...]

CROSS_ATTENTIONS = ("EncDecAttention", "encoder_attn")
"""What transformers calls the attention of a decoder layer to the encoder."""

BATCH, LENGTH, REQUESTS, ENCODED = 3, 4, 3, 7
"""Sizes that are traced with; none of them stays in the graph."""

MAX_LENGTH = 32
TOTAL = 9

HEAD_STEP = 8
"""GroupQueryAttention wants heads of so many numbers, or a multiple."""

INT32 = ("seqlens_k", "total_sequence_length")


@dataclass(frozen=True, slots=True)
class Part:
    """One graph to be traced.

    Attributes:
        module: Takes the inputs in order, and returns the outputs in order.
        inputs: Axes of each input by name; strings vary.
        outputs: Axes of each output.
        example: A value for each input.
        context: In force while it is traced.
    """

    module: torch.nn.Module
    inputs: Mapping[str, Axes]
    outputs: Mapping[str, Axes]
    example: Mapping[str, torch.Tensor]
    context: Callable[[], Any]


@dataclass(slots=True)
class _Now:
    """What attention needs beside its arguments, while a decoder is traced.

    Attributes:
        inputs: Of the graph, by name.
        present: Keys and values after the run, by name of the output.
        asked: Layers that have attended to themselves: next time they attend to the encoder.
    """

    inputs: Mapping[str, torch.Tensor]
    present: dict[str, torch.Tensor] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)


def parts_of(checkpoint: Checkpoint) -> dict[str, Part]:
    """Describe the graphs of a model that writes: "model", or "encoder" and "decoder".

    Args:
        checkpoint: Of an architecture that says how its decoder tells positions.

    Raises:
        TraceError: No operator has heads of that size.
    """
    own, cross = _attention_shapes(checkpoint)
    if odd := sorted({size for _, size in own if size % HEAD_STEP}):
        raise TraceError(
            "a cache requested", f"its heads have {odd[0]} numbers, not a multiple of {HEAD_STEP}", "go without one"
        )
    if not checkpoint.config.is_encoder_decoder:
        return {"model": _decoder_part(checkpoint, own, [])}
    return {"encoder": _encoder_part(checkpoint, cross), "decoder": _decoder_part(checkpoint, own, cross)}


def _encoder_part(checkpoint: Checkpoint, heads: list[tuple[int, int]]) -> Part:
    inputs: dict[str, Axes] = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "encoded"))
    ids = torch.randint(2, checkpoint.vocabulary.size, (BATCH, ENCODED))
    return Part(
        _CrossEncoder(checkpoint.transformer, heads),
        inputs,
        {f"cross.{name}": ("batch", *shape) for name, shape in _layers(heads, "encoded").items()},
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
        lambda: fused_attention(checkpoint.transformer),
    )


def _decoder_part(checkpoint: Checkpoint, own: list[tuple[int, int]], cross: list[tuple[int, int]]) -> Part:
    positions = checkpoint.architecture.positions_by
    past = _layers(own, "max_length")
    inputs: dict[str, Axes] = {"input_ids": ("batch", "sequence")}
    if positions == "table":
        inputs["position_ids"] = ("batch", "sequence")
    if positions == "buckets":
        inputs["relative_buckets"] = ("batch", "sequence", "total")
    inputs |= {"seqlens_k": ("batch",), "total_sequence_length": (), "last_index": ("batch", "places")}
    if cross:
        inputs["encoder_attention_mask"] = ("requests", "encoded")
    inputs |= {f"past_key_values.{name}": ("batch", *shape) for name, shape in past.items()}
    inputs |= {f"cross.{name}": ("requests", *shape) for name, shape in _layers(cross, "encoded").items()}
    outputs: dict[str, Axes] = {"logits": ("batch", "places", checkpoint.vocabulary.size)}
    outputs |= {f"present.{name}": ("batch", *shape) for name, shape in past.items()}
    example = _example(inputs, checkpoint.vocabulary.size)
    decoder = _CachedDecoder(checkpoint, inputs, outputs)
    return Part(decoder, inputs, outputs, example, decoder.in_place)


def _layers(heads: list[tuple[int, int]], length: str) -> dict[str, Axes]:
    """Axes behind the first one of keys and values, by layer."""
    return {
        f"{layer}.{part}": (count, length, size)
        for layer, (count, size) in enumerate(heads)
        for part in ("key", "value")
    }


def _example(inputs: Mapping[str, Axes], vocabulary: int) -> dict[str, torch.Tensor]:
    sizes = {"batch": BATCH, "sequence": LENGTH, "places": 2, "total": TOTAL, "requests": REQUESTS}
    sizes |= {"encoded": ENCODED, "max_length": MAX_LENGTH}
    made: dict[str, torch.Tensor] = {}
    for name, axes in inputs.items():
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
        if "." in name:
            made[name] = torch.zeros(shape)
        elif name in INT32:
            made[name] = torch.full(shape, LENGTH, dtype=torch.int32)
        else:
            made[name] = torch.ones(shape, dtype=torch.int64)
    made["input_ids"] = torch.randint(2, vocabulary, (BATCH, LENGTH))
    return made


def _attention_shapes(checkpoint: Checkpoint) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Ask a decoder how many heads keys have in each layer, and their size: of its own, and of those for the encoder.

    Heads that queries share are counted once.
    """
    own: list[tuple[int, int]] = []
    cross: list[tuple[int, int]] = []

    def look(module: Any, query: torch.Tensor, key: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        # a layer attends to itself first
        layers = cross if has_encoder and len(own) > len(cross) else own
        layers.append((key.shape[1], key.shape[3]))
        return torch.zeros_like(query).transpose(1, 2), None

    module = checkpoint.transformer
    has_encoder = bool(module.config.is_encoder_decoder)
    ids = torch.full((1, 2), 2)
    given = {"input_ids": ids, "use_cache": False}
    if has_encoder:
        hidden = torch.zeros(1, 2, module.config.d_model)
        given = {"decoder_input_ids": ids, "encoder_outputs": BaseModelOutput(hidden), "use_cache": False}
    with torch.no_grad(), fused_attention(module, look, _no_mask):
        module(**given)
    return own, cross


class _CrossEncoder(torch.nn.Module):
    """Texts to the keys and values that each layer of the decoder looks at."""

    def __init__(self, module: Any, heads: list[tuple[int, int]]) -> None:
        super().__init__()
        self.module = module
        self.heads = heads

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        input_ids, mask = arguments
        hidden = self.module.get_encoder()(input_ids=input_ids, attention_mask=mask)[0]
        layers = [one for name, one in self.module.named_modules() if name.rpartition(".")[2] in CROSS_ATTENTIONS]
        found = []
        for layer, (heads, size) in zip(layers, self.heads, strict=True):
            for name in ("k", "v"):
                project = getattr(layer, name, None) or getattr(layer, f"{name}_proj")
                found.append(project(hidden).view(*hidden.shape[:2], heads, size).transpose(1, 2))
        return tuple(found)


class _CachedDecoder(torch.nn.Module):
    """Tokens and a cache to logits at some places, and the cache with these tokens in it."""

    def __init__(self, checkpoint: Checkpoint, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]) -> None:
        super().__init__()
        self.module = checkpoint.transformer
        self.names = list(inputs)
        self.outputs = list(outputs)
        self.positions = checkpoint.architecture.positions_by
        self.num_layers = sum(name.startswith("past_key_values") for name in inputs) // 2
        self.now = _Now({})
        if self.positions == "rotary":
            angles = _rotary(self.module)(torch.zeros(1), torch.arange(checkpoint.max_length)[None])
            cos, sin = (one[0, :, : one.shape[-1] // 2].contiguous() for one in angles)
            self.register_buffer("cos", cos)
            self.register_buffer("sin", sin)

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.now = _Now(dict(zip(self.names, arguments, strict=True)))
        inputs = self.now.inputs
        if "encoder_attention_mask" in inputs:
            logits = self._after_encoder(inputs)
        elif self.positions == "table":
            logits = self.module(inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False).logits
        else:
            logits = self.module(inputs["input_ids"], use_cache=False).logits
        found = {"logits": logits, **self.now.present}
        return tuple(found[name] for name in self.outputs)

    def _after_encoder(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        # its values are never used: keys and values are there already
        stand_in = torch.zeros(inputs["input_ids"].shape[0], 1, self.module.config.d_model)
        cache = EncoderDecoderCache(_NewTokensOnly(), DynamicCache())
        for layer in range(self.num_layers):
            cache.cross_attention_cache.update(
                inputs[f"cross.{layer}.key"], inputs[f"cross.{layer}.value"], layer_idx=layer
            )
            cache.is_updated[layer] = True
        logits: torch.Tensor = self.module(
            decoder_input_ids=inputs["input_ids"],
            encoder_outputs=BaseModelOutput(stand_in),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let attention read and write the cache, and positions come from outside, while the block runs."""
        with ExitStack() as stack:
            stack.enter_context(fused_attention(self.module, self._attend, _no_mask))
            head = self.module.get_output_embeddings()
            stack.enter_context(replaced(head, "forward", self._at_places(head.forward)))
            for owner, name, value in self._position_patches():
                stack.enter_context(replaced(owner, name, value))
            yield

    def _at_places(self, head: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        """Let the head see the places alone that are asked for: most of the work of a prompt would be for nothing."""

        def chosen(hidden: torch.Tensor) -> torch.Tensor:
            places = self.now.inputs["last_index"].unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
            return head(hidden.gather(1, places))

        return chosen

    def _position_patches(self) -> Iterator[tuple[Any, str, Any]]:
        if self.positions == "rotary":
            # left to the operator, which knows how long each row is
            yield sys.modules[type(_rotary(self.module)).__module__], "apply_rotary_pos_emb", _unrotated
        if not self.module.config.is_encoder_decoder:
            return
        decoder = self.module.get_decoder()
        if self.positions == "table":
            table = decoder.embed_positions

            def look_up(*_: Any, **__: Any) -> torch.Tensor:
                places = self.now.inputs["position_ids"] + getattr(table, "offset", 0)
                return torch.nn.functional.embedding(places, table.weight)

            yield table, "forward", look_up
        if self.positions == "buckets":
            first = decoder.block[0].layer[0].SelfAttention

            def bias(*_: Any, **__: Any) -> torch.Tensor:
                found: torch.Tensor = first.relative_attention_bias(self.now.inputs["relative_buckets"])
                return found.permute(0, 3, 1, 2)

            yield first, "compute_bias", bias

    def _attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        position_bias: torch.Tensor | None = None,
        sliding_window: int | None = None,
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        """Stand in for attention: of a layer to itself the first time, to the encoder the second time."""
        scale = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
        if module.layer_idx in self.now.asked:
            return self._attend_to_encoder(module.layer_idx, query, scale), None
        self.now.asked.add(module.layer_idx)
        batch, heads, length, size = query.shape
        name = str(module.layer_idx)
        inputs = self.now.inputs
        past = [inputs[f"past_key_values.{name}.{part}"] for part in ("key", "value")]
        attributes: dict[str, Any] = {"num_heads": heads, "kv_num_heads": key.shape[1], "scale": scale}
        if sliding_window is not None:
            attributes["local_window_size"] = sliding_window
        more: list[torch.Tensor | None] = []
        if self.positions == "rotary":
            attributes |= {"do_rotary": 1, "rotary_interleaved": 0}
            more = [self.cos, self.sin]  # type: ignore[list-item]  # buffers
        elif position_bias is not None:
            more = [None, None, None, position_bias]
        states = [merge_heads(one) for one in (query, key, value)]
        merged, *present = torch.onnx.ops.symbolic_multi_out(
            "com.microsoft::GroupQueryAttention",
            [*states, *past, inputs["seqlens_k"], inputs["total_sequence_length"], *more],
            attributes,
            dtypes=(query.dtype,) * 3,
            shapes=((batch, length, heads * size), *(one.shape for one in past)),
            version=1,
        )
        for part, one in zip(("key", "value"), present, strict=True):
            self.now.present[f"present.{name}.{part}"] = one
        return merged.reshape(batch, length, heads, size), None

    def _attend_to_encoder(self, layer: int, query: torch.Tensor, scale: float) -> torch.Tensor:
        """Attend to what a text said, which the rows of its beams share: they stand in the place of its tokens."""
        batch, heads, length, size = query.shape
        inputs = self.now.inputs
        key, value = (inputs[f"cross.{layer}.{part}"] for part in ("key", "value"))
        width = torch.tensor([heads * size])
        requests = standard("Concat", [_size(key, 0), torch.tensor([-1]), width], (3,), axis=0)
        rows = standard("Concat", [_size(inputs["input_ids"], 0), _size(inputs["input_ids"], 1), width], (3,), axis=0)
        # its second axis is longer where there are beams; the tracer can't say so, and nothing looks at it
        folded = standard("Reshape", [merge_heads(query), requests], (key.shape[0], length, heads * size), query.dtype)
        seen = torch.onnx.ops.symbolic(
            "com.microsoft::MultiHeadAttention",
            [folded, key, value, None, inputs["encoder_attention_mask"].to(torch.int32)],
            {"num_heads": heads, "scale": scale},
            dtype=query.dtype,
            shape=(key.shape[0], length, heads * size),
            version=1,
        )
        unfolded = standard("Reshape", [seen, rows], (batch, length, heads * size), query.dtype)
        return unfolded.reshape(batch, length, heads, size)


class _NewTokensOnly(DynamicCache):
    """Hands back what it is given: the operator owns the past."""

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> Any:
        return key_states, value_states

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        return 0


def standard(
    op_type: str,
    inputs: list[torch.Tensor],
    shape: tuple[Any, ...],
    dtype: torch.dtype = torch.int64,
    **attributes: int,
) -> torch.Tensor:
    """Emit an operator of ONNX itself, with a shape that the tracer takes on trust."""
    return torch.onnx.ops.symbolic(op_type, inputs, dict(attributes), dtype=dtype, shape=shape, version=20)


def _size(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    return standard("Shape", [tensor], (1,), start=axis, end=axis + 1)


def _no_mask(*_: Any, **__: Any) -> None:
    """The operator knows how long each row is."""


def _unrotated(query: torch.Tensor, key: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return query, key


def _rotary(module: Any) -> Any:
    """Find what computes the angles of rotary positions."""
    return getattr(module, module.base_model_prefix).rotary_emb
