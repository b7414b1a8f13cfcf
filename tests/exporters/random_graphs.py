"""Random small graphs in the form torch's exporter leaves them, and feeds for them: what graph passes are tried on.

A graph is a source of token vectors [B, S, H], a few steps, each of which adds nodes that read what is there already,
and an output or more. Hypothesis draws the steps and a seed for each, from which all else follows: a graph that breaks
a law shrinks to the steps that matter, and drawing one takes milliseconds.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[Any]
Feed = dict[str, Array]
Axis = str | int
Shape = tuple[Axis, ...]
Step = Callable[["Sketch"], None]

BATCH, SEQUENCE, MEMORY = "batch", "sequence", "memory"
FLOAT, DOUBLE, INT32, INT64 = ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64
MICROSOFT = "com.microsoft"
MAX_LENGTH = 6
LARGE_VOCABULARY = 4100
"""More rows than int8 asks of an embedding table."""


@dataclass(frozen=True)
class RandomGraph:
    """A graph, and two feeds for it that differ in batch and length. The mask of each text has a real token or more."""

    model: ir.Model
    feeds: tuple[Feed, Feed]

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """How hypothesis shows a graph that breaks a law: its nodes, not its numbers."""
        outputs = [value.name for value in self.model.graph.outputs]
        nodes = "".join(f"\n    {node}" for node in self.model.graph)
        shapes = [{name: array.shape for name, array in feed.items()} for feed in self.feeds]
        printer.text(f"RandomGraph of {outputs}, fed {shapes}:{nodes}")


def random_graphs() -> st.SearchStrategy[RandomGraph]:
    """Graphs of three to eight steps, half of them with the head of a classifier on top."""
    seeds = st.integers(0, 2**32 - 1)
    steps = st.lists(st.tuples(st.sampled_from(STEPS), seeds), min_size=3, max_size=8, unique_by=lambda step: step[1])
    return st.builds(_build, seeds, steps, seeds)


def _build(start: int, steps: Sequence[tuple[Step, int]], end: int) -> RandomGraph:
    sketch = Sketch(start)
    for step, seed in steps:
        sketch.reseed(seed)
        step(sketch)
    sketch.reseed(end)
    if sketch.coin():
        _classify(sketch)
    model = sketch.model()
    batches, lengths = (sketch.random.sample(range(1, most + 1), 2) for most in (3, MAX_LENGTH))
    first, second = (sketch.feed(*sizes) for sizes in zip(batches, lengths, strict=True))
    return RandomGraph(model, (first, second))


class Sketch:
    """A graph under construction: adds nodes, and remembers which values later nodes can read.

    Attributes:
        tokens: Values [B, S, H].
        singles: Values [B, 1, H], one token kept or made of all.
        rows: Values [B, H].
        results: Values that must be outputs.
    """

    def __init__(self, seed: int) -> None:
        self.reseed(seed)
        self.heads, self.size = self.choose([(2, 4), (1, 4), (3, 2), (4, 6)])
        self.hidden = self.heads * self.size
        self._forgets_shapes = self.one_in(3)
        self._nodes: list[ir.Node] = []
        self._initializers: dict[str, ir.Value] = {}
        self._shapes: dict[ir.Value, Shape] = {}
        self._inputs: dict[str, ir.Value] = {}
        self._masks: dict[int, ir.Value] = {}
        self.vocabulary = self.choose([7, 7, self.hidden, LARGE_VOCABULARY])
        self.table: ir.Value | None = None
        self.tokens: list[ir.Value] = []
        self.singles: list[ir.Value] = []
        self.rows: list[ir.Value] = []
        self.results: list[ir.Value] = []
        if self.one_in(3):
            self.weight((self.hidden, self.hidden), "unread.weight")
        self.choose([_embed, _embed, _read_embeddings])(self)

    def reseed(self, seed: int) -> None:
        """Start anew with random choices, so that a step does the same whatever was before it."""
        self.random, self._numbers = random.Random(seed), np.random.default_rng(seed)

    def choose(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return self.random.choice(options)

    def one_in(self, times: int) -> bool:
        """True once in so many times."""
        return self.random.randrange(times) == 0

    def coin(self) -> bool:
        return self.one_in(2)

    def pool(self, *pools: list[ir.Value]) -> list[ir.Value]:
        """One of the lists that have something in them."""
        chosen: list[ir.Value] = self.choose([pool for pool in pools if pool])
        return chosen

    def some(self, values: Sequence[ir.Value]) -> ir.Value:
        """One of the values, more often one of the latest."""
        back: int = self.choose([0, 0, 0, 1, 2, 3])
        return values[-1 - min(back, len(values) - 1)]

    def shape_of(self, value: ir.Value) -> Shape:
        """The axes of a value, whether or not the graph notes them."""
        return self._shapes[value]

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[Axis]) -> ir.Value:
        """The graph's input of that name."""
        if name not in self._inputs:
            value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
            self._inputs[name], self._shapes[value] = value, tuple(shape)
        return self._inputs[name]

    def constant(self, array: Array, name: str = "") -> ir.Value:
        """A new initializer, called `name` if that is free, otherwise by a number as constants are in traced graphs."""
        name = name if name and name not in self._initializers else f"val_{len(self._initializers)}"
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._initializers[name], self._shapes[value] = value, array.shape
        return value

    def weight(self, shape: tuple[int, ...], name: str = "") -> ir.Value:
        """A new initializer, float32, or one like it that is there: itself, its equal or the equal of its transpose."""
        origin = self.choose(["new", "new", "same", "equal", "transpose"])
        wanted = shape[::-1] if origin == "transpose" else shape
        known = [value for value in self._initializers.values() if value.dtype == FLOAT and value.shape == wanted]
        if origin == "new" or not known:
            spread = shape[0] ** -0.5 if len(shape) > 1 else 0.3
            return self.constant((self._numbers.normal(size=shape) * spread).astype(np.float32), name)
        tensor = known[-1].const_value
        assert tensor is not None
        array = tensor.numpy()
        if origin == "same":
            return known[-1]
        return self.constant(array.T.copy() if origin == "transpose" else array, name)

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *shapes: Sequence[Axis],
        dtype: ir.DataType = FLOAT,
        domain: str = "",
        name: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """Add a node; its first output, and its node, are called `name` if that is free. `shapes` are its outputs'."""
        node = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=len(shapes))
        taken = {value.name for value in self.values()}
        for number, (value, shape) in enumerate(zip(node.outputs, shapes, strict=True)):
            fresh = f"{op_type.lower()}_{len(self._nodes)}" + (f"_{number}" if number else "")
            value.name = name if name and not number and name not in taken else fresh
            value.type = ir.TensorType(dtype)
            value.shape = None if self._forgets_shapes and self._numbers.random() < 0.2 else ir.Shape(shape)
            self._shapes[value] = tuple(shape)
        node.name = node.outputs[0].name
        self._nodes.append(node)
        return node.outputs[0]

    def other_outputs(self, value: ir.Value) -> Sequence[ir.Value]:
        """What the node that computes a value computes beside it."""
        node = value.producer()
        return () if node is None else node.outputs[1:]

    def values(self) -> list[ir.Value]:
        """What the nodes so far compute."""
        return [value for node in self._nodes for value in node.outputs]

    def mask(self, rank: int) -> ir.Value:
        """The padding mask as attention takes it, int32: which keys [B, S], how many [B], or which, by query [B, S, S].

        Made once of the input and shared.
        """
        if rank in self._masks:
            return self._masks[rank]
        if rank == 2:
            given = self.input("attention_mask", INT64, (BATCH, SEQUENCE))
            made = self.node("Cast", [given], (BATCH, SEQUENCE), dtype=INT32, to=INT32)
        elif rank == 1:
            axes = self.constant(np.array([1]))
            made = self.node("ReduceSum", [self.mask(2), axes], (BATCH,), dtype=INT32, keepdims=0)
        else:
            keys, queries = (
                self.node("Unsqueeze", [self.mask(2), self.constant(np.array([axis]))], shape, dtype=INT32)
                for axis, shape in ((1, (BATCH, 1, SEQUENCE)), (2, (BATCH, SEQUENCE, 1)))
            )
            zeros = self.node("Sub", [queries, queries], (BATCH, SEQUENCE, 1), dtype=INT32)
            made = self.node("Add", [keys, zeros], (BATCH, SEQUENCE, SEQUENCE), dtype=INT32)
        self._masks[rank] = made
        return made

    def model(self) -> ir.Model:
        """The graph of all that, whose outputs are the latest value, the results and a few others."""
        outputs = [self._nodes[-1].outputs[0], *self.results]
        for _ in range(self.choose([0, 0, 1, 2])):
            candidates = [value for value in self.values() if value not in outputs]
            if candidates:
                outputs.append(self.choose(candidates))
        for value in outputs:
            value.shape = ir.Shape(self._shapes[value])
        graph = ir.Graph(
            list(self._inputs.values()),
            outputs,
            nodes=self._nodes,
            initializers=list(self._initializers.values()),
            opset_imports={"": 20, MICROSOFT: 1},
            name="random",
        )
        return ir.Model(graph, ir_version=10)

    def feed(self, batch: int, length: int) -> Feed:
        """Numbers for every input. Padding is on the right, as tokenizers put it, or on the left."""
        numbers, sizes = self._numbers, {BATCH: batch, SEQUENCE: length, MEMORY: length + 1}
        feed: Feed = {}
        for name, value in self._inputs.items():
            shape = [axis if isinstance(axis, int) else sizes[axis] for axis in self._shapes[value]]
            if name == "attention_mask":
                mask = np.arange(length) < numbers.integers(1, length + 1, (batch, 1))
                feed[name] = (mask if numbers.random() < 0.7 else mask[:, ::-1]).astype(np.int64)
            elif name == "input_ids":
                feed[name] = numbers.integers(0, self.vocabulary, shape)
            else:
                feed[name] = numbers.normal(size=shape).astype(np.float32)
        return feed


def _embed(sketch: Sketch) -> None:
    """Word vectors, with or without positions: the constant range of them, as long as the text."""
    sketch.table = sketch.weight((sketch.vocabulary, sketch.hidden), "embeddings.weight")
    ids = sketch.input("input_ids", INT64, (BATCH, SEQUENCE))
    shape = (BATCH, SEQUENCE, sketch.hidden)
    sketch.tokens.append(sketch.node("Gather", [sketch.table, ids], shape, axis=0, name="embeddings"))
    if sketch.coin():
        sketch.tokens.append(sketch.node("Add", [sketch.tokens[-1], _positions(sketch)], shape))
    _layer_norm(sketch)


def _read_embeddings(sketch: Sketch) -> None:
    sketch.tokens.append(sketch.input("inputs_embeds", FLOAT, (BATCH, SEQUENCE, sketch.hidden)))


def _positions(sketch: Sketch) -> ir.Value:
    start, axis = sketch.constant(np.array([0])), sketch.constant(np.array([1]))
    length = sketch.node("Shape", [sketch.tokens[0]], (1,), dtype=INT64, start=1, end=2)
    every = sketch.constant(np.arange(MAX_LENGTH)[None])
    ids = sketch.node("Slice", [every, start, length, axis], (1, SEQUENCE), dtype=INT64)
    table = sketch.weight((MAX_LENGTH, sketch.hidden), "positions.weight")
    return sketch.node("Gather", [table, ids], (1, SEQUENCE, sketch.hidden), axis=0)


def _elementwise(sketch: Sketch) -> None:
    """Functions of each number of a value."""
    values = sketch.pool(sketch.tokens, sketch.singles, sketch.rows)
    x = sketch.some(values)
    for _ in range(sketch.choose([1, 2, 3])):
        op_type = sketch.choose(["Relu", "Gelu", "Tanh", "Erf", "Sigmoid", "Identity", "Cast"])
        if op_type == "Cast":
            x = sketch.node("Cast", [x], sketch.shape_of(x), dtype=DOUBLE, to=DOUBLE)
            x = sketch.node("Cast", [x], sketch.shape_of(x), to=FLOAT)
        else:
            x = sketch.node(op_type, [x], sketch.shape_of(x))
    values.append(x)


def _combine(sketch: Sketch) -> None:
    """Two values, the second often broadcast: over tokens, over texts or over everything."""
    values = sketch.pool(sketch.tokens, sketch.singles, sketch.rows)
    x = sketch.some(values)
    kinds = ["same", "vector", "scalar"]
    if values is sketch.tokens:
        kinds += ["positions", "cube", *(["single"] if sketch.singles else [])]
    kind = sketch.choose(kinds)
    if kind == "same":
        y = sketch.some(values)
    elif kind == "single":
        y = sketch.some(sketch.singles)
    elif kind == "positions":
        y = _positions(sketch)
    else:
        y = sketch.weight({"vector": (sketch.hidden,), "scalar": (), "cube": (1, 1, sketch.hidden)}[kind])
    op_type = sketch.choose(["Add", "Sub", "Mul"])
    if op_type == "Mul":  # keeps products of products from growing without end
        y = sketch.node("Tanh", [y], sketch.shape_of(y))
    operands = [x, y] if sketch.coin() else [y, x]
    values.append(sketch.node(op_type, operands, sketch.shape_of(x)))


def _layer_norm(sketch: Sketch) -> None:
    """Normalise each token, and now and then use the mean that was subtracted."""
    values = sketch.pool(sketch.tokens, sketch.singles)
    x = sketch.some(values)
    shape = sketch.shape_of(x)
    bias = [sketch.weight((sketch.hidden,))] if sketch.coin() else []
    inputs = [x, sketch.weight((sketch.hidden,)), *bias]
    shapes = [shape, (*shape[:2], 1), (*shape[:2], 1)] if sketch.one_in(3) else [shape]
    y = sketch.node("LayerNormalization", inputs, *shapes, axis=sketch.choose([-1, 2]), epsilon=1e-5)
    values.append(y)
    for mean in sketch.other_outputs(y)[:1]:
        if sketch.coin():
            values.append(sketch.node("Add", [y, mean], shape))
        elif sketch.coin():
            sketch.results.append(mean)


def _product(sketch: Sketch, x: ir.Value, width: int, *, bias: bool) -> ir.Value:
    """x W, and + b where there is a bias. The weight is called after what it is multiplied with."""
    *axes, depth = sketch.shape_of(x)
    assert isinstance(depth, int)
    weight = _matrix(sketch, (depth, width), f"{x.name}.weight")
    y = sketch.node("MatMul", [x, weight], (*axes, width))
    if bias:
        operands = [y, sketch.weight((width,), f"{x.name}.bias")]
        y = sketch.node("Add", operands if sketch.coin() else operands[::-1], (*axes, width))
    return y


def _matrix(sketch: Sketch, shape: tuple[int, int], name: str) -> ir.Value:
    """A constant matrix, now and then stored the other way round."""
    if sketch.one_in(8):
        return sketch.node("Transpose", [sketch.weight(shape[::-1], name)], shape, perm=[1, 0])
    return sketch.weight(shape, name)


def _linear(sketch: Sketch) -> None:
    values = sketch.pool(sketch.tokens, sketch.singles, sketch.rows)
    values.append(_product(sketch, sketch.some(values), sketch.hidden, bias=sketch.coin()))


def _batched_product(sketch: Sketch) -> None:
    """A product with a constant that has a third axis."""
    x = sketch.some(sketch.tokens)
    weight = sketch.weight((1, sketch.hidden, sketch.hidden))
    sketch.tokens.append(sketch.node("MatMul", [x, weight], sketch.shape_of(x)))


def _feed_forward(sketch: Sketch) -> None:
    x = sketch.some(sketch.tokens)
    wide = _product(sketch, x, 2 * sketch.hidden, bias=True)
    active = sketch.node(sketch.choose(["Gelu", "Relu"]), [wide], sketch.shape_of(wide))
    narrow = _product(sketch, active, sketch.hidden, bias=True)
    sketch.tokens.append(sketch.node("Add", [narrow, x], sketch.shape_of(x)))
    _layer_norm(sketch)


def _reshape(sketch: Sketch, x: ir.Value, shape: Shape) -> ir.Value:
    """Reshape, to constants where 0 and -1 can say it, or to sizes read from the text, as torch writes it."""
    given = sketch.shape_of(x)
    kept = [axis == there for axis, there in itertools.zip_longest(shape, given[: len(shape)])]
    fixed = [axis if isinstance(axis, int) else 0 if same else -1 for axis, same in zip(shape, kept, strict=True)]
    if fixed.count(-1) < 2 and sketch.coin():
        return sketch.node("Reshape", [x, sketch.constant(np.array(fixed))], shape)
    parts = [_size(sketch, axis) for axis in shape]
    target = sketch.node("Concat", parts, (len(shape),), dtype=INT64, axis=0)
    return sketch.node("Reshape", [x, target], shape, allowzero=1)


def _size(sketch: Sketch, axis: Axis) -> ir.Value:
    """The length of an axis, int64 [1]; -1 where it is a product."""
    if axis not in (BATCH, SEQUENCE):
        return sketch.constant(np.array([axis if isinstance(axis, int) else -1]))
    place = (BATCH, SEQUENCE).index(str(axis))
    return sketch.node("Shape", [sketch.tokens[0]], (1,), dtype=INT64, start=place, end=place + 1)


def _reshapes(sketch: Sketch, x: ir.Value) -> ir.Value:
    """Split x into heads, and merge them again by one detour or another."""
    hidden, heads, size = sketch.hidden, sketch.heads, sketch.size
    split, turned = (BATCH, SEQUENCE, heads, size), (BATCH, heads, SEQUENCE, size)
    shapes = [split, (BATCH, SEQUENCE, hidden), ("batch*sequence", hidden), (BATCH, f"{heads}*sequence", size)]
    for _ in range(sketch.choose([1, 2, 3])):
        shape = sketch.choose(shapes)
        x = _reshape(sketch, x, shape)
        detour = sketch.choose(["none", "none", "none", "turn", "turn and back", "relu"])
        if shape == split and detour.startswith("turn"):
            x = sketch.node("Transpose", [x], turned, perm=[0, 2, 1, 3])
        if shape == split and detour == "turn and back":
            x = sketch.node("Transpose", [x], split, perm=[0, 2, 1, 3])
        if detour == "relu":
            x = sketch.node("Relu", [x], shape)
    return _reshape(sketch, x, (BATCH, SEQUENCE, hidden))


def _reshape_chain(sketch: Sketch) -> None:
    sketch.tokens.append(_reshapes(sketch, sketch.some(sketch.tokens)))


def _attention(sketch: Sketch) -> None:
    """Projections of one tensor or of two, attention over them, the output projection and the sum with what went in."""
    x, hidden = sketch.some(sketch.tokens), sketch.hidden
    crosses = sketch.one_in(6)
    source = sketch.input("memory", FLOAT, (BATCH, MEMORY, hidden)) if crosses else x
    biases = sketch.choose([(True, True, True), (True, True, True), (False, False, False), (True, False, True)])
    width = 2 * hidden if sketch.one_in(6) else hidden
    query, key, value = (
        _product(sketch, one, to, bias=bias)
        for one, to, bias in zip((x, source, source), (hidden, hidden, width), biases, strict=True)
    )
    if sketch.one_in(3):
        query = _reshapes(sketch, query)
    if sketch.one_in(4):
        query, key = x, source
    y = _attend(sketch, query, key, value)
    sketch.results.extend(sketch.other_outputs(y) if sketch.coin() else ())
    y = _product(sketch, y, hidden, bias=sketch.coin())
    sketch.tokens.append(sketch.node("Add", [y, x], sketch.shape_of(x)) if sketch.coin() else y)


def _attend(sketch: Sketch, query: ir.Value, key: ir.Value, value: ir.Value) -> ir.Value:
    """MultiHeadAttention, mostly as it is traced: with a padding mask and a scale; now and then with more."""
    heads, size, length = sketch.heads, sketch.size, sketch.shape_of(key)[1]
    width = sketch.shape_of(value)[2]
    assert isinstance(width, int)
    shapes: list[Shape] = [(BATCH, SEQUENCE, width)]
    inputs: list[ir.Value | None] = [query, key, value, None, None, None]
    attributes: dict[str, Any] = {"num_heads": heads}
    scale = sketch.choose([None, size**-0.5, 0.3, 1.0])
    if scale is not None:
        attributes["scale"] = scale
    if length == SEQUENCE and (rank := sketch.choose([2, 2, 2, None, None, 1, 3])):
        inputs[4] = sketch.mask(rank)
    extras = ["projection bias", "present", *(["heads first"] if width == sketch.hidden else [])]
    extras += ["score bias", "causal", "weak mask"] if length == SEQUENCE else []
    more = sketch.choose(extras) if sketch.coin() else None
    if more == "projection bias":
        inputs[3] = sketch.weight((2 * sketch.hidden + width,))
    elif more == "heads first":
        inputs[1:3] = (_heads_first(sketch, one) for one in (key, value))
    elif more == "present":
        shapes += [(BATCH, heads, length, size), (BATCH, heads, length, width // heads)]
    elif more == "score bias":
        inputs[5] = _score_bias(sketch, query)
    elif more == "causal":
        attributes["unidirectional"] = 1
    elif more == "weak mask":
        attributes["mask_filter_value"] = -1.0
    while inputs[-1] is None:
        inputs.pop()
    return sketch.node("MultiHeadAttention", inputs, *shapes, domain=MICROSOFT, **attributes)


def _heads_first(sketch: Sketch, x: ir.Value) -> ir.Value:
    """[B, S, H] to [B, N, S, D], the form of a cache."""
    batch, length, width = sketch.shape_of(x)
    assert isinstance(width, int)
    size = width // sketch.heads
    target = sketch.constant(np.array([0, 0, sketch.heads, size]))
    split = sketch.node("Reshape", [x, target], (batch, length, sketch.heads, size))
    return sketch.node("Transpose", [split], (batch, sketch.heads, length, size), perm=[0, 2, 1, 3])


def _score_bias(sketch: Sketch, x: ir.Value) -> ir.Value:
    """How alike two tokens are, [B, 1, S, S]."""
    shape = (BATCH, SEQUENCE, SEQUENCE)
    turned = sketch.node("Transpose", [x], (BATCH, sketch.hidden, SEQUENCE), perm=[0, 2, 1])
    alike = sketch.node("Tanh", [sketch.node("MatMul", [x, turned], shape)], shape)
    return sketch.node("Unsqueeze", [alike, sketch.constant(np.array([1]))], (BATCH, 1, SEQUENCE, SEQUENCE))


def _select(sketch: Sketch) -> None:
    _select_from(sketch, sketch.some(sketch.pool(sketch.tokens, sketch.singles)))


def _last_layer(sketch: Sketch) -> None:
    """A layer of whose result one token is read and no other."""
    _attention(sketch)
    if sketch.coin():
        _feed_forward(sketch)
    _select_from(sketch, sketch.tokens.pop())


def _select_from(sketch: Sketch, x: ir.Value) -> None:
    """The first or the last token of each text, with or without its axis."""
    which, keeps_axis = sketch.choose([0, 0, -1]), sketch.one_in(3)
    index = sketch.constant(np.array([which] if keeps_axis else which))
    shape = (BATCH, 1, sketch.hidden) if keeps_axis else (BATCH, sketch.hidden)
    name = "" if which else f"{x.name}.first"
    y = sketch.node("Gather", [x, index], shape, axis=sketch.choose([1, 1, 1, -2]), name=name)
    (sketch.singles if keeps_axis else sketch.rows).append(y)


def _mean(sketch: Sketch) -> None:
    """The mean of all tokens, with or without their axis."""
    x, keeps_axis = sketch.some(sketch.tokens), sketch.coin()
    shape = (BATCH, 1, sketch.hidden) if keeps_axis else (BATCH, sketch.hidden)
    y = sketch.node("ReduceMean", [x, sketch.constant(np.array([1]))], shape, keepdims=int(keeps_axis))
    (sketch.singles if keeps_axis else sketch.rows).append(y)


def _row(sketch: Sketch) -> ir.Value:
    """One vector a text, made if there is none."""
    if not sketch.rows:
        first = sketch.constant(np.array(0))
        sketch.rows.append(sketch.node("Gather", [sketch.some(sketch.tokens), first], (BATCH, sketch.hidden), axis=1))
    return sketch.some(sketch.rows)


def _gemm(sketch: Sketch) -> None:
    sketch.rows.append(_any_gemm(sketch, _row(sketch)))


def _flat_gemm(sketch: Sketch) -> None:
    """Gemm over all tokens of all texts at once."""
    flat = _reshape(sketch, sketch.some(sketch.tokens), ("batch*sequence", sketch.hidden))
    sketch.tokens.append(_reshape(sketch, _any_gemm(sketch, flat), (BATCH, SEQUENCE, sketch.hidden)))


def _any_gemm(sketch: Sketch, x: ir.Value) -> ir.Value:
    """Gemm of [M, H] and a matrix, with any transposes, factors and bias."""
    (length, _), hidden = sketch.shape_of(x), sketch.hidden
    attributes: dict[str, Any] = {"transB": sketch.choose([1, 1, 0])}
    if sketch.one_in(4):
        x, attributes["transA"] = sketch.node("Transpose", [x], (hidden, length), perm=[1, 0]), 1
    weight = sketch.weight((hidden, hidden), f"{x.name}.weight")
    if sketch.one_in(5):
        weight = sketch.node("Tanh", [weight], (hidden, hidden))
    for factor in ("alpha", "beta"):
        value = sketch.choose([None, None, None, 1.0, 0.5])
        if value is not None:
            attributes[factor] = value
    return sketch.node("Gemm", [x, weight, *_gemm_bias(sketch, length)], (length, hidden), **attributes)


def _gemm_bias(sketch: Sketch, length: Axis) -> list[ir.Value]:
    """None, or what Gemm broadcasts to [M, H]: a constant of any shape, or values."""
    kind = sketch.choose(["vector", "vector", "none", "scalar", "row", "values"])
    if kind == "none":
        return []
    if kind == "values" and length == BATCH:
        return [_row(sketch)]
    shapes: dict[str, tuple[int, ...]] = {"vector": (sketch.hidden,), "scalar": (), "row": (1, sketch.hidden)}
    return [sketch.weight(shapes.get(kind, (1,)))]


def _classify(sketch: Sketch) -> None:
    """The head of a classifier: a token or the mean of all, a layer, and a product with a column for each label."""
    sketch.choose([_select, _last_layer, _mean])(sketch)
    pooled = sketch.node("Tanh", [_any_gemm(sketch, _row(sketch))], (BATCH, sketch.hidden))
    sketch.node("Gemm", [pooled, sketch.weight((3, sketch.hidden), f"{pooled.name}.weight")], (BATCH, 3), transB=1)


def _word_scores(sketch: Sketch) -> None:
    """Score every word by the embedding table, and mix the table's rows by these scores."""
    x = _row(sketch)
    if sketch.table is None:
        return
    shape = (BATCH, sketch.vocabulary)
    scores = sketch.node("Gemm", [x, sketch.table], shape, transB=1)
    if sketch.coin():
        probs = sketch.node("Softmax", [scores], shape, axis=-1)
        sketch.rows.append(sketch.node("MatMul", [probs, sketch.table], (BATCH, sketch.hidden)))


STEPS: tuple[Step, ...] = (
    *(_attention, _attention, _attention, _attention, _last_layer, _last_layer, _last_layer),
    *(_feed_forward, _layer_norm, _linear, _batched_product, _elementwise, _elementwise, _combine, _combine),
    *(_reshape_chain, _select, _select, _mean, _gemm, _gemm, _flat_gemm, _word_scores),
)
