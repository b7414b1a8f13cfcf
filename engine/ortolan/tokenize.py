"""Text to token ids, with the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from ortolan.batch.padding import IntArray, pad
from ortolan.errors import ArtifactError, ConfigError, InputTooLongError, InvalidInputError, MissingFileError
from ortolan.request import TextInput, parse_text_input

TRUNCATION_STRATEGIES = ("longest_first", "only_first", "only_second")
"""Which text of a pair is cut when both together are too long; names as in transformers."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One tokenized text.

    Attributes:
        ids: Token ids, special tokens included.
        type_ids: Segment of each token: 0 for the first text and 1 for the second.
        offsets: Start and end of each token in its text, in characters; (0, 0) for special tokens.
    """

    ids: list[int]
    type_ids: list[int]
    offsets: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Truncation:
    """How much of a text is read.

    Attributes:
        max_length: Most tokens of one encoding, special tokens included.
        strategy: One of `TRUNCATION_STRATEGIES`, or None to refuse a text that is too long.
    """

    max_length: int
    strategy: str | None = None


class Tokenizer:
    """A fast tokenizer with the settings that its checkpoint carries.

    Safe to share between threads: it is never changed after it was loaded.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        max_length: int,
        pad_id: int = 0,
        pad_type_id: int = 0,
        padding_side: str = "right",
        truncation_side: str = "right",
        has_segments: bool = True,
    ) -> None:
        # A tokenizer.json may carry settings of a training run; here each request says what it wants.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self.max_length = max_length
        self.pad_id = pad_id
        self.pad_type_id = pad_type_id
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.has_segments = has_segments

    @classmethod
    def load(cls, folder: str | Path, *, max_length: int | None = None) -> Tokenizer:
        """Read `tokenizer.json` and `tokenizer_config.json` from a folder.

        Args:
            folder: An artifact or a checkpoint.
            max_length: Most tokens the model has positions for; the smaller of this and the tokenizer's own
                `model_max_length` holds.

        Raises:
            MissingFileError: No `tokenizer.json`.
            ArtifactError: A file that cannot be read as a tokenizer.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise MissingFileError(
                f"tokenizer of '{folder}' requested", "there is no tokenizer.json", "export the checkpoint again"
            )
        try:
            backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
            settings = _read_settings(folder / "tokenizer_config.json")
            limits = [limit for limit in (max_length, settings.get("model_max_length")) if limit is not None]
            return cls(
                backend,
                # transformers writes 1e30 where a tokenizer has no limit of its own
                max_length=min((int(limit) for limit in limits if limit < 1e9), default=512),
                pad_id=_pad_id(backend, settings),
                pad_type_id=int(settings.get("pad_token_type_id", 0)),
                padding_side=_side(settings, "padding_side"),
                truncation_side=_side(settings, "truncation_side"),
                has_segments=_has_segments(settings),
            )
        except Exception as error:  # tokenizers raises plain Exception on a file it can't parse
            raise ArtifactError(
                f"tokenizer of '{folder}' requested", f"it cannot be read ({error})", "export the checkpoint again"
            ) from error

    def encode(
        self, inputs: Sequence[TextInput], truncation: Truncation | None = None, *, first_index: int | None = 0
    ) -> list[Encoding]:
        """Tokenize texts.

        Args:
            inputs: Texts and pairs, already validated.
            truncation: Limit and strategy; by default `max_length`, and no truncation.
            first_index: Position of the first text in the caller's list, for error messages; None for a lone text.

        Returns:
            One encoding a text, in the same order, not padded.

        Raises:
            InputTooLongError: A text has more tokens than allowed, and truncation was not asked for.
        """
        truncation = truncation or Truncation(self.max_length)
        pairs = [item.text if item.text_pair is None else (item.text, item.text_pair) for item in inputs]
        # encode_batch wakes a thread pool, which costs more than a short text does
        encoded_inputs = (
            self._backend.encode_batch(pairs)
            if len(pairs) > 1
            else [_encode_one(self._backend, pair) for pair in pairs]
        )
        encodings = []
        for offset, (item, encoded) in enumerate(zip(inputs, encoded_inputs, strict=True)):
            if len(encoded) > truncation.max_length:
                index = None if first_index is None else first_index + offset
                if truncation.strategy is None:
                    raise InputTooLongError(
                        f"text of {len(encoded)} tokens requested",
                        f"max_length is {truncation.max_length}"
                        if truncation.max_length < self.max_length
                        else f"the model reads at most {truncation.max_length}",
                        "pass truncation=True to read only its beginning, or split it",
                        length=len(encoded),
                        max_length=truncation.max_length,
                        index=index,
                    )
                encoded = self._truncate(item, truncation, index)
            type_ids = encoded.type_ids if self.has_segments else [0] * len(encoded)
            encodings.append(Encoding(encoded.ids, type_ids, encoded.offsets))
        return encodings

    def pad(self, encodings: Sequence[Encoding]) -> dict[str, IntArray]:
        """Join encodings to one rectangle: `input_ids`, `attention_mask`, `token_type_ids`, each int64 [B, S]."""
        ids = [encoding.ids for encoding in encodings]
        return {
            "input_ids": pad(ids, self.pad_id, side=self.padding_side),
            "attention_mask": pad([[1] * len(row) for row in ids], 0, side=self.padding_side),
            "token_type_ids": pad([e.type_ids for e in encodings], self.pad_type_id, side=self.padding_side),
        }

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        *,
        padding: bool | str = True,
        truncation: bool | str = False,
        max_length: int | None = None,
        return_tensors: str = "np",
    ) -> dict[str, IntArray]:
        """Tokenize and pad, called as a transformers tokenizer is.

        Args:
            text: One text, or several.
            text_pair: The second text of each pair, as many as `text`.
            padding: True (or "longest") when the texts differ in length: arrays are rectangles.
            truncation: True (or "longest_first"), "only_first", "only_second", or False to refuse long texts.
            max_length: Most tokens of a row; by default what the model has positions for.
            return_tensors: Only "np".

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids`, each int64 [B, S], ready for `model(**encoded)`.

        Raises:
            InvalidInputError: An element that is not a text; the error names its index.
            InputTooLongError: A text is too long and `truncation` is false.
            ConfigError: An option with a value that is not allowed.
        """
        if return_tensors != "np":
            raise ConfigError("return_tensors requested", f"got {return_tensors!r}", "only 'np' is made here")
        if padding not in (True, False, "longest"):
            raise ConfigError("padding requested", f"got {padding!r}", "use True: rows are padded to the longest")
        _check_texts(text)
        _check_texts([] if text_pair is None else text_pair)
        texts = [text] if isinstance(text, str) else list(text)
        pairs = [text_pair] if isinstance(text_pair, str) else text_pair
        if pairs is not None and len(pairs) != len(texts):
            raise ConfigError(
                f"{len(texts)} pairs requested", f"text_pair has {len(pairs)} elements", "send as many of each"
            )
        items: list[object] = (
            list(texts) if pairs is None else [{"text": a, "text_pair": b} for a, b in zip(texts, pairs, strict=True)]
        )
        is_single = isinstance(text, str)
        parsed = [parse_text_input(item, None if is_single else i) for i, item in enumerate(items)]
        encodings = self.encode(parsed, self.truncation(truncation, max_length), first_index=None if is_single else 0)
        if not padding and len({len(e.ids) for e in encodings}) > 1:
            raise ConfigError("padding=False requested", "the texts differ in length", "pass padding=True")
        return self.pad(encodings)

    def truncation(self, strategy: object, max_length: object) -> Truncation:
        """Check the options `truncation` and `max_length` as a caller passes them.

        Raises:
            ConfigError: Unknown strategy, or a length that leaves no room or exceeds the model's.
        """
        if strategy is True:
            strategy = "longest_first"
        if strategy in (False, None, "do_not_truncate"):
            strategy = None
        elif not isinstance(strategy, str) or strategy not in TRUNCATION_STRATEGIES:
            raise ConfigError(
                "truncation requested", f"got {strategy!r}", f"use True or one of {TRUNCATION_STRATEGIES}"
            )
        if max_length is None:
            return Truncation(self.max_length, strategy)
        lowest = self._backend.num_special_tokens_to_add(True) + 1
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < lowest:
            raise ConfigError("max_length requested", f"got {max_length!r}", f"use a whole number from {lowest} on")
        if max_length > self.max_length:
            raise ConfigError(
                f"max_length={max_length} requested",
                f"the model has {self.max_length} positions",
                "leave max_length out or lower it",
            )
        return Truncation(max_length, strategy)

    def _truncate(self, item: TextInput, truncation: Truncation, index: int | None) -> tokenizers.Encoding:
        """Tokenize again without special tokens, cut, then let the post-processor put them in."""
        first = self._backend.encode(item.text, add_special_tokens=False)
        second = None if item.text_pair is None else self._backend.encode(item.text_pair, add_special_tokens=False)
        room = truncation.max_length - self._backend.num_special_tokens_to_add(second is not None)
        lengths = (len(first), 0 if second is None else len(second))
        keep = split_room(lengths, room, truncation.strategy or "longest_first")
        if keep is None:
            raise InputTooLongError(
                f"truncation '{truncation.strategy}' to {truncation.max_length} tokens requested",
                f"the texts have {lengths[0]} and {lengths[1]} tokens, and cutting that one is not enough",
                "use truncation=True",
                length=sum(lengths),
                max_length=truncation.max_length,
                index=index,
            )
        first.truncate(keep[0], direction=self.truncation_side)
        if second is not None:
            second.truncate(keep[1], direction=self.truncation_side)
        return self._backend.post_process(first, second)


def split_room(lengths: tuple[int, int], room: int, strategy: str) -> tuple[int, int] | None:
    """Say how many tokens of each text of a pair are kept.

    Args:
        lengths: Tokens of the first and the second text, special tokens not counted.
        room: Tokens there are places for.
        strategy: One of `TRUNCATION_STRATEGIES`. "longest_first" cuts the longer text
            first, then both to halves, the odd token going to the longer one, as the `tokenizers` library does.

    Returns:
        Tokens kept of the first and second text, or None if the strategy cannot make them fit.
    """
    first, second = lengths
    excess = max(0, first + second - room)
    if strategy == "only_first":
        return (first - excess, second) if first > excess else None
    if strategy == "only_second":
        return (first, second - excess) if second > excess else None
    shorter, longer = min(lengths), max(lengths)
    if excess:
        longer = max(shorter, room - shorter)
        if shorter + longer > room:
            shorter, longer = room // 2, room - room // 2
    return (longer, shorter) if first > second else (shorter, longer)


def _encode_one(backend: tokenizers.Tokenizer, item: str | tuple[str, str]) -> tokenizers.Encoding:
    return backend.encode(item) if isinstance(item, str) else backend.encode(*item)


def _check_texts(given: object) -> None:
    """Refuse what callers without a type checker may send."""
    if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
        raise InvalidInputError("texts requested", f"got {type(given).__name__}", "send a string or a list of strings")


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    settings = json.loads(path.read_text(encoding="utf-8"))
    return settings if isinstance(settings, dict) else {}


def _side(settings: dict[str, Any], name: str) -> str:
    side = settings.get(name, "right")
    if side not in ("right", "left"):
        raise ValueError(f"{name} is {side!r}")
    return str(side)


def _has_segments(settings: dict[str, Any]) -> bool:
    """Whether the second text of a pair is marked, by the rule of transformers: what its class or its settings say."""
    names = settings.get("model_input_names")
    if names is None:
        return settings.get("tokenizer_class") not in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return "token_type_ids" in names


def _pad_id(backend: tokenizers.Tokenizer, settings: dict[str, Any]) -> int:
    token = settings.get("pad_token")
    content = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(content) if isinstance(content, str) else None
    return 0 if found is None else int(found)
