"""The plain way to write: the best next token, again and again, each time reading the whole text anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ortolan.batch.lists import plan_batches
from ortolan.batch.padding import pad
from ortolan.config import BatchConfig
from ortolan.errors import NonFiniteError
from ortolan.forward import Row
from ortolan.generation.config import GenerationConfig
from ortolan.generation.logits import processed
from ortolan.generation.stopping import is_finished
from ortolan.model import Model
from ortolan.postprocess.activations import FloatArray
from ortolan.tokenize import Encoding, Tokenizer


@dataclass(slots=True)
class _Text:
    """One text as it grows.

    Attributes:
        position: Of its encoding, among those of the call.
        source: What the graph reads besides: the input of an encoder. Empty where there is none.
        ids: What has been written, behind the prompt or the start token.
        start: How many of `ids` were there at first.
        longest: How many there may become.
    """

    position: int
    source: list[int]
    ids: list[int]
    start: int
    longest: int


def generate(
    model: Model, tokenizer: Tokenizer, encodings: Sequence[Encoding], config: GenerationConfig, limits: BatchConfig
) -> Iterator[tuple[int, Row]]:
    """Let a model write, in batches of similar length.

    Args:
        model: With a graph that gives `logits`, float32 [B, S, V] for the prompts or [B, T, V] for what a decoder has
            written.
        tokenizer: Reads what was written, where a stop string is looked for.
        encodings: The prompts, or what an encoder reads.
        config: How to write. No text gets longer than the model has positions for.
        limits: How many rows and tokens go together.

    Yields:
        The position of a row in `encodings`, and the row, whose only output is `sequences`, int64 [T]: the prompt and
        what was written behind it, or what the decoder wrote, its start token included. Every position once.

    Raises:
        ShapeError: A row is longer than the model reads.
        SessionError: ONNX Runtime failed.
        NonFiniteError: NaN or infinity among the logits.
    """
    # what is written last needs no position
    room = model.artifact.manifest.max_length + 1
    texts = [_begin(position, encoding, config, room) for position, encoding in enumerate(encodings)]
    sizes = [len(text.source) + text.longest for text in texts]
    for batch in plan_batches(sizes, max_batch_size=limits.max_batch_size, max_batch_tokens=limits.max_batch_tokens):
        for text in _write(model, tokenizer, [texts[i] for i in batch], config):
            yield text.position, Row(encodings[text.position], {"sequences": np.array(text.ids, np.int64)})


def _begin(position: int, encoding: Encoding, config: GenerationConfig, room: int) -> _Text:
    start = config.decoder_start_token_id
    source, ids = ([], list(encoding.ids)) if start is None else (encoding.ids, [start])
    return _Text(position, source, ids, len(ids), min(config.longest(len(ids)), room))


def _write(model: Model, tokenizer: Tokenizer, texts: list[_Text], config: GenerationConfig) -> Iterator[_Text]:
    """Write all texts of a batch, a token of each at a time; give each as it is done."""
    while texts:
        going_on = []
        for text, logits in zip(texts, _next_logits(model, tokenizer, texts), strict=True):
            scores = processed(logits, text.ids, text.start, text.longest, config)
            text.ids.append(int(scores.argmax()))
            if is_finished(text.ids, text.longest, config, tokenizer.decode):
                yield text
            else:
                going_on.append(text)
        texts = going_on


def _next_logits(model: Model, tokenizer: Tokenizer, texts: Sequence[_Text]) -> FloatArray:
    """Logits of the next token of each text, float32 [B, V]."""
    written = [text.ids for text in texts]
    read = [text.source or text.ids for text in texts]
    # on the right, whatever the tokenizer says: positions are counted from the first column on
    feed = {"input_ids": pad(read, tokenizer.pad_id), "attention_mask": pad([[1] * len(ids) for ids in read], 0)}
    if texts[0].source:
        feed["decoder_input_ids"] = pad(written, tokenizer.pad_id)
    logits = model(**feed)["logits"]
    last = logits[np.arange(len(texts)), [len(ids) - 1 for ids in written]]
    if not np.isfinite(last).all():
        raise NonFiniteError(
            "a text requested", "the graph answered NaN or infinity", "run 'ortolan verify' on the artifact"
        )
    return last
