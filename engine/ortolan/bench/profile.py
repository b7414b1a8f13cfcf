"""Where the time of a pipeline goes, and what could be gained, in sentences that say what to do."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ortolan.batch.lists import plan_batches
from ortolan.bench.ceilings import least_seconds
from ortolan.bench.charts import short
from ortolan.bench.operators import GroupTime, by_group, limit_of, total, work_of
from ortolan.bench.records import CeilingName, Work
from ortolan.config import BatchConfig
from ortolan.errors import ConfigError
from ortolan.forward import Row, rows_of
from ortolan.model import Model
from ortolan.pipeline import Encoded, Pipeline, pipeline
from ortolan.session.base import Array
from ortolan.session.ort import OrtSession
from ortolan.session.profile import NodeRun, read_profile
from ortolan.tasks.registry import heads_served

PASSES = 7
"""Times that all inputs are answered, for medians; as often again with the profiler."""

MAX_INPUTS = 4096
"""Most inputs of a profile: their outputs are all in memory at once."""

MUCH_PADDING = 0.15
MUCH_OUTSIDE = 0.2
MUCH_ATTENTION = 0.3
MUCH_QUANTIZING = 0.1
NEAR_LIMIT = 0.7
"""Shares from which on there is something to say; below, what could be gained is little."""

STAGES = ("tokenize", "batch", "graph", "postprocess")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Where the time of a list of inputs went.

    Attributes:
        artifact: Name of the model.
        provider: What ran its graph.
        precision: In which the graph was.
        precisions: All that the artifact holds.
        inputs: How many were answered.
        rows: Texts or windows that they were encoded to.
        batches: Runs of the graph.
        tokens: Tokens of the rows.
        padding: Tokens of padding that ran beside them.
        stages: Median milliseconds of a pass, by stage: "tokenize" with all that comes before the batches, "batch" for
            padding and taking apart, "graph", "postprocess".
        groups: Times of a pass by group of operators, the longest first, scaled to what the graph takes without the
            profiler; empty where the operators ran on a device, whose times ONNX Runtime does not tell.
    """

    artifact: str
    provider: str
    precision: str
    precisions: tuple[str, ...]
    inputs: int
    rows: int
    batches: int
    tokens: int
    padding: int
    stages: Mapping[str, float]
    groups: tuple[GroupTime, ...]

    @property
    def milliseconds(self) -> float:
        """Of a pass over all inputs."""
        return sum(self.stages.values())

    @property
    def padding_share(self) -> float:
        """Which part of the tokens that ran was padding, 0 to 1."""
        return self.padding / max(1, self.tokens + self.padding)

    @property
    def work(self) -> Work:
        """What the products of a pass have to do at least."""
        return total(one.work for one in self.groups)


def profile(
    folder: str | Path,
    inputs: Sequence[object],
    *,
    task: str | None = None,
    provider: str = "auto",
    precision: str = "auto",
    num_threads: int | None = None,
    batching: BatchConfig | None = None,
    passes: int = PASSES,
) -> Profile:
    """Answer inputs again and again, and see where the time goes.

    Stages are timed without ONNX Runtime's profiler, which slows runs down; the operators' shares of the graph's time
    are taken from further runs with it.

    Args:
        folder: An artifact, or a folder of another tool; see `Model.load`.
        inputs: What a call of the pipeline takes in a list; 1 to 4096.
        task: Name of the task; by default the first that the model serves.
        provider: As for `Model.load`.
        precision: As for `Model.load`.
        num_threads: As for `Model.load`.
        batching: How lists are split; by default as the pipeline does.
        passes: Times that all are answered, at least 1.

    Raises:
        ConfigError: A task that writes texts, no inputs or too many, no passes; or as from `Model.load`.
        InvalidInputError, InputTooLongError: An input that the task can't read.
        ArtifactError, InferenceError: The model does not load, or does not run.
    """
    if not 1 <= len(inputs) <= MAX_INPUTS or passes < 1:
        raise ConfigError(
            f"a profile of {len(inputs)} inputs in {passes} passes requested",
            f"1 to {MAX_INPUTS} inputs can be profiled, in 1 pass or more",
            "pass others",
        )
    limits = batching or BatchConfig()
    pipe = _loaded(folder, task, provider, precision, num_threads)
    taken = [_pass(pipe, inputs, limits) for _ in range(passes + 1)][1:]  # the first one warms up
    stages = {name: float(np.median([one.stages[name] for one in taken])) for name in STAGES}
    groups: tuple[GroupTime, ...] = ()
    if pipe.model.on_cpu:
        with tempfile.TemporaryDirectory() as place:
            groups = _operators(
                _loaded(folder, task, provider, precision, num_threads, Path(place) / "run"), inputs, limits, passes
            )
    counts = taken[0]
    return Profile(
        artifact=pipe.model.artifact.folder.name,
        provider=pipe.model.provider,
        precision=pipe.model.precision,
        precisions=tuple(pipe.model.artifact.manifest.precisions),
        inputs=len(inputs),
        rows=counts.rows,
        batches=counts.batches,
        tokens=counts.tokens,
        padding=counts.padding,
        stages=stages,
        groups=_scaled(groups, stages["graph"]),
    )


def sentences(found: Profile, limit: Mapping[CeilingName, float]) -> list[str]:
    """Say what a profile means: where the time goes, what the machine would allow, and what to do.

    Args:
        found: The profile.
        limit: What the machine reaches (`ceilings.limits`); without it nothing is said of limits.
    """
    return [
        *_amounts(found),
        *_stages(found),
        *_padding(found),
        *_groups(found, limit),
        *_limit(found, limit),
        *_advice(found),
    ]


def measure_work(
    folder: str | Path, feeds: Sequence[Mapping[str, Array]], precision: str, provider: str = "cpu"
) -> list[Work]:
    """Say what a graph has to do at least for each of some inputs, for `Case.work`.

    Counted are products with weights, by the shapes that ONNX Runtime's profiler tells; those of attention are not.

    Args:
        folder: An artifact, or a folder of another tool.
        feeds: What `Model.run` takes; each is run once.
        precision: Of the graph: int8 weights are a quarter as many bytes to read as those in fp32.
        provider: One that runs on the CPU.

    Raises:
        ArtifactError, InferenceError, ConfigError: As from `Model.load` and `Model.run`.
    """
    with tempfile.TemporaryDirectory() as place:
        model = Model.load(folder, provider, precision, profile_to=Path(place) / "run")
        for feed in feeds:
            model.run(feed)
        nodes = _nodes(model)
    size = len(nodes) // max(1, len(feeds))  # every run is one of the same nodes
    return [total(map(work_of, nodes[n * size : (n + 1) * size])) for n in range(len(feeds))]


@dataclass(frozen=True, slots=True)
class _Pass:
    stages: Mapping[str, float]
    rows: int
    batches: int
    tokens: int
    padding: int


def _loaded(
    folder: str | Path,
    task: str | None,
    provider: str,
    precision: str,
    num_threads: int | None,
    profile_to: Path | None = None,
) -> Pipeline:
    model = Model.load(folder, provider, precision, num_threads=num_threads, profile_to=profile_to)
    served = model.artifact.manifest.task
    pipe = pipeline(task or next(iter(heads_served(served)), served), model)
    if pipe.writer is not None:
        raise ConfigError(
            f"a profile of {pipe.task} requested", "it writes texts, token by token", "profile a task that reads"
        )
    return pipe


def _pass(pipe: Pipeline, inputs: Sequence[object], limits: BatchConfig) -> _Pass:
    """Answer all inputs once, as the pipeline does, with a look at the clock between its stages."""
    start = time.perf_counter()
    encoded = pipe.encode(list(inputs))
    lap = time.perf_counter()
    spent = {"tokenize": lap - start, "batch": 0.0, "graph": 0.0, "postprocess": 0.0}
    rows, padding, batches = _run(pipe, encoded, limits, spent)
    lap = time.perf_counter()
    pipe.decode(encoded, rows)
    spent["postprocess"] += time.perf_counter() - lap
    tokens = sum(len(row.encoding.ids) for row in rows)
    return _Pass({name: 1e3 * seconds for name, seconds in spent.items()}, len(rows), batches, tokens, padding)


def _run(pipe: Pipeline, encoded: Encoded, limits: BatchConfig, spent: dict[str, float]) -> tuple[list[Row], int, int]:
    """Run the rows in batches; the rows, tokens of padding, and batches."""
    lap = time.perf_counter()
    lengths = [len(row.ids) for row in encoded.rows]
    batches = plan_batches(lengths, max_batch_size=limits.max_batch_size, max_batch_tokens=limits.max_batch_tokens)
    answered: dict[int, Row] = {}
    padding = 0
    for batch in batches:
        encodings = [encoded.rows[place] for place in batch]
        feed = pipe.tokenizer.pad(encodings)
        before = time.perf_counter()
        outputs = pipe.model.run(feed)
        after = time.perf_counter()
        rows = rows_of(pipe.model, pipe.tokenizer, encodings, outputs)
        answered |= {place: Row(encoded.rows[place], row) for place, row in zip(batch, rows, strict=True)}
        padding += len(batch) * max(lengths[place] for place in batch) - sum(lengths[place] for place in batch)
        spent["graph"] += after - before
        spent["batch"] += before - lap
        lap = after
    spent["batch"] += time.perf_counter() - lap
    return [answered[place] for place in range(len(lengths))], padding, len(batches)


def _operators(pipe: Pipeline, inputs: Sequence[object], limits: BatchConfig, passes: int) -> tuple[GroupTime, ...]:
    """Time the operators, in passes after one that warms up."""
    for _ in range(passes + 1):
        _pass(pipe, inputs, limits)
    nodes = _nodes(pipe.model)
    return by_group(nodes[len(nodes) // (passes + 1) :], passes)  # every pass runs the same nodes


def _nodes(model: Model) -> list[NodeRun]:
    """End the profile of a model that does not write, which has one graph; the runs of its nodes."""
    [session] = model.graphs.values()
    assert isinstance(session, OrtSession)
    return read_profile(session.end_profile())


def _scaled(groups: Sequence[GroupTime], milliseconds: float) -> tuple[GroupTime, ...]:
    """Bring the times of groups to what they take without the profiler."""
    whole = sum(one.milliseconds for one in groups)
    if whole <= 0.0:
        return ()
    factor = milliseconds / whole
    return tuple(GroupTime(one.group, one.milliseconds * factor, one.work, one.operators) for one in groups)


def _amounts(found: Profile) -> Iterator[str]:
    yield (
        f"{found.artifact} in {found.precision} on {found.provider} answered {_count(found.inputs, 'input')} with "
        f"{_count(found.tokens, 'token')} in {short(found.milliseconds)} ms, in {_count(found.batches, 'run')} of the "
        f"graph: {short(found.milliseconds / found.inputs)} ms an input."
    )


def _stages(found: Profile) -> Iterator[str]:
    parts = [f"{name} {short(taken)} ms ({taken / found.milliseconds:.0%})" for name, taken in found.stages.items()]
    yield f"Where that went: {', '.join(parts)}."


def _padding(found: Profile) -> Iterator[str]:
    yield f"Padding was {found.padding_share:.0%} of the tokens that ran."


def _groups(found: Profile, limit: Mapping[CeilingName, float]) -> Iterator[str]:
    whole = sum(one.milliseconds for one in found.groups)
    if not found.groups:
        yield (
            "What the operators took is not known: on this provider ONNX Runtime only hands them to a device. Use the "
            "profiler of its maker."
        )
        return
    parts = [f"{one.group} {one.milliseconds / whole:.0%}" for one in found.groups if one.milliseconds >= 0.01 * whole]
    yield f"Within the graph: {', '.join(parts)}."
    for one in found.groups:
        share = _share_of_limit(one, limit)
        if share is not None and one.milliseconds >= 0.1 * whole:
            yield (
                f"The {one.group} run at {min(share, 1.0):.0%} of what this machine reaches for them: "
                + (
                    "there is little left to gain in them."
                    if share >= NEAR_LIMIT
                    else f"at the limit they would take {short(one.milliseconds * share)} ms instead of "
                    f"{short(one.milliseconds)}. Short texts, small batches or other programs keep them from it."
                )
            )


def _limit(found: Profile, limit: Mapping[CeilingName, float]) -> Iterator[str]:
    least = 0.0
    for one in found.groups:
        share = _share_of_limit(one, limit)
        least += 0.0 if share is None else min(1.0, share) * one.milliseconds
    if least > 0.0:
        yield (
            f"Were there nothing but these products, at the limit of this machine, all would take {short(least)} ms: "
            f"no runtime answers this with this graph more than {found.milliseconds / least:.1f} times as quickly here."
        )


def _advice(found: Profile) -> Iterator[str]:
    shares = {name: taken / found.milliseconds for name, taken in found.stages.items()}
    graph = max(found.stages["graph"], 1e-9)
    groups = {one.group: one.milliseconds / graph for one in found.groups}
    if found.padding_share >= MUCH_PADDING:
        yield (
            "Do: pass texts of more equal length together, or name a smaller batch_size. Without padding the graph "
            f"would have {found.padding_share:.0%} fewer tokens to read."
        )
    if shares["tokenize"] >= MUCH_OUTSIDE:
        yield (
            f"Do: pass texts in longer lists, which are tokenized on several threads: tokenizing is "
            f"{shares['tokenize']:.0%} of the time."
        )
    if shares["postprocess"] >= MUCH_OUTSIDE:
        yield (
            f"Do: ask for less. Making results of the outputs is {shares['postprocess']:.0%} of the time; options such "
            "as top_k decide how much of them is made."
        )
    if groups.get("products in fp32", 0.0) >= 0.3 and found.precision == "fp32":
        others = [name for name in found.precisions if name.startswith("int8")]
        yield (
            f"Do: try precision='{others[0]}', which the artifact holds: products in fp32 are "
            f"{groups['products in fp32']:.0%} of the graph."
            if others
            else "Do: export with --precision int8 and look at the quality it reports: products in fp32 are "
            f"{groups['products in fp32']:.0%} of the graph."
        )
    if groups.get("attention", 0.0) >= MUCH_ATTENTION:
        yield (
            f"Do: shorten texts, with truncation and max_length, if the task bears it: attention is "
            f"{groups['attention']:.0%} of the graph, and grows with the square of the length."
        )
    if groups.get("quantizing", 0.0) >= MUCH_QUANTIZING:
        yield (
            f"Do: try precision 'int8-static', whose scales are known beforehand: finding them at each run is "
            f"{groups['quantizing']:.0%} of the graph."
        )
    if found.inputs > 1 and found.batches == found.inputs and found.tokens < 64 * found.inputs:
        yield "Do: let short texts share runs: here each ran alone. Leave out strict_batching, or raise batch_size."


def _share_of_limit(one: GroupTime, limit: Mapping[CeilingName, float]) -> float | None:
    product = limit_of(one.group)
    if product is None or one.milliseconds <= 0.0:
        return None
    least = least_seconds(one.work, product, limit)
    return None if not least else 1e3 * least / one.milliseconds


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"
