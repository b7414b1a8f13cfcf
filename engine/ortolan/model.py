"""`Model`: tokenized texts in, raw outputs out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ortolan.artifact import Artifact
from ortolan.choice import Way, attention_forms, tuned
from ortolan.config import PRECISIONS, Precision, SessionConfig
from ortolan.errors import (
    ConfigError,
    InvalidInputError,
    ProviderError,
    SessionError,
    ShapeError,
    SignatureError,
    UnverifiedWarning,
    warn_caller,
)
from ortolan.foreign import EXPORT_IT, check_graph
from ortolan.growing import in_place, writes_in_place
from ortolan.manifest import Graph, PrecisionRecord
from ortolan.request import TextInput
from ortolan.session.base import Array, Session, Signature, Stop, conform
from ortolan.session.ort import OrtSession
from ortolan.session.processors import usable_threads
from ortolan.session.providers import (
    PROVIDERS,
    Provider,
    asked_for,
    candidates,
    check_options,
    check_runs,
    choose_precision,
    provider_named,
)
from ortolan.session.shared import open_shared
from ortolan.teacher_forcing import decoder_start_id, is_cached, shift_right, whole_texts
from ortolan.tokenize import Tokenizer

DECODER_IDS = "decoder_input_ids"
"""Input of a decoder: what has been written so far, int64 [B, T]."""


class ModelOutput(Mapping[str, Array]):
    """Outputs of a graph: `outputs.logits`, `outputs["logits"]` and `outputs[0]` are the same array."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)

    def __getitem__(self, key: str | int) -> Array:
        return list(self._arrays.values())[key] if isinstance(key, int) else self._arrays[key]

    def __getattr__(self, name: str) -> Array:
        try:
            return self.__dict__["_arrays"][name]  # type: ignore[no-any-return]  # filled in __init__ with arrays
        except KeyError:
            raise AttributeError(f"no output {name!r}; there are {list(self.__dict__.get('_arrays', ()))}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"ModelOutput({', '.join(f'{k}: {v.dtype}{list(v.shape)}' for k, v in self._arrays.items())})"


class Model:
    """A loaded artifact at one precision on one provider. Safe to call from several threads.

    Attributes:
        artifact: The opened folder.
        tokenizer: Its tokenizer.
        precision: One of `PRECISIONS`, chosen or asked for.
        reason: Why this precision.
        num_threads: Threads of one run.
        tuned_seconds: What `ortolan tune` found runs to take on this machine, by rows and length; empty without it.
        sequence_outputs: Outputs [B, S, ...], which have a value for each token.
        graphs: Its loaded graphs: "model" alone, or "encoder" and "decoder". Those of a model that writes work on a
            cache that is handed in; the model itself hands in an empty one, and answers whole texts.
    """

    def __init__(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer,
        session: Session,
        precision: Precision,
        reason: str,
        *,
        num_threads: int = 1,
        tuned_seconds: Mapping[tuple[int, int], float] | None = None,
        open_widths: Callable[[Sequence[int]], Mapping[int, Session]] | None = None,
        graphs: Mapping[str, Session] | None = None,
    ) -> None:
        """Bind a session to what belongs to it; `load` is the usual way to get a model.

        Args:
            artifact: The opened folder.
            tokenizer: Its tokenizer.
            session: Its loaded graph.
            precision: Which of its graphs.
            reason: Why this one.
            num_threads: Threads of one run of the session.
            tuned_seconds: What `ortolan tune` found runs to take, by rows and length.
            open_widths: Loads the graph for several numbers of threads.
            graphs: What `session` is made of, by role, where that is more than a lone graph.
        """
        self.artifact = artifact
        self.tokenizer = tokenizer
        self.precision = precision
        self.reason = reason
        self.num_threads = num_threads
        self.tuned_seconds = dict(tuned_seconds or {})
        self._open_widths = open_widths
        self._session = session
        self.graphs = {"model": session} if graphs is None else dict(graphs)
        self._inputs = {spec.name: spec for spec in session.signature.inputs}
        self.sequence_outputs = frozenset(
            # an axis that varies and is not the first one counts tokens; labels and vectors have a length of their own
            spec.name
            for spec in session.signature.outputs
            if len(spec.shape) > 1 and isinstance(spec.shape[1], str)
        )

    @classmethod
    def load(
        cls,
        path: str | Path,
        provider: str = "auto",
        precision: str = "auto",
        *,
        num_threads: int | None = None,
        device_id: int = 0,
        cache_dir: str | Path | None = None,
        provider_options: Mapping[str, object] | None = None,
        profile_to: Path | None = None,
    ) -> Model:
        """Open an artifact, check the files that will be used, and load its graph.

        A folder that optimum, transformers.js or sentence-transformers exported loads too. Its quality is unknown:
        an `UnverifiedWarning` says so, and which of its files was chosen.

        Args:
            path: An artifact folder, or a folder of one of these tools.
            provider: "cpu", "cuda", "tensorrt", "openvino", "dml", "coreml", or "auto" for the best that comes up.
            precision: "fp32", "int8", "int8-static", "int4", "fp16", or "auto": what `ortolan tune` chose on this
                machine; without that what the provider runs best, on a CPU int8 where it multiplies int8 natively,
                else fp32.
            num_threads: Threads of one run; by default the processors that this process may use, or what
                `ortolan tune` chose.
            device_id: Which device, where the provider has several.
            cache_dir: Where TensorRT, OpenVINO and CoreML keep what they compiled, and `ortolan tune` its choice, by
                default in the user's cache folder.
            provider_options: What this provider takes beside these, such as `{"arena_bytes": 2 << 30}` for "cuda"
                (docs/providers.md).
            profile_to: As in `SessionConfig`.

        Raises:
            MissingFileError: A file is not there.
            HashMismatchError: A file differs from what was exported.
            SignatureError: The graph is not the one that the manifest describes; without manifest, it has inputs or
                outputs that its task has no use for.
            ProviderError: The provider asked for does not come up, or no ONNX Runtime is installed.
            ConfigError: Unknown provider or precision, one that this artifact lacks, a precision that the provider
                has no kernels for, or an option that it does not take.
        """
        config = SessionConfig(
            provider=provider,
            num_threads=num_threads,
            device_id=device_id,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            provider_options=dict(provider_options or {}),
            profile_to=profile_to,
        )
        if config.provider_options:
            check_options(provider_named(config.provider), config)
        wanted = _check_precision(precision)
        artifact = Artifact.open(path)
        artifact.check(artifact.tokenizer_files())
        tokenizer = Tokenizer.load(artifact.folder, max_length=artifact.manifest.max_length)
        failures: list[str] = []
        for row in candidates(config.provider):
            choice = tuned(artifact, row.name, config.cache_dir) if wanted is None else None
            way = None if choice is None else choice.way
            chosen, reason = _choose(artifact, row, wanted) if choice is None else (choice.way.precision, choice.reason)
            try:
                num_threads = config.num_threads or (way.num_threads if way else usable_threads())
                graphs = open_graphs(artifact, row, config, chosen, way)
                model = cls(
                    artifact,
                    tokenizer,
                    whole_texts(graphs, artifact.config),
                    chosen,
                    "; ".join([*failures, reason]),
                    num_threads=num_threads,
                    tuned_seconds=choice.seconds if choice and num_threads == choice.way.num_threads else None,
                    open_widths=partial(_open_widths, artifact, row, config, chosen, way),
                    graphs=graphs,
                )
                if config.provider == "auto" and row.name != "cpu":
                    model._probe()  # a provider may load a graph and then have no kernel for this device
            except (ProviderError, SessionError) as error:
                if config.provider != "auto":
                    raise
                failures.append(f"{row.name}: {error.found}")
                continue
            if artifact.is_foreign:
                warnings.warn(_unverified(artifact, chosen), UnverifiedWarning, stacklevel=2)
            return model
        raise ProviderError(
            "a provider requested",
            f"none comes up: {'; '.join(failures) or 'none is available'}",
            "reinstall onnxruntime",
        )

    def replicas(self, widths: Sequence[int]) -> dict[int, Model]:
        """Load the graph for runs on several numbers of threads, which share one copy of the weights.

        If its own number is among them, from then on this model runs on that copy too, and lets its own go.

        Args:
            widths: Numbers of threads.

        Returns:
            A model for each of them.

        Raises:
            SessionError: The graph does not load once more.
        """
        if self._open_widths is None or list(widths) == [self.num_threads]:
            return dict.fromkeys(widths, self)  # of a session that was made by hand there is just the one
        sessions = self._open_widths(widths)
        self._session = sessions.get(self.num_threads, self._session)
        return {
            width: self
            if width == self.num_threads
            else Model(self.artifact, self.tokenizer, session, self.precision, self.reason, num_threads=width)
            for width, session in sessions.items()
        }

    @property
    def on_cpu(self) -> bool:
        """Whether its runs take threads of this machine, and not a device."""
        return self.provider not in PROVIDERS or PROVIDERS[self.provider].on_cpu

    @property
    def provider(self) -> str:
        """Short name of the provider that really runs the graph."""
        return self._session.provider

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the loaded graph."""
        return self._session.signature

    def __call__(self, **inputs: ArrayLike) -> ModelOutput:
        """Run the graph: `run` with the inputs as keywords, as in `model(**model.tokenizer(texts))`."""
        return self.run(inputs)

    def run(self, inputs: Mapping[str, ArrayLike], stop: Stop | None = None) -> ModelOutput:
        """Run the graph.

        Args:
            inputs: Arrays [B, S] by name, as `tokenizer` returns them. Inputs that the graph does not read are
                ignored. Where the graph reads them, `token_type_ids` default to zeros, `position_ids` to the count of
                real tokens before each token, and `decoder_input_ids`, which may be of another length [B, T], to
                `input_ids` one place later.
            stop: Ends the run early when another thread sets it.

        Returns:
            Raw outputs, such as `logits`, float32 [B, V], before softmax.

        Raises:
            InvalidInputError: An input is missing.
            ShapeError: Not [B, S], empty, longer than the model reads, or inputs that disagree.
            SessionError: ONNX Runtime failed, `stop` ended the run, or the model was loaded before a fork.
        """
        feed = {
            name: conform(_as_array(name, inputs[name]), spec) for name, spec in self._inputs.items() if name in inputs
        }
        if "token_type_ids" in self._inputs and "token_type_ids" not in feed and "input_ids" in feed:
            feed["token_type_ids"] = np.zeros_like(feed["input_ids"])
        if "position_ids" in self._inputs and "position_ids" not in feed and "attention_mask" in inputs:
            before = np.cumsum(_as_array("attention_mask", inputs["attention_mask"]), axis=-1) - 1
            feed["position_ids"] = conform(np.maximum(before, 0), self._inputs["position_ids"])
        if DECODER_IDS in self._inputs and DECODER_IDS not in feed and "input_ids" in feed:
            feed[DECODER_IDS] = shift_right(feed["input_ids"], self._decoder_start)
        missing = [name for name in self._inputs if name not in feed]
        if missing:
            raise InvalidInputError(
                f"a run with {sorted(inputs)} requested",
                f"{', '.join(missing)} is missing",
                "pass model(**tokenizer(texts))",
            )
        self._check_shapes(feed)
        outputs = self._session.run(feed, stop)
        # graphs of other tools may answer in float16, in which probabilities would be coarse
        halves = {name: array.astype(np.float32) for name, array in outputs.items() if array.dtype == np.float16}
        return ModelOutput({**outputs, **halves})

    def _probe(self) -> None:
        golden = self.artifact.manifest.golden_inputs
        text = golden[0].input if golden else TextInput("a")
        self(**self.tokenizer.pad(self.tokenizer.encode([text], self.tokenizer.truncation(True, None))))

    @cached_property
    def _decoder_start(self) -> int:
        return decoder_start_id(self.artifact.config, self.artifact.generation_config)

    def _check_shapes(self, feed: Mapping[str, Array]) -> None:
        shapes = {name: array.shape for name, array in feed.items()}
        longest = self.artifact.manifest.max_length
        read = {shape for name, shape in shapes.items() if name != DECODER_IDS}
        written = {shapes[DECODER_IDS]} if DECODER_IDS in shapes else set()
        is_right = all(len(shape) == 2 and 0 not in shape and shape[1] <= longest for shape in (*read, *written))
        if not is_right or len(read) > 1 or len({shape[0] for shape in (*read, *written)}) > 1:
            raise ShapeError(
                f"a run with { ({k: list(v) for k, v in shapes.items()}) } requested",
                f"inputs are [B, S], equal, not empty, with S at most {longest}",
                "pass model(**tokenizer(texts, truncation=True))",
            )


def open_session(
    artifact: Artifact, provider: Provider, config: SessionConfig, precision: Precision, way: Way | None = None
) -> Session:
    """Load the graphs of one precision as what reads whole texts; see `open_graphs`."""
    return whole_texts(open_graphs(artifact, provider, config, precision, way), artifact.config)


def open_graphs(
    artifact: Artifact, provider: Provider, config: SessionConfig, precision: Precision, way: Way | None = None
) -> dict[str, Session]:
    """Load the graphs of one precision, by role, after checking their hashes, and their signatures after that.

    A decoder whose cache grows gets a stand-in that writes in place; see `ortolan.growing`.

    Args:
        artifact: Where the graphs are.
        provider: Where they shall run.
        config: Threads, device, cache.
        precision: Which graphs.
        way: How to run it; by default as the export found best, with all threads. Threads in `config` go first.

    Raises:
        HashMismatchError: The file differs from what was exported.
        SignatureError: The graph is not the one that the manifest describes, or without manifest not one to run.
        ProviderError: A decoder that writes its cache in place, on another provider than the CPU.
    """
    graphs, disabled = _graphs_of(artifact, provider, precision, way)
    _check_in_place(graphs, provider)
    if way is not None and config.num_threads is None:
        config = replace(config, num_threads=way.num_threads)
    return in_place({role: _open(artifact, provider, config, graph, disabled) for role, graph in graphs.items()})


def _check_in_place(graphs: Mapping[str, Graph], provider: Provider) -> None:
    """Refuse a cache in main memory that a device would have to write in place: it would work on a copy of its own."""
    if provider.name != "cpu" and any(writes_in_place(graph.signature) for graph in graphs.values()):
        raise ProviderError(
            f"provider '{provider.name}' for a model that writes requested",
            "its cache lies in main memory, where the CPU's operators alone write in place",
            "choose 'cpu', or export the checkpoint with layout 'portable', whose cache is handed in and out",
        )


def _open(
    artifact: Artifact, provider: Provider, config: SessionConfig, graph: Graph, disabled: Sequence[str]
) -> OrtSession:
    artifact.check(artifact.files_of(graph))
    if artifact.is_foreign:
        check_graph(graph, artifact.manifest)
    if config.profile_to is not None:  # a name for each graph: they are loaded within the second that names a file
        config = replace(
            config, profile_to=config.profile_to.with_name(f"{config.profile_to.name}-{Path(graph.file).stem}")
        )
    session = OrtSession(artifact.folder / graph.file, provider, config, disabled)
    if session.signature != graph.signature and not artifact.is_foreign:  # there it was read from the graph itself
        raise SignatureError(
            f"graph '{graph.file}' requested",
            f"it has {_shown(session.signature)} and the manifest says {_shown(graph.signature)}",
            "export the checkpoint again",
        )
    return session


def _open_widths(
    artifact: Artifact,
    provider: Provider,
    config: SessionConfig,
    precision: Precision,
    way: Way | None,
    widths: Sequence[int],
) -> Mapping[int, Session]:
    graphs, disabled = _graphs_of(artifact, provider, precision, way)
    graph = graphs.get("model")
    if provider.shares_weights and graph is not None and not is_cached(graph.signature):
        artifact.check(artifact.files_of(graph))
        try:
            return open_shared(artifact.folder / graph.file, provider, config, disabled, widths)
        except SessionError as error:
            warn_caller(f"each of the sessions on {', '.join(map(str, widths))} threads holds its own weights: {error}")
    return {
        width: open_session(artifact, provider, replace(config, num_threads=width), precision, way) for width in widths
    }


def _graphs_of(
    artifact: Artifact, provider: Provider, precision: Precision, way: Way | None
) -> tuple[Mapping[str, Graph], Sequence[str]]:
    """The graphs of a precision, and the rewrites to leave out."""
    record: PrecisionRecord = artifact.manifest.precisions[precision]
    if way is None:
        return record.graphs, record.disabled_optimizers(provider.name)
    forms = attention_forms(record)
    return {"model": forms[way.attention]} if forms else record.graphs, way.disabled_optimizers


def _unverified(artifact: Artifact, precision: Precision) -> str:
    left_out = artifact.manifest.source["left_out"]
    file = " and ".join(graph.file for graph in artifact.manifest.precisions[precision].graphs.values())
    others = [name for name, other in left_out.items() if other == precision]
    choice = f"{precision} is {file}" + (f" and not {', '.join(others)}" if others else "")
    return (
        f"'{artifact.folder}' was exported by another tool, and nothing says how far its answers are from those of the "
        f"original; {choice}; for evidence, {EXPORT_IT}"
    )


def _as_array(name: str, value: ArrayLike) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different length
        raise ShapeError(
            f"{name} requested", f"it is no rectangle ({error})", "pass model(**tokenizer(texts))"
        ) from error
    if array.dtype.kind not in "biuf":
        raise InvalidInputError(f"{name} requested", f"got {array.dtype} values", "pass model(**tokenizer(texts))")
    return array


def _shown(signature: Signature) -> str:
    specs = (*signature.inputs, *signature.outputs)
    return ", ".join(f"{spec.name} {spec.dtype}[{', '.join(map(str, spec.shape))}]" for spec in specs)


def _check_precision(precision: str) -> Precision | None:
    for known in PRECISIONS:
        if precision == known:
            return known
    if precision == "auto":
        return None
    raise ConfigError(f"precision {precision!r} requested", "no such precision", f"use auto, {', '.join(PRECISIONS)}")


def _choose(artifact: Artifact, provider: Provider, wanted: Precision | None) -> tuple[Precision, str]:
    available = tuple(artifact.manifest.precisions)
    if wanted is None:
        return choose_precision(provider, available)
    if wanted not in available:
        raise ConfigError(
            f"precision '{wanted}' requested",
            f"the artifact holds {', '.join(available)}",
            "choose one of those, or export it with --precision",
        )
    check_runs(provider, wanted)
    return wanted, asked_for(provider, wanted)
