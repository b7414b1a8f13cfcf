"""Tiny graphs that write, put together by hand from a seed: what an exporter makes of GPT-2, T5 and BART, in small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ortolan.config import SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS

VOCABULARY, HIDDEN, HEADS, SIZE, LAYERS, POSITIONS = 61, 32, 4, 8, 2, 128
BUCKETS = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 20}
CONFIG: Mapping[str, Any] = {**BUCKETS, "vocab_size": VOCABULARY}


class _Graph:
    """A graph in the making."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._random = np.random.default_rng(seed)

    def add(self, operator: str, *inputs: str, outputs: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        names = list(outputs) or [f"value{len(self.nodes)}"]
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names[0]

    def constant(self, values: object, dtype: str = "int64") -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        return self.constant(self._random.standard_normal(shape) * scale / np.sqrt(shape[0]), "float32")

    def takes(self, name: str, dtype: int, *shape: int | str) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def gives(self, name: str, *shape: int | str) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def session(self, path: Path) -> OrtSession:
        graph = helper.make_graph(self.nodes, "tiny", self.inputs, self.outputs, self.weights)
        sets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=10), path)
        return OrtSession(path, PROVIDERS["cpu"], SessionConfig(num_threads=1), [])


def write_decoder(
    path: Path, *, positions: str = "table", has_encoder: bool = False, kv_heads: int = HEADS, seed: int = 0
) -> OrtSession:
    """Make a decoder, and load it.

    Args:
        path: Where the graph goes.
        positions: "table" for an input `position_ids`, "buckets" for `relative_buckets`.
        has_encoder: Whether it looks at what an encoder says.
        kv_heads: Heads of the keys, which several heads of the queries may share.
        seed: Of its weights.
    """
    graph = _Graph(seed)
    ids = graph.takes("input_ids", TensorProto.INT64, "batch", "sequence")
    table = graph.weight(VOCABULARY, HIDDEN, scale=8)
    hidden = graph.add("Gather", table, ids)
    bias = ""
    if positions == "table":
        places = graph.takes("position_ids", TensorProto.INT64, "batch", "sequence")
        hidden = graph.add("Add", hidden, graph.add("Gather", graph.weight(POSITIONS, HIDDEN, scale=8), places))
    else:
        buckets = graph.takes("relative_buckets", TensorProto.INT64, "batch", "sequence", "total")
        heights = graph.weight(BUCKETS["relative_attention_num_buckets"], HEADS, scale=4)
        bias = graph.add("Transpose", graph.add("Gather", heights, buckets), perm=[0, 3, 1, 2])
    seqlens = graph.takes("seqlens_k", TensorProto.INT32, "batch")
    total = graph.takes("total_sequence_length", TensorProto.INT32)
    last = graph.takes("last_index", TensorProto.INT64, "batch", "places")
    mask = ""
    if has_encoder:
        mask = graph.takes("encoder_attention_mask", TensorProto.INT64, "requests", "encoded")
        mask = graph.add("Cast", mask, to=TensorProto.INT32)
    for layer in range(LAYERS):
        states = [graph.add("MatMul", hidden, graph.weight(HIDDEN, HIDDEN, scale=2))]
        states += [graph.add("MatMul", hidden, graph.weight(HIDDEN, kv_heads * SIZE, scale=2)) for _ in range(2)]
        cached = ("batch", kv_heads, "max_length", SIZE)
        parts = [f"{layer}.key", f"{layer}.value"]
        past = [graph.takes(f"past_key_values.{part}", TensorProto.FLOAT, *cached) for part in parts]
        present = [graph.gives(f"present.{part}", *cached) for part in parts]
        more = ["", "", "", bias] if bias else []
        seen = graph.add(
            *("GroupQueryAttention", *states, *past, seqlens, total, *more),
            outputs=[f"seen{layer}", *present],
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=kv_heads,
        )
        hidden = _joined(graph, hidden, seen)
        if has_encoder:
            hidden = _joined(graph, hidden, _look_at_encoder(graph, hidden, layer, mask))
    hidden = graph.add("GatherND", hidden, graph.add("Unsqueeze", last, graph.constant([-1])), batch_dims=1)
    graph.gives("logits", "batch", "places", VOCABULARY)
    graph.add("MatMul", hidden, graph.weight(HIDDEN, VOCABULARY, scale=4), outputs=["logits"])
    return graph.session(path)


def write_encoder(path: Path, seed: int = 1) -> OrtSession:
    """Make an encoder, and load it; it answers with the keys and values that each layer of the decoder looks at."""
    graph = _Graph(seed)
    ids = graph.takes("input_ids", TensorProto.INT64, "batch", "encoded")
    graph.takes("attention_mask", TensorProto.INT64, "batch", "encoded")
    hidden = graph.add("Gather", graph.weight(VOCABULARY, HIDDEN, scale=8), ids)
    split = graph.constant([0, 0, HEADS, SIZE])
    for layer in range(LAYERS):
        for part in ("key", "value"):
            state = graph.add("Reshape", graph.add("MatMul", hidden, graph.weight(HIDDEN, HIDDEN, scale=2)), split)
            name = graph.gives(f"cross.{layer}.{part}", "batch", HEADS, "encoded", SIZE)
            graph.add("Transpose", state, outputs=[name], perm=[0, 2, 1, 3])
    return graph.session(path)


def _joined(graph: _Graph, hidden: str, seen: str) -> str:
    projected = graph.add("MatMul", seen, graph.weight(HIDDEN, HIDDEN))
    scale = graph.constant(np.ones(HIDDEN), "float32")
    return graph.add("LayerNormalization", graph.add("Add", hidden, projected), scale)


def _look_at_encoder(graph: _Graph, hidden: str, layer: int, mask: str) -> str:
    """Attend to what a text says; the rows of its beams stand in the place of its tokens."""
    axes = ("requests", HEADS, "encoded", SIZE)
    key, value = (graph.takes(f"cross.{layer}.{part}", TensorProto.FLOAT, *axes) for part in ("key", "value"))
    query = graph.add("MatMul", hidden, graph.weight(HIDDEN, HIDDEN, scale=2))
    requests = graph.add("Shape", key, start=0, end=1)
    folded = graph.add("Concat", requests, graph.constant([-1, HIDDEN]), axis=0)
    query = graph.add("Reshape", query, folded)
    seen = graph.add(*("MultiHeadAttention", query, key, value, "", mask), domain="com.microsoft", num_heads=HEADS)
    return graph.add("Reshape", seen, graph.add("Shape", hidden))
