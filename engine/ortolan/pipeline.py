"""`pipeline()`: a task and a model become a callable. Start reading here.

request.py -> tokenize.py -> batch/ -> session/ (through model.py) -> postprocess/ (through tasks/)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ortolan.batch.policy import plan_batches
from ortolan.config import BatchConfig
from ortolan.errors import ConfigError, InvalidInputError, UnknownTaskError
from ortolan.locate import cache_folder, locate
from ortolan.model import Model
from ortolan.request import TextInput
from ortolan.tasks.base import Task
from ortolan.tasks.registry import task_named
from ortolan.tokenize import Tokenizer, Truncation


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
        task: "text-classification", also called "sentiment-analysis".
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
        folder = locate(model, chosen.name, revision=revision, cache_dir=cache, precision=precision)
        model = Model.load(folder, provider, precision, cache_dir=cache)
    served = model.artifact.manifest.task
    if served != chosen.name:
        raise UnknownTaskError(
            f"task '{chosen.name}' requested", f"the model serves '{served}'", f"use task '{served}' or another model"
        )
    if tokenizer is None:
        tokenizer = model.tokenizer
    elif not isinstance(tokenizer, Tokenizer):
        tokenizer = Tokenizer.load(tokenizer, max_length=model.artifact.manifest.max_length)
    return Pipeline(chosen, model, tokenizer, task_options)


PIPELINE_OPTIONS = ("truncation", "max_length", "batch_size", "strict_batching")
"""Options of a call that belong to the pipeline, not to its task."""


@dataclass(frozen=True, slots=True)
class _Call:
    """The checked options of one call."""

    task_options: Any
    truncation: Truncation
    batching: BatchConfig
    stream_window: int


class Pipeline:
    """A task bound to a model. Safe to call from several threads.

    Attributes:
        task: Name of the task.
        model: The loaded model.
        tokenizer: What tokenizes for it.
    """

    def __init__(self, task: Task[Any], model: Model, tokenizer: Tokenizer, defaults: Mapping[str, object]) -> None:
        self._task = task
        self.model = model
        self.tokenizer = tokenizer
        self._labels = model.artifact.id2label
        self._defaults = dict(defaults)
        self._default_options = self._task_options(defaults, None)
        self._default_call = self._options({})

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._task.name

    def __call__(self, inputs: Any, **options: object) -> Any:
        """Answer one input, a list, or a stream.

        Args:
            inputs: A text; a mapping with `text` and `text_pair`; a list or tuple of those; or any other iterable of
                those, which is read as it is answered.
            options: `truncation` (False refuses a text that is too long, True cuts it), `max_length` in tokens,
                `batch_size`, and the task's own: for text-classification `top_k` and `function_to_apply`
                ("softmax", "sigmoid", "none"). Lists are sorted into batches of similar length unless `batch_size`
                says how many rows go together; streams run one at a time unless it does. `strict_batching=True` runs
                each text alone, so that no result depends on the texts beside it, whatever the precision: lists take
                longer (README, "Who shares a batch").

        Returns:
            What transformers returns: for a text a list with one `{"label", "score"}`, for a list one such mapping a
            text, for a stream an iterator. With `top_k`, a list of mappings for each text.

        Raises:
            InvalidInputError: An input that can't be read; in a list the error names its index, and nothing is run.
            InputTooLongError: A text longer than the model reads, and truncation was not asked for.
            ConfigError: An option with a value that is not allowed.
        """
        call = self._options(options) if options else self._default_call
        if isinstance(inputs, (str, Mapping, TextInput)):
            item = self._task.parse(inputs, None)
            return self._task.present(self._run([item], call, None), inputs, call.task_options, options)
        if isinstance(inputs, Sequence) and not isinstance(inputs, (bytes, bytearray)):
            items = [self._task.parse(item, index) for index, item in enumerate(inputs)]
            return self._task.present(self._run(items, call, 0), None, call.task_options, options)
        if isinstance(inputs, Iterable) and not isinstance(inputs, (bytes, bytearray)):
            return self._stream(iter(inputs), call)
        raise InvalidInputError(
            "an input requested",
            f"got {type(inputs).__name__}",
            "send a text, a mapping, a list or an iterable of them",
        )

    def _run(self, items: list[TextInput], call: _Call, first_index: int | None) -> list[Any]:
        """Tokenize, batch, run and decode; one result for each item, in order."""
        encodings = self.tokenizer.encode(items, call.truncation, first_index=first_index)
        results: list[Any] = [None] * len(items)
        lengths = [len(encoding.ids) for encoding in encodings]
        limits = call.batching
        for batch in plan_batches(
            lengths, max_batch_size=limits.max_batch_size, max_batch_tokens=limits.max_batch_tokens
        ):
            outputs = self.model(**self.tokenizer.pad([encodings[i] for i in batch]))
            for index, result in zip(batch, self._task.decode(outputs, self._labels, call.task_options), strict=True):
                results[index] = result
        return results

    def _stream(self, inputs: Iterator[object], call: _Call) -> Iterator[Any]:
        position = 0
        while window := list(islice(inputs, call.stream_window)):
            items = [self._task.parse(item, position + offset) for offset, item in enumerate(window)]
            yield from self._run(items, call, position)
            position += len(window)

    def _options(self, options: Mapping[str, object]) -> _Call:
        merged = {**self._defaults, **options}
        size, strict = merged.get("batch_size"), merged.get("strict_batching", False)
        return _Call(
            self._task_options(options, self._default_options),
            self.tokenizer.truncation(merged.get("truncation"), merged.get("max_length")),
            _batching(size, strict),
            size if isinstance(size, int) else 1,
        )

    def _task_options(self, options: Mapping[str, object], base: Any) -> Any:
        own = {name: value for name, value in options.items() if name not in PIPELINE_OPTIONS}
        return self._task.options(own, self.model.artifact.config, base)


def _batching(size: object, strict: object) -> BatchConfig:
    """Check the options `batch_size` and `strict_batching`, and say how lists are split."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ConfigError("batch_size requested", f"got {size!r}", "use a whole number from 1 on")
    if not isinstance(strict, bool):
        raise ConfigError("strict_batching requested", f"got {strict!r}", "use True or False")
    if strict and size not in (None, 1):
        raise ConfigError(
            f"strict_batching with batch_size={size} requested",
            "with the first each text runs alone",
            "leave one of them out",
        )
    if strict:
        return BatchConfig(max_batch_size=1)
    # who names a number of rows wants that many, however long they are
    return BatchConfig() if size is None else BatchConfig(max_batch_size=size, max_batch_tokens=1 << 62)
