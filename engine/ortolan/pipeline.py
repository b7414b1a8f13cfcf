"""`pipeline()`: a task and a model become a callable. Start reading here.

inputs.py -> request.py -> tokenize.py -> batch/ -> session/ (by forward.py and model.py) -> postprocess/ (by tasks/)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ortolan.config import BatchConfig
from ortolan.errors import ConfigError, InvalidInputError, NonFiniteError, OrtolanError, RequestError, UnknownTaskError
from ortolan.forward import Row, forward
from ortolan.generation.config import GenerationConfig
from ortolan.generation.loop import Writer, check_one_text, generate, stream
from ortolan.generation.pieces import Pieces, pieces
from ortolan.inputs import Stream, as_list, as_stream, is_one
from ortolan.locate import cache_folder, locate
from ortolan.model import Model
from ortolan.progress import Bar
from ortolan.tasks.base import BATCH_OPTIONS, LENGTH_OPTIONS, ModelFacts, Task, Writes, true_or_false, whole_number
from ortolan.tasks.registry import heads_served, task_named
from ortolan.tokenize import Encoding, Tokenizer, Truncation

CALL_OPTIONS = (*BATCH_OPTIONS, "progress")
"""Options that every pipeline has."""

WRITER_OPTIONS = (*CALL_OPTIONS, "cache_bytes")
"""Options that every pipeline has whose task writes."""


def pipeline(
    task: str,
    model: str | Path | Model | None = None,
    *,
    tokenizer: str | Path | Tokenizer | None = None,
    revision: str | None = None,
    provider: str = "auto",
    precision: str = "auto",
    cache_dir: str | Path | None = None,
    **task_options: object,
) -> Pipeline:
    """Make a callable for a task, as `transformers.pipeline` does.

    Args:
        task: A name that transformers uses, such as "text-classification" or "ner"; `ortolan.tasks.registry` lists
            them.
        model: An artifact folder, a local checkpoint, a Hub id, or a loaded `Model`. A checkpoint is exported once
            into the cache, which needs the `export` extra. Graphs that optimum, transformers.js or
            sentence-transformers exported run as they are, with an `UnverifiedWarning`. None for the default of the
            task.
        tokenizer: Another tokenizer than the model's own: a folder with tokenizer.json, or a loaded one.
        revision: Branch, tag or commit on the Hub.
        provider: "cpu", "cuda", "tensorrt", "openvino", "dml", "coreml", or "auto".
        precision: "fp32", "int8", or "auto": int8 where the CPU multiplies int8 natively, else fp32.
        cache_dir: Where exports are kept; by default ORTOLAN_CACHE, else the user's cache folder.
        task_options: Defaults for the options of a call; see `Pipeline.__call__`.

    Raises:
        UnknownTaskError: No such task, or one that the artifact has no head for.
        ArtifactError: The model can't be found, exported (a checkpoint without such a head), or loaded; see its
            subclasses.
        ConfigError: An option with a value that is not allowed.
    """
    chosen = task_named(task)
    if isinstance(model, Model):
        loading = {"revision": (revision, None), "provider": (provider, "auto"), "precision": (precision, "auto")}
        ignored = [name for name, (value, default) in loading.items() if value != default]
        if ignored:
            raise ConfigError(
                f"{', '.join(ignored)} requested", "the model is loaded already", "pass them to Model.load instead"
            )
    else:
        cache = cache_folder(None if cache_dir is None else Path(cache_dir))
        folder = locate(
            model, chosen.heads[0], default_for=chosen.name, revision=revision, cache_dir=cache, precision=precision
        )
        model = Model.load(folder, provider, precision, cache_dir=cache)
    served = model.artifact.manifest.task
    if served not in chosen.heads:
        others = " or ".join(f"'{name}'" for name in heads_served(served) or [served])
        raise UnknownTaskError(
            f"task '{chosen.name}' requested", f"the model serves {others}", f"use task {others} or another model"
        )
    if tokenizer is None:
        tokenizer = model.tokenizer
    elif not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer, max_length=model.artifact.manifest.max_length)
    return Pipeline(chosen, model, tokenizer, task_options)


@dataclass(frozen=True, slots=True)
class _Call:
    """The checked options of one call."""

    task_options: Any
    truncation: Truncation
    batching: BatchConfig
    is_strict: bool
    cache_bytes: int | None
    stream_window: int
    shows_progress: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """Inputs as rows of tokens, and what has to be known to make results of what the graph answers to them.

    Attributes:
        rows: All rows, those of the first input first.
        is_strict: Whether each row must run alone.
    """

    rows: list[Encoding]
    is_strict: bool
    _payloads: list[Any]
    _sizes: list[int]
    _call: _Call
    _single: Any
    _called_with: Mapping[str, object]


class Pipeline:
    """A task bound to a model. Safe to call from several threads.

    Attributes:
        task: Name of the task.
        model: The loaded model.
        tokenizer: What tokenizes for it.
        writer: What writes, with the prompts that it has kept; None where the task does not write.
    """

    def __init__(
        self, task: Task[Any, Any], model: Model, tokenizer: Tokenizer, defaults: Mapping[str, object]
    ) -> None:
        self._task = task
        self.model = model
        self.tokenizer = tokenizer
        self._writes: Writes[Any] | None = task if isinstance(task, Writes) else None
        self.writer = None if self._writes is None else Writer(model, tokenizer)
        artifact = model.artifact
        self._facts = ModelFacts(
            artifact.config,
            artifact.id2label,
            tokenizer,
            artifact.pooling,
            {} if self.writer is None else artifact.generation_config,
        )
        self._defaults = dict(defaults)
        self._default_options = self._task_options(defaults, None)
        self._default_call = self._options({})

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._task.name

    @property
    def writes(self) -> bool:
        """Whether the task writes texts, token by token."""
        return self.writer is not None

    @property
    def cache_bytes(self) -> int | None:
        """What the cache of texts that are written may take; None for a share of what the process may use."""
        return self._default_call.cache_bytes

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Answer one input, a list, or a stream.

        Args:
            args: What is to be answered: for most tasks a text; a list of them, which may be an array [N] or a column
                of a table in memory; or any other iterable of them, which is read as it is answered. docs/tasks.md
                says what each task reads.
            options: `batch_size`, `strict_batching`, `progress` (True shows on stderr how far a list has come, or a
                stream of known length), for most tasks `truncation` (False refuses a text that is too
                long, True cuts it) and `max_length` in tokens, and the task's own. Lists are sorted into batches of
                similar length unless `batch_size` says how many rows go together; streams run one at a time unless it
                does. `strict_batching=True` runs each text alone, so that no result depends on the texts beside it,
                whatever the precision: lists take longer (docs/tasks.md, "Who shares a batch").

        Returns:
            What transformers returns: a result, a list with one for each input, or for a stream an iterator.

        Raises:
            InvalidInputError: An input that can't be read; in a list the error names its index, and nothing is run.
                A stream raises it when it comes to that input, after the answers to those before.
            InputTooLongError: A text longer than the model reads, and truncation was not asked for.
            ConfigError: An option that the task does not have, or with a value that is not allowed.
            NonFiniteError: The graph answered NaN or infinity.
        """
        inputs, options = self._task.arguments(args, options)
        call = self._options(options) if options else self._default_call
        if is_one(inputs):
            payload = self._task.parse(inputs, None)
            return self._task.present(self._run([payload], call, None), inputs, options)
        if (items := as_list(inputs)) is None:
            return self._stream(_checked(as_stream(inputs), call), call)
        payloads = [self._task.parse(item, index) for index, item in enumerate(items)]
        if not call.shows_progress:
            return self._task.present(self._run(payloads, call, 0), None, options)
        with closing(Bar(len(payloads), self.task, shows_rate=True)) as bar:
            return self._task.present(self._run(payloads, call, 0, bar), None, options)

    def stream(self, prompt: Any, **options: Any) -> Generator[str, None, None]:
        """Write one text, and tell it as it is written; for tasks that write.

        Args:
            prompt: What is to be continued or answered: one input, as for a call.
            options: As for a call; those that say what is returned of a text change nothing.

        Returns:
            A generator of pieces of what is written, without the prompt. None ends within a character, or within a
            stop string. Closing the generator, or forgetting it, ends the writing.

        Raises:
            ConfigError: A task that does not write, several texts or beams, or as for a call.
            InvalidInputError, InputTooLongError: As for a call; or it is a list, or a stream.
            NonFiniteError, SessionError: As for a call; from the iterator.
        """
        if self.writer is None:
            raise ConfigError("a stream requested", f"{self.task} does not write", "call the pipeline itself")
        encoded = self.encode(prompt, **options)
        told = self.pieces(encoded)
        return stream(
            self.writer,
            encoded.rows[0],
            self.writing(encoded),
            told,
            cache_bytes=encoded._call.cache_bytes,
            reuses_prefixes=not encoded._call.is_strict,
        )

    async def astream(self, prompt: Any, **options: Any) -> AsyncGenerator[str, None]:
        """Do what `stream` does for an event loop: the writing is done in threads, and does not hold it up.

        Args:
            prompt: As for `stream`.
            options: As for `stream`.

        Yields:
            As `stream`.

        Raises:
            OrtolanError: As `stream`, with the first piece.
        """
        from ortolan.generation.asynchronous import in_threads

        async for piece in in_threads(lambda: self.stream(prompt, **options)):
            yield piece

    def attempt(self, items: Sequence[object], first: int = 0, **options: Any) -> list[Any]:
        """Answer what can be answered of a list, and say of the rest why not.

        Args:
            items: Inputs, as in a list that is passed to the pipeline itself.
            first: Position of the first of them in the caller's list, for messages.
            options: As for a call.

        Returns:
            For each input its result, not nested further; or in its place the `RequestError` or `NonFiniteError` that
            it alone would raise.

        Raises:
            ConfigError: An option that the task does not have, or with a value that is not allowed.
            SessionError: ONNX Runtime failed.
        """
        return self._attempt(items, self._options(options) if options else self._default_call, first)

    def encode(self, *args: Any, **options: Any) -> Encoded:
        """Do the part of a call that comes before the graph.

        Args:
            args: One input, or a list of them, as for a call.
            options: As for a call, without those that say how a list is split and shown: `batch_size`, `progress`.

        Raises:
            InvalidInputError: An input that can't be read, or a stream.
            InputTooLongError: A text longer than the model reads, and truncation was not asked for.
            ConfigError: An option that the task does not have, or with a value that is not allowed.
        """
        inputs, options = self._task.arguments(args, options)
        if own := [name for name in ("batch_size", "progress") if name in options]:
            raise ConfigError(f"{', '.join(own)} requested", "whoever runs the rows decides about them", "leave it out")
        call = self._options(options) if options else self._default_call
        is_single = is_one(inputs)
        items = [inputs] if is_single else as_list(inputs)
        if items is None:
            as_stream(inputs)  # refuses what is none
            raise InvalidInputError("an answer requested", "got a stream", "send one input, or a list")
        payloads = [self._task.parse(item, None if is_single else index) for index, item in enumerate(items)]
        first = None if is_single else 0
        groups = self._task.encode(payloads, self._facts, call.task_options, call.truncation, first)
        return Encoded(
            [row for group in groups for row in group],
            call.batching.max_batch_size == 1,
            payloads,
            [len(group) for group in groups],
            call,
            inputs if is_single else None,
            options,
        )

    def decode(self, encoded: Encoded, rows: Sequence[Row]) -> Any:
        """Do the part of a call that comes after the graph.

        Args:
            encoded: What `encode` returned.
            rows: Its rows with what the graph answered, in their order.

        Raises:
            NonFiniteError: The graph answered NaN or infinity.
        """
        left = iter(rows)
        results = [
            self._task.decode(payload, list(islice(left, size)), self._facts, encoded._call.task_options)
            for payload, size in zip(encoded._payloads, encoded._sizes, strict=True)
        ]
        return self._task.present(results, encoded._single, encoded._called_with)

    def decode_texts(self, encoded: Encoded, texts: Sequence[Sequence[Row]]) -> Any:
        """Do the same for a task that writes.

        Args:
            encoded: What `encode` returned.
            texts: For each of its rows a row for each text that was written to it; see `ortolan.generation.loop`.
        """
        left = iter(texts)
        sizes = [sum(len(next(left)) for _ in range(size)) for size in encoded._sizes]
        return self.decode(replace(encoded, _sizes=sizes), [row for some in texts for row in some])

    def writing(self, encoded: Encoded) -> GenerationConfig:
        """Say how the rows of a task that writes are continued, or answered.

        Raises:
            ConfigError: Another task.
        """
        if self._writes is None:
            raise ConfigError("a text requested", f"{self.task} does not write", "call the pipeline itself")
        return self._writes.writing(encoded._call.task_options)

    def pieces(self, encoded: Encoded) -> Pieces:
        """Make what turns tokens into text as they are written, for a task that writes.

        Raises:
            InvalidInputError: Several inputs.
            ConfigError: Another task, several texts or beams.
        """
        config = self.writing(encoded)
        if encoded._single is None or len(encoded.rows) != 1:
            raise InvalidInputError("a stream requested", "got several inputs", "send one; start a stream for each")
        check_one_text(config)
        assert self._writes is not None
        decoding = self._writes.decoding(encoded._call.task_options)
        return pieces(
            self.tokenizer,
            config.stop_strings,
            skip_special_tokens=decoding.skips_special,
            cleans_up=decoding.cleans_up,
        )

    def _attempt(self, items: Sequence[object], call: _Call, first: int) -> list[Any]:
        payloads: dict[int, Any] = {}
        faults: dict[int, Any] = {}
        for position, item in enumerate(items, start=first):
            try:
                payloads[position] = self._task.parse(item, position)
            except RequestError as error:
                faults[position] = error
        outcomes = {**faults, **self._outcomes(payloads, call)}
        return [outcomes[position] for position in range(first, first + len(items))]

    def _outcomes(self, payloads: Mapping[int, Any], call: _Call) -> dict[int, Any]:
        """Results by position, with an error in the place of each that can't be had."""
        first = next(iter(payloads), 0)
        try:
            return dict(zip(payloads, self._run(list(payloads.values()), call, first), strict=True))
        except (RequestError, NonFiniteError) as error:
            if len(payloads) == 1:
                return {first: error}
        faults = {}
        for position, payload in payloads.items():  # most faults are seen in tokens: nothing has to run for them
            try:
                self._task.encode([payload], self._facts, call.task_options, call.truncation, position)
            except RequestError as error:
                faults[position] = error
        if faults:
            sound = {position: payload for position, payload in payloads.items() if position not in faults}
            return {**faults, **self._outcomes(sound, call)}
        alone = [self._outcomes({position: payload}, call) for position, payload in payloads.items()]
        return {position: outcome for one in alone for position, outcome in one.items()}

    def _run(self, payloads: list[Any], call: _Call, first: int | None, bar: Bar | None = None) -> list[Any]:
        """Tokenize, batch, run and decode; one result for each payload, in order."""
        task, facts = self._task, self._facts
        groups = task.encode(payloads, facts, call.task_options, call.truncation, first)
        places = [(owner, place) for owner, group in enumerate(groups) for place in range(len(group))]
        waiting: list[dict[int, Sequence[Row]]] = [{} for _ in groups]
        results: list[Any] = [None] * len(payloads)
        answered = 0
        encodings = [encoding for group in groups for encoding in group]
        for position, found in self._answered(encodings, call):
            owner, place = places[position]
            rows = waiting[owner]
            rows[place] = found
            if len(rows) == len(groups[owner]):  # decoded at once: outputs of a whole list may not fit into memory
                waiting[owner] = {}
                in_order = [row for place in range(len(rows)) for row in rows[place]]
                results[owner] = task.decode(payloads[owner], in_order, facts, call.task_options)
                answered += 1
                if bar is not None:
                    bar.show(answered)
        return results

    def _answered(self, encodings: Sequence[Encoding], call: _Call) -> Iterator[tuple[int, Sequence[Row]]]:
        """Ask the graph: once for each row; or once for each token of a row's texts, where they are written."""
        if self.writer is None or self._writes is None:
            answered = forward(self.model, self.tokenizer, encodings, call.batching)
            return ((position, [row]) for position, row in answered)
        return generate(
            self.writer,
            encodings,
            self._writes.writing(call.task_options),
            call.batching,
            cache_bytes=call.cache_bytes,
            reuses_prefixes=not call.is_strict,
        )

    def _stream(self, stream: Stream, call: _Call) -> Iterator[Any]:
        with (
            closing(Bar(stream.length or 0, self.task, shows_rate=True))
            if call.shows_progress
            else nullcontext() as bar
        ):
            answered = 0
            while window := list(islice(stream.items, call.stream_window)):
                for outcome in self._attempt(window, call, answered):
                    if isinstance(outcome, OrtolanError):
                        raise outcome
                    yield outcome
                    answered += 1
                    if bar is not None:
                        bar.show(answered)

    def _options(self, options: Mapping[str, object]) -> _Call:
        merged = {**self._defaults, **options}
        size, strict, cache = merged.get("batch_size"), merged.get("strict_batching", False), merged.get("cache_bytes")
        return _Call(
            self._task_options(options, self._default_options),
            self.tokenizer.truncation(
                merged.get("truncation"),
                # of a task that writes, it is the length of what is written
                merged.get("max_length") if self.writer is None else None,
                default=self._task.truncation,
            ),
            _batching(size, strict),
            strict is True,
            None if cache is None else whole_number("cache_bytes", cache),
            size if isinstance(size, int) else 1,
            true_or_false("progress", merged.get("progress", False)),
        )

    def _task_options(self, options: Mapping[str, object], base: Any) -> Any:
        of_all = CALL_OPTIONS if self.writer is None else WRITER_OPTIONS
        known = (*self._task.option_names, *of_all)
        if unknown := [name for name in options if name not in known]:
            raise ConfigError(
                f"option {', '.join(map(repr, unknown))} requested",
                f"{self.task} has no such option",
                f"it has {', '.join(known)}",
            )
        others = (*LENGTH_OPTIONS, *of_all) if self.writer is None else ("truncation", *of_all)
        own = {name: value for name, value in options.items() if name not in others}
        return self._task.options(own, self._facts, base)


def _checked(stream: Stream, call: _Call) -> Stream:
    if call.shows_progress and stream.length is None:
        raise ConfigError(
            "progress=True requested", "nobody knows how long the stream is", "pass a list, or leave it out"
        )
    return stream


def _batching(size: object, strict: object) -> BatchConfig:
    """Check the options `batch_size` and `strict_batching`, and say how lists are split."""
    rows = None if size is None else whole_number("batch_size", size)
    strict = true_or_false("strict_batching", strict)
    if strict and rows not in (None, 1):
        raise ConfigError(
            f"strict_batching with batch_size={rows} requested",
            "with the first each text runs alone",
            "leave one of them out",
        )
    if strict:
        return BatchConfig(max_batch_size=1)
    # who names a number of rows wants that many, however long they are
    return BatchConfig() if rows is None else BatchConfig(max_batch_size=rows, max_batch_tokens=1 << 62)
