"""Graphs of operators that every ONNX runtime has, in the layout that optimum writes and reads.

The cache comes in as `past_key_values.*` and goes out longer, as `present.*`. A decoder that looks at an encoder is two
graphs: one for its first tokens, and one that takes a cache, which holds what the encoder said to each layer too.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import onnx
import onnx_ir as ir
import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ortolan_exporters.cached import Axes, Part, standard
from ortolan_exporters.errors import TraceError
from ortolan_exporters.fused import MASKED, for_each_query, fused_attention
from ortolan_exporters.resolve import Checkpoint

SIZES = {"batch": 3, "sequence": 4, "past": 5, "total": 9, "encoded": 7}
"""Sizes that are traced with; none of them stays in the graph."""

Shapes = list[tuple[int, int]]
"""Heads of the keys, and numbers of a head, of each layer."""


def parts_of(checkpoint: Checkpoint) -> dict[str, Part]:
    """Describe the graphs of a model that writes: "model", or "encoder", "decoder" and "decoder_with_past".

    Args:
        checkpoint: Of any architecture that keeps its cache as transformers' own ones do.

    Raises:
        TraceError: It keeps something else.
    """
    own, cross = _cache_shapes(checkpoint)
    if not checkpoint.config.is_encoder_decoder:
        return {"model": _decoder_part(checkpoint, own, [], has_past=True)}
    return {
        "encoder": _encoder_part(checkpoint),
        "decoder": _decoder_part(checkpoint, own, cross, has_past=False),
        "decoder_with_past": _decoder_part(checkpoint, own, cross, has_past=True),
    }


def plain_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Stand in for attention: matrix products and a softmax; see `fused.multi_head_attention`."""
    size = query.shape[-1]
    keys, values = (for_each_query(one, query.shape[1]) for one in (key, value))
    scores = torch.matmul(query, keys.transpose(2, 3)) * float(size**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None and attention_mask.ndim == 2:
        scores = scores + (1.0 - attention_mask.to(torch.float32))[:, None, None, :] * MASKED
    elif attention_mask is not None:
        scores = scores + attention_mask
    return torch.matmul(torch.softmax(scores, dim=-1), values).transpose(1, 2), None


def check_standard(models: Iterable[ir.Model]) -> None:
    """Look whether graphs consist of operators that ONNX itself defines.

    Raises:
        TraceError: Some are not; the message names them.
    """
    nodes = [node for model in models for node in model.graph.all_nodes()]
    if others := sorted({_name(node) for node in nodes if not _is_standard(node)}):
        raise TraceError(
            "standard operators alone requested (layout 'portable')",
            f"the model needs {', '.join(others)}",
            "export it with layout 'fused'",
        )


def _is_standard(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx") and bool(onnx.defs.has(node.op_type))


def _name(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _encoder_part(checkpoint: Checkpoint) -> Part:
    inputs: dict[str, Axes] = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "encoded"))
    width = int(checkpoint.config.hidden_size)
    encoder = _Encoder(checkpoint.transformer)
    return _part(checkpoint, encoder, inputs, {"last_hidden_state": ("batch", "encoded", width)})


def _decoder_part(checkpoint: Checkpoint, own: Shapes, cross: Shapes, *, has_past: bool) -> Part:
    inputs: dict[str, Axes] = {"input_ids": ("batch", "sequence")}
    if cross:
        inputs["encoder_attention_mask"] = ("batch", "encoded")
    else:
        inputs["attention_mask"] = ("batch", "total")
        if "position_ids" in inspect.signature(checkpoint.transformer.forward).parameters:
            inputs["position_ids"] = ("batch", "sequence")
    if cross and not has_past:
        inputs["encoder_hidden_states"] = ("batch", "encoded", int(checkpoint.config.hidden_size))
    if has_past:
        kept = _layers(own, cross, "past")
        inputs |= {f"past_key_values.{name}": axes for name, axes in kept.items()}
    outputs: dict[str, Axes] = {"logits": ("batch", "sequence", checkpoint.vocabulary.size)}
    # what an encoder said does not grow
    kept = _layers(own, cross, "total" if has_past else "sequence")
    wanted = [name for name in kept if not (has_past and ".encoder." in name)]
    outputs |= {f"present.{name}": kept[name] for name in wanted}
    return _part(checkpoint, _GrowingDecoder(checkpoint.transformer, inputs, outputs), inputs, outputs)


def _part(checkpoint: Checkpoint, module: Any, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]) -> Part:
    def context() -> AbstractContextManager[None]:
        return fused_attention(checkpoint.transformer, plain_attention)

    example: dict[str, torch.Tensor] = {}
    for name, axes in inputs.items():
        shape = [SIZES[axis] if isinstance(axis, str) else axis for axis in axes]
        is_float = "." in name or name == "encoder_hidden_states"
        example[name] = torch.zeros(shape) if is_float else torch.ones(shape, dtype=torch.int64)
    example["input_ids"] = torch.randint(2, checkpoint.vocabulary.size, example["input_ids"].shape)
    return Part(module, inputs, outputs, example, context)


def _layers(own: Shapes, cross: Shapes, length: str) -> dict[str, Axes]:
    """Axes of keys and values by name, in the order of optimum, which goes by it: all of a layer, then the next one."""
    whose = [(".decoder", own, length), (".encoder", cross, "encoded")] if cross else [("", own, length)]
    return {
        f"{layer}{name}.{part}": ("batch", shapes[layer][0], axis, shapes[layer][1])
        for layer in range(len(own))
        for name, shapes, axis in whose
        for part in ("key", "value")
    }


def _cache_shapes(checkpoint: Checkpoint) -> tuple[Shapes, Shapes]:
    """Ask a decoder what it keeps of a token in each layer: of its own, and of what the encoder said."""
    ids = torch.full((1, 2), 2)
    own, cross = DynamicCache(), DynamicCache()
    try:
        with torch.no_grad():
            if checkpoint.config.is_encoder_decoder:
                cache = EncoderDecoderCache(own, cross)
                checkpoint.transformer(input_ids=ids, decoder_input_ids=ids, past_key_values=cache, use_cache=True)
            else:
                checkpoint.transformer(input_ids=ids, past_key_values=own, use_cache=True)
        shapes = [[(int(key.shape[1]), int(key.shape[3])) for key, _ in _states(cache)] for cache in (own, cross)]
    except (AttributeError, TypeError, IndexError, ValueError) as error:
        shapes, reason = [[]], f"it keeps something else than keys and values ({error})"
    else:
        reason = "it keeps nothing"
    if not shapes[0]:
        raise TraceError("keys and values of a decoder requested", reason, "export it with layout 'fused'")
    return shapes[0], shapes[1]


def _states(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer."""
    layers: Any = cache.layers
    return [(layer.keys, layer.values) for layer in layers]


class _Encoder(torch.nn.Module):
    """Texts to the states of the last layer."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        input_ids, mask = arguments
        return (self.module.get_encoder()(input_ids=input_ids, attention_mask=mask)[0],)


class _GrowingDecoder(torch.nn.Module):
    """Tokens, and what was kept of those before them, to logits and what is kept now."""

    def __init__(self, module: Any, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]) -> None:
        super().__init__()
        self.module = module
        self.names = list(inputs)
        self.outputs = list(outputs)

    def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = dict(zip(self.names, arguments, strict=True))
        has_encoder = "encoder_attention_mask" in inputs
        own = _cache_of(inputs, ".decoder" if has_encoder else "")
        cross = _cache_of(inputs, ".encoder") if has_encoder else DynamicCache()
        logits = self._after_encoder(inputs, own, cross) if has_encoder else self._alone(inputs, own)
        found = {"logits": logits, **_names_of(own, ".decoder" if has_encoder else ""), **_names_of(cross, ".encoder")}
        return tuple(found[name] for name in self.outputs)

    def _alone(self, inputs: Mapping[str, torch.Tensor], own: DynamicCache) -> torch.Tensor:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        past = inputs["past_key_values.0.key"].shape[2]
        # the tracer can't say that this is as long as both together, and must not ask
        seen = standard("Identity", [mask], (mask.shape[0], past + ids.shape[1]))
        positions = {"position_ids": inputs["position_ids"]} if "position_ids" in inputs else {}
        answer = self.module(ids, attention_mask=seen, past_key_values=own, use_cache=True, **positions)
        logits: torch.Tensor = answer.logits
        return logits

    def _after_encoder(
        self, inputs: Mapping[str, torch.Tensor], own: DynamicCache, cross: DynamicCache
    ) -> torch.Tensor:
        cache = EncoderDecoderCache(own, cross)
        said = inputs.get("encoder_hidden_states")
        if said is None:
            # its values are never used: keys and values are there already
            said = torch.zeros(inputs["input_ids"].shape[0], 1, self.module.config.hidden_size)
        logits: torch.Tensor = self.module(
            attention_mask=inputs["encoder_attention_mask"],
            decoder_input_ids=inputs["input_ids"],
            encoder_outputs=BaseModelOutput(said),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits


def _cache_of(inputs: Mapping[str, torch.Tensor], whose: str) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(sum(name.startswith("past_key_values.") for name in inputs)):
        if (key := inputs.get(f"past_key_values.{layer}{whose}.key")) is not None:
            cache.update(key, inputs[f"past_key_values.{layer}{whose}.value"], layer)
    return cache


def _names_of(cache: DynamicCache, whose: str) -> dict[str, torch.Tensor]:
    return {
        f"present.{number}{whose}.{part}": states
        for number, (key, value) in enumerate(_states(cache))
        for part, states in (("key", key), ("value", value))
    }
