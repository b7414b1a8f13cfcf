"""Texts for the rows of a call, written side by side; or for one row, told as they are written."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from ortolan.config import BatchConfig
from ortolan.errors import ConfigError, OrtolanError, SessionError
from ortolan.forward import Row
from ortolan.generation.config import GenerationConfig
from ortolan.generation.decoder import Decoder, vocabulary_of
from ortolan.generation.pieces import Pieces
from ortolan.generation.policy import MAX_REQUESTS, MOST_CHUNK
from ortolan.generation.prefix import Prefixes
from ortolan.generation.rereading import writing_graphs
from ortolan.generation.scheduler import Scheduler
from ortolan.generation.search import Written, begin, outputs
from ortolan.generation.seats import Request, Sink
from ortolan.model import Model
from ortolan.tokenize import Encoding, Tokenizer


class Writer:
    """A model that writes, and what it needs beside its graphs. Safe to share between threads.

    Attributes:
        prefixes: Prompts that were read, for those that begin like them.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, prefixes: Prefixes | None = None) -> None:
        """Read what the graphs want.

        Args:
            model: A model that writes.
            tokenizer: Reads what was written, where a stop string is looked for.
            prefixes: To be shared with others that have the same model.

        Raises:
            SignatureError: Graphs of another kind.
        """
        self.prefixes = Prefixes() if prefixes is None else prefixes
        self._model = model
        self._tokenizer = tokenizer
        self._graphs = writing_graphs(model)
        self._vocabulary = vocabulary_of(self._graphs)

    def scheduler(
        self,
        *,
        max_requests: int = MAX_REQUESTS,
        cache_bytes: int | None = None,
        chunk_tokens: int | None = None,
        reuses_prefixes: bool = True,
    ) -> Scheduler:
        """Make a scheduler with a cache of its own; see `Scheduler`.

        Args:
            max_requests: How many requests write side by side.
            cache_bytes: What the cache may take.
            chunk_tokens: How many tokens of prompts are read at a time.
            reuses_prefixes: Whether `prefixes` are used.
        """
        artifact = self._model.artifact
        decoder = Decoder(
            self._graphs, artifact.config, max_length=artifact.manifest.max_length, cache_bytes=cache_bytes
        )
        prefixes = self.prefixes if reuses_prefixes else None
        return Scheduler(decoder, max_requests=max_requests, chunk_tokens=chunk_tokens, prefixes=prefixes)

    def request(self, encoding: Encoding, config: GenerationConfig, sink: Sink) -> Request:
        """Make a request of a row.

        Args:
            encoding: The prompt, or what an encoder reads.
            config: How to write. No text gets longer than the model has positions for.
            sink: Who wants it.

        Raises:
            InputTooLongError: The prompt leaves no room for a token.
            ConfigError: Options that the model, or its tokenizer, has no means for.
        """
        start = config.decoder_start_token_id
        source, prompt = ([], encoding.ids) if start is None else (encoding.ids, [start])
        room = self._model.artifact.manifest.max_length + 1  # what is written last needs no position
        constraint = None
        if config.is_constrained:
            from ortolan.generation.constraint import compile_constraint

            constraint = compile_constraint(
                tokenizer=self._tokenizer,
                vocabulary=self._vocabulary,
                eos=config.eos_token_id,
                regex=config.regex,
                json_schema=config.json_schema,
            )
        search = begin(
            config,
            prompt,
            room=room,
            decode=self._tokenizer.decode,
            vocabulary=self._vocabulary,
            source=source,
            constraint=constraint,
        )
        return Request(search, prompt, min(config.longest(len(prompt)), room), sink, source)

    def probe(self) -> None:
        """Write a token, to see that the graphs run.

        Raises:
            SessionError: They don't.
        """
        start = 0 if "encoder" in self._model.graphs else None
        config, outcome = GenerationConfig(max_new_tokens=2, decoder_start_token_id=start), Outcome()
        scheduler = self.scheduler(max_requests=1, reuses_prefixes=False)
        scheduler.add(self.request(Encoding([0], [0]), config, outcome))
        while not outcome.is_over:
            scheduler.step()
        if isinstance(outcome.error, SessionError):
            raise outcome.error


@dataclass(slots=True, eq=False)
class Outcome:
    """What becomes of a request.

    Attributes:
        ids: What its first row has written so far.
        texts: What was written; None before it is done.
        error: Why there are no texts.
    """

    ids: Sequence[int] = ()
    texts: Sequence[Written] | None = None
    error: OrtolanError | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is done, or failed."""
        return self.texts is not None or self.error is not None

    def wrote(self, ids: Sequence[int]) -> None:
        """See `Sink.wrote`."""
        self.ids = ids

    def done(self, texts: Sequence[Written]) -> None:
        """See `Sink.done`."""
        self.texts = texts

    def failed(self, error: OrtolanError) -> None:
        """See `Sink.failed`."""
        self.error = error

    def rows(self, encoding: Encoding, request: Request) -> list[Row]:
        """Give a row for each text, the best first; see `ortolan.generation.search.outputs`.

        Raises:
            OrtolanError: The request failed.
        """
        if self.error is not None:
            raise self.error
        return [Row(encoding, outputs(request.prompt, text)) for text in self.texts or ()]


def generate(
    writer: Writer,
    encodings: Sequence[Encoding],
    config: GenerationConfig,
    limits: BatchConfig,
    *,
    cache_bytes: int | None = None,
    reuses_prefixes: bool = True,
) -> Iterator[tuple[int, list[Row]]]:
    """Let a model write. As soon as a text is done, another one takes its place.

    Args:
        writer: The model.
        encodings: The prompts, or what an encoder reads.
        config: How to write.
        limits: How many rows are written side by side; tokens are not counted.
        cache_bytes: What the cache may take; None for a share of what the process may use.
        reuses_prefixes: Whether prompts that begin like others need not be read from their beginning.

    Yields:
        The position of a row in `encodings`, and a row for each text that was written, the best first, with the output
        `sequences`, int64 [T]: the prompt and what was written behind it, or what the decoder wrote, its start token
        included. With `logprobs`, see `ortolan.generation.search.outputs`. Every position once.

    Raises:
        InputTooLongError: A prompt leaves no room for a token.
        ConfigError: A text that needs more than `cache_bytes`; options that the model has no means for.
        SessionError: ONNX Runtime failed.
        NonFiniteError: NaN or infinity among the logits.
    """
    scheduler = writer.scheduler(
        max_requests=limits.max_batch_size,
        cache_bytes=cache_bytes,
        chunk_tokens=MOST_CHUNK,
        reuses_prefixes=reuses_prefixes,
    )
    # long ones first: prompts of similar length are read together, and the cache need not grow
    left = deque(sorted(range(len(encodings)), key=lambda position: -len(encodings[position].ids)))
    asked: dict[int, tuple[Request, Outcome]] = {}
    while left or asked:
        while left and scheduler.num_waiting < limits.max_batch_size:
            position, outcome = left.popleft(), Outcome()
            request = writer.request(encodings[position], config, outcome)
            scheduler.add(request)
            asked[position] = (request, outcome)
        scheduler.step()
        for position, (request, outcome) in [one for one in asked.items() if one[1][1].is_over]:
            del asked[position]
            yield position, outcome.rows(encodings[position], request)


def stream(
    writer: Writer,
    encoding: Encoding,
    config: GenerationConfig,
    pieces: Pieces,
    *,
    cache_bytes: int | None = None,
    reuses_prefixes: bool = True,
) -> Generator[str, None, None]:
    """Let a model write one text, and tell it as it is written. Closing the generator ends that.

    Args:
        writer: The model.
        encoding: The prompt, or what an encoder reads.
        config: How to write.
        pieces: Makes text of tokens.
        cache_bytes: As for `generate`.
        reuses_prefixes: As for `generate`.

    Yields:
        Pieces of what is written, which together are the text.

    Raises:
        ConfigError: Several texts or beams, or as from `generate`.
        OrtolanError: As from `generate`.
    """
    check_one_text(config)
    outcome = Outcome()
    request = writer.request(encoding, config, outcome)
    scheduler = writer.scheduler(max_requests=1, cache_bytes=cache_bytes, reuses_prefixes=reuses_prefixes)
    scheduler.add(request)
    while not outcome.is_over:
        scheduler.step()
        if outcome.error is not None:
            raise outcome.error
        if piece := pieces.feed(outcome.ids):
            yield piece
    if piece := pieces.flush():
        yield piece


def check_one_text(config: GenerationConfig) -> None:
    """Refuse to tell several texts at a time, or one that another may still take the place of.

    Raises:
        ConfigError: There are several.
    """
    for name in ("num_beams", "num_return_sequences"):
        if (count := getattr(config, name)) > 1:
            raise ConfigError(
                f"a stream with {name}={count} requested",
                "a text that is told cannot be taken back, and only one is told",
                f"pass {name}=1, or call the pipeline itself",
            )
