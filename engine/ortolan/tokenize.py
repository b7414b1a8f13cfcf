"""Text to token ids, with the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product, starmap
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from ortolan.batch.padding import IntArray, pad
from ortolan.chat import Chat, choose_template, parse_chat, read_templates, render
from ortolan.errors import (
    ArtifactError,
    ConfigError,
    InputTooLongError,
    InvalidInputError,
    MissingFileError,
    TruncatedWarning,
    warn_caller,
)
from ortolan.request import TextInput, is_encodable, parse_text_input
from ortolan.tensors import as_tensor

TRUNCATION_STRATEGIES = ("longest_first", "only_first", "only_second")
"""Which text of a pair is cut when both together are too long; names as in transformers."""

MAX_WINDOWS = 10_000
"""Most windows over one text: windows that overlap by all but one token are as many as there are tokens."""

SIDES = ("right", "left")
"""Where padding goes, and where a text is cut."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One tokenized text.

    Attributes:
        ids: Token ids, special tokens included.
        type_ids: Segment of each token: 0 for the first text and 1 for the second.
        placed: `offsets` of an encoding that was put together from parts; None where the tokenizer knows them.
        details: What else the tokenizer found; None where an encoding was put together from parts.
    """

    ids: list[int]
    type_ids: list[int]
    placed: list[tuple[int, int]] | None = None
    details: tokenizers.Encoding | None = field(default=None, compare=False, repr=False)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Start and end of each token in its text, in characters; (0, 0) for special tokens.

        They are made when they are asked for: that takes more than twice as long as the ids, and most tasks have no
        use for them.
        """
        return self._found.offsets if self.placed is None else self.placed

    @property
    def is_special(self) -> list[bool]:
        """Whether each token was put in by the tokenizer, and is no part of a text."""
        return [bool(mark) for mark in self._found.special_tokens_mask]

    @property
    def words(self) -> list[int | None]:
        """Number of the word that each token is a part of, counted in its text; None for special tokens."""
        return list(self._found.word_ids)

    @property
    def texts(self) -> list[int | None]:
        """Which text each token is a part of: 0, or 1 in the second of a pair; None for special tokens."""
        return list(self._found.sequence_ids)

    def characters(self, first: int, last: int, text: int | None = None) -> tuple[int, int]:
        """Find the characters of some tokens.

        Args:
            first: Position of the first token.
            last: Position of the last one.
            text: 0 or 1, the text that they are in, to widen them to whole words; where the tokenizer knows no words,
                and for None, they stay as they are.

        Returns:
            Start and end in the text.
        """
        if text is not None:
            start, end = self._word_around(first, text), self._word_around(last, text)
            if start is not None and end is not None:
                return start[0], end[1]
        offsets = self.offsets
        return offsets[first][0], offsets[last][1]

    def _word_around(self, position: int, text: int) -> tuple[int, int] | None:
        word = self._found.token_to_word(position)
        return None if word is None else self._found.word_to_chars(word, text)

    @property
    def _found(self) -> tokenizers.Encoding:
        assert self.details is not None, "tasks get their encodings from a tokenizer"
        return self.details


@dataclass(frozen=True, slots=True)
class Truncation:
    """How much of a text is read.

    Attributes:
        max_length: Most tokens of one encoding, special tokens included.
        strategy: One of `TRUNCATION_STRATEGIES`, or None to refuse a text that is too long.
        warns: Whether to warn of each text that is cut, for the caller did not ask for it.
    """

    max_length: int
    strategy: str | None = None
    warns: bool = False


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
        special: Mapping[str, str] | None = None,
        cleans_up: bool = False,
        chat_templates: Mapping[str, str] | None = None,
    ) -> None:
        # A tokenizer.json may carry settings of a training run; here each request says what it wants.
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._joiner = _joiner(backend)
        self.max_length = max_length
        self.pad_id = pad_id
        self.pad_type_id = pad_type_id
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.has_segments = has_segments
        self._special = dict(special or {})
        # rules for punctuation are meant for WordPiece, and transformers does not apply them to BPE either
        self._may_clean_up = type(backend.model).__name__ != "BPE"
        self._cleans_up = cleans_up
        self._chat_templates = dict(chat_templates or {})

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
                special=_special_tokens(settings),
                cleans_up=settings.get("clean_up_tokenization_spaces") is True,
                chat_templates=read_templates(folder, settings),
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
            self._backend.encode_batch(pairs) if len(pairs) > 1 else [self._encode_one(item) for item in inputs]
        )
        encodings = []
        for offset, (item, encoded) in enumerate(zip(inputs, encoded_inputs, strict=True)):
            if len(encoded) > truncation.max_length:
                index = None if first_index is None else first_index + offset
                self._check_may_cut(len(encoded), truncation, index)
                encoded = self._truncate(item, truncation, index)
            encodings.append(self._encoding(encoded))
        return encodings

    def encode_windows(
        self, item: TextInput, limits: Truncation, stride: int, *, index: int | None = None
    ) -> list[Encoding]:
        """Tokenize a long text as several encodings that overlap.

        Args:
            item: A text or a pair, already validated.
            limits: Most tokens of an encoding, special tokens included, and the text that is split: with "only_first"
                or "only_second" the other one is in each encoding.
            stride: How many tokens of the text two neighbours share.
            index: Position in the caller's list, for the error message.

        Returns:
            Encodings that together hold every token; one if all fits. They begin at the end that is kept when a text
            is cut: for `truncation_side` "right" they are in the order of the text.

        Raises:
            InputTooLongError: A text that is split has no room for more than `stride` tokens, or there would be more
                than `MAX_WINDOWS`.
        """
        encoded = self._encode_one(item)
        if len(encoded) <= limits.max_length:
            return [self._encoding(encoded)]
        parts = self._without_specials(item)
        keep = self._room(parts, limits) or (0, 0)
        num_windows = 1
        for part, kept in zip(parts, keep, strict=False):
            if kept < len(part) and kept <= stride:
                raise InputTooLongError(
                    f"windows of {limits.max_length} tokens requested",
                    f"{kept} of them are left for the text that is split, and windows overlap by {stride}",
                    "shorten the other text, or overlap less",
                    length=limits.max_length - kept + stride + 1,
                    max_length=limits.max_length,
                    index=index,
                )
            if kept < len(part):
                num_windows *= -(-(len(part) - stride) // (kept - stride))
        if num_windows > MAX_WINDOWS:
            raise InputTooLongError(
                f"windows of {limits.max_length} tokens requested",
                f"there would be {num_windows:,} of them, and at most {MAX_WINDOWS:,} are read",
                "overlap less, or split the text",
                length=len(encoded),
                max_length=limits.max_length,
                index=index,
            )
        return [self._encoding(one) for one in self._windows(parts, keep, stride)]

    def _encode_one(self, item: TextInput) -> tokenizers.Encoding:
        return self._backend.encode(item.text, item.text_pair)

    def _encoding(self, encoded: tokenizers.Encoding) -> Encoding:
        type_ids = encoded.type_ids if self.has_segments else [0] * len(encoded)
        return Encoding(encoded.ids, type_ids, details=encoded)

    def encode_words(self, words: Sequence[str], truncation: Truncation, *, index: int | None = None) -> Encoding:
        """Tokenize a text that was cut into words beforehand; offsets are those within each word.

        Args:
            words: The words, without what stands between them.
            truncation: Limit and strategy.
            index: Position in the caller's list, for the error message.

        Raises:
            InputTooLongError: There are more tokens than allowed, and truncation was not asked for.
        """
        encoded = self._backend.encode(list(words), is_pretokenized=True)
        if len(encoded) > truncation.max_length:
            self._check_may_cut(len(encoded), truncation, index)
            plain = self._backend.encode(list(words), is_pretokenized=True, add_special_tokens=False)
            room = truncation.max_length - self._backend.num_special_tokens_to_add(False)
            plain.truncate(room, direction=self.truncation_side)
            encoded = self._joiner.post_process(plain)
        return self._encoding(encoded)

    def encode_rendered(self, text: str, truncation: Truncation, *, index: int | None = None) -> Encoding:
        """Tokenize a text that has its special tokens already, as one has that a chat template made.

        Args:
            text: The text, as it shall be read.
            truncation: Limit and strategy.
            index: Position in the caller's list, for the error message.

        Raises:
            InvalidInputError: It is not encodable as UTF-8.
            InputTooLongError: There are more tokens than allowed, and truncation was not asked for.
        """
        if not is_encodable(text):
            raise InvalidInputError(
                "a prompt requested", "there is a lone surrogate in it", "send texts that are Unicode", index=index
            )
        encoded = self._backend.encode(text, add_special_tokens=False)
        if len(encoded) > truncation.max_length:
            self._check_may_cut(len(encoded), truncation, index)
            encoded.truncate(truncation.max_length, direction=self.truncation_side)
        return self._encoding(encoded)

    def render_chat(
        self,
        chat: Chat,
        *,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tools: Sequence[object] | None = None,
        documents: Sequence[object] | None = None,
        **variables: object,
    ) -> str:
        """Make a prompt of a chat, by the template that came with the checkpoint.

        Args:
            chat: The conversation.
            chat_template: Another template, or the name of one where there are several.
            add_generation_prompt: Whether the template shall begin an answer.
            continue_final_message: Leave the last message open, for the model to write on.
            tools: Descriptions of functions, as JSON schemas.
            documents: Mappings with `title` and `text`.
            variables: What else the template reads.

        Raises:
            ConfigError: There is no template, jinja2 is missing, or options exclude each other.
            InvalidInputError: The template refuses the chat.
            InputTooLongError: The prompt is too long to be read.
            ArtifactError: The template can't be used.
        """
        special = {f"{role}_token": token for role, token in self._special.items()}
        return render(
            choose_template(self._chat_templates, chat_template, has_tools=tools is not None),
            chat,
            {**special, **variables},
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            tools=tools,
            documents=documents,
        )

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]],
        *,
        tokenize: bool = True,
        truncation: bool | str = False,
        max_length: int | None = None,
        **options: Any,
    ) -> str | list[int]:
        """Make a prompt of a chat, called as a transformers tokenizer is.

        Args:
            conversation: Messages, each with `role` and `content`.
            tokenize: Return token ids, and not the text.
            truncation: Whether a prompt that is too long is cut.
            max_length: Most tokens of it.
            options: Those of `render_chat`.

        Returns:
            The prompt, or its token ids.

        Raises:
            InvalidInputError: No conversation.
            OrtolanError: As `render_chat` and `encode_rendered` say.
        """
        text = self.render_chat(parse_chat(conversation), **options)
        return self.encode_rendered(text, self.truncation(truncation, max_length)).ids if tokenize else text

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False, cleans_up: bool | None = None) -> str:
        """Turn ids into text, as `decode` of a transformers tokenizer does.

        Args:
            ids: The tokens.
            skip_special_tokens: Leave special tokens out.
            cleans_up: Whether spaces before punctuation are taken out; by default as the checkpoint says.
        """
        text = str(self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens))
        for before, after in self.replacements(cleans_up):
            text = text.replace(before, after)
        return text

    def replacements(self, cleans_up: bool | None = None) -> tuple[tuple[str, str], ...]:
        """Say what `decode` replaces in a text, one after the other, where spaces before punctuation are taken out.

        Args:
            cleans_up: Whether they are; by default as the checkpoint says.
        """
        cleans_up = self._cleans_up if cleans_up is None else cleans_up
        return _CLEAN_UP if cleans_up and self._may_clean_up else ()

    @cached_property
    def byte_ids(self) -> frozenset[int]:
        """Ids of tokens that stand for one byte each, and are text only with those around them; most have none."""
        if self._backend.decoder is None or b'"ByteFallback"' not in self._backend.decoder.__getstate__():
            return frozenset()
        found = (self.token_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(token for token in found if token is not None)

    @property
    def size(self) -> int:
        """How many tokens it has, added ones included."""
        return int(self._backend.get_vocab_size())

    @property
    def drops_first_space(self) -> bool:
        """Whether the first word of a text has a space before it among the tokens, and none when decoded."""
        return self.join(["\u2581a", "\u2581a"]) == "a a"

    def to_json(self) -> str:
        """Write all of the tokenizer as tokenizer.json has it, without truncation and padding."""
        return str(self._backend.to_str())

    def join(self, tokens: Sequence[str]) -> str:
        """Turn tokens into text, as `convert_tokens_to_string` of a transformers tokenizer does."""
        decoder = self._backend.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(list(tokens)))

    def token(self, token_id: int) -> str:
        """Token of an id."""
        return str(self._backend.id_to_token(token_id))

    def token_id(self, token: str) -> int | None:
        """Id of a token; None if there is no such token."""
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    def first_id(self, word: str) -> int | None:
        """Id of the first token of a text; None if it has no tokens."""
        ids = self._backend.encode(word, add_special_tokens=False).ids
        return int(ids[0]) if ids else None

    def special_token(self, role: str) -> str | None:
        """Token that has a role, such as "mask", "cls", "sep", "unk", "bos", "eos" or "pad"; None if none has."""
        return self._special.get(role)

    def special_id(self, role: str) -> int | None:
        """Id of the token that has a role; None if none has."""
        token = self.special_token(role)
        return None if token is None else self.token_id(token)

    def is_added(self, token_id: int) -> bool:
        """Whether a token was added to the vocabulary by itself, as special tokens are."""
        return token_id in self._added

    @cached_property
    def around(self) -> list[int]:
        """Ids of the special tokens that are put around a text, in their order."""
        encoded = self._backend.encode("a")
        return [one for one, mark in zip(encoded.ids, encoded.special_tokens_mask, strict=True) if mark]

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._backend.get_added_tokens_decoder())

    @property
    def marks_subwords(self) -> bool:
        """Whether a token itself says that it continues a word, as WordPiece's "##ing" does."""
        return bool(getattr(self._backend.model, "continuing_subword_prefix", None))

    def pad(self, encodings: Sequence[Encoding], *, side: str | None = None, width: int = 0) -> dict[str, IntArray]:
        """Join encodings to one rectangle.

        Args:
            encodings: The rows.
            side: Where the padding goes, "right" or "left"; by default `padding_side`.
            width: Least length of a row.

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids`, each int64 [B, S].
        """
        side, ids = side or self.padding_side, [encoding.ids for encoding in encodings]
        return {
            "input_ids": pad(ids, self.pad_id, side=side, width=width),
            "attention_mask": pad([[1] * len(row) for row in ids], 0, side=side, width=width),
            "token_type_ids": pad([e.type_ids for e in encodings], self.pad_type_id, side=side, width=width),
        }

    def __call__(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        *,
        padding: bool | str = True,
        padding_side: str | None = None,
        truncation: bool | str = False,
        max_length: int | None = None,
        stride: int = 0,
        return_tensors: str = "np",
        return_overflowing_tokens: bool = False,
        return_offsets_mapping: bool = False,
        return_special_tokens_mask: bool = False,
    ) -> dict[str, Any]:
        """Tokenize and pad, called as a transformers tokenizer is.

        Args:
            text: One text, or several.
            text_pair: The second text of each pair, as many as `text`.
            padding: True (or "longest") pads to the longest row, "max_length" to `max_length`. With False the rows
                must be of one length: arrays are rectangles.
            padding_side: "right" or "left"; by default the checkpoint's.
            truncation: True (or "longest_first"), "only_first", "only_second", or False to refuse long texts.
            max_length: Most tokens of a row; by default what the model has positions for.
            stride: How many tokens two rows share, where a long text makes several.
            return_tensors: "np" for arrays of numpy, "pt" for tensors of torch, if it is installed.
            return_overflowing_tokens: Whether what does not fit goes on in further rows, instead of being cut off.
            return_offsets_mapping: Whether to add `offset_mapping`, int64 [B, S, 2]: start and end of each token in
                its text, in characters; 0 and 0 for special tokens and padding.
            return_special_tokens_mask: Whether to add `special_tokens_mask`, int64 [B, S]: 1 for special tokens and
                padding.

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids`, each int64 [B, S], ready for `model(**encoded)`; what else
            was asked for; and with `return_overflowing_tokens` `overflow_to_sample_mapping`, int64 [B]: which text
            a row is of.

        Raises:
            InvalidInputError: An element that is not a text; the error names its index.
            InputTooLongError: A text is too long and `truncation` is false, or rows have no room for more than
                `stride` tokens of it.
            ConfigError: An option with a value that is not allowed, or torch is asked for and not installed.
        """
        if padding not in (True, False, "longest", "max_length", "do_not_pad"):
            raise ConfigError("padding requested", f"got {padding!r}", "use True, False, 'longest' or 'max_length'")
        if padding_side not in (None, *SIDES):
            raise ConfigError("padding_side requested", f"got {padding_side!r}", f"use one of {', '.join(SIDES)}")
        if not _is_count(stride):
            raise ConfigError("stride requested", f"got {stride!r}", "use a whole number from 0 on")
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
        limits = self.truncation(truncation, max_length)
        if return_overflowing_tokens and limits.strategy is not None:
            groups = [
                self.encode_windows(item, limits, stride, index=None if is_single else i)
                for i, item in enumerate(parsed)
            ]
        else:
            groups = [[row] for row in self.encode(parsed, limits, first_index=None if is_single else 0)]
        rows = [row for group in groups for row in group]
        if padding in (False, "do_not_pad") and len({len(row.ids) for row in rows}) > 1:
            raise ConfigError("padding=False requested", "the texts differ in length", "pass padding=True")
        width = limits.max_length if padding == "max_length" else 0
        side = padding_side or self.padding_side
        encoded = self.pad(rows, side=side, width=width)
        if return_special_tokens_mask:
            marks = [[int(mark) for mark in row.is_special] for row in rows]
            encoded["special_tokens_mask"] = pad(marks, 1, side=side, width=width)
        if return_offsets_mapping:
            ends = [[[pair[end] for pair in row.offsets] for row in rows] for end in (0, 1)]
            encoded["offset_mapping"] = np.stack([pad(one, 0, side=side, width=width) for one in ends], axis=-1)
        if return_overflowing_tokens:
            owners = [owner for owner, group in enumerate(groups) for _ in group]
            encoded["overflow_to_sample_mapping"] = np.array(owners, np.int64)
        return {name: as_tensor(array, return_tensors) for name, array in encoded.items()}

    def truncation(self, strategy: object, max_length: object, *, default: str | None = None) -> Truncation:
        """Check the options `truncation` and `max_length` as a caller passes them.

        Args:
            strategy: What the caller passed; None if nothing.
            max_length: What the caller passed; None if nothing.
            default: How to cut where the caller says nothing, or no more than True; a warning then says so. None
                refuses.

        Raises:
            ConfigError: Unknown strategy, or a length that leaves no room or exceeds the model's.
        """
        warns = strategy is None and default is not None
        if strategy is True or warns:
            strategy = default or "longest_first"
        if strategy in (False, None, "do_not_truncate"):
            strategy = None
        elif not isinstance(strategy, str) or strategy not in TRUNCATION_STRATEGIES:
            raise ConfigError(
                "truncation requested", f"got {strategy!r}", f"use True or one of {TRUNCATION_STRATEGIES}"
            )
        if max_length is None:
            return Truncation(self.max_length, strategy, warns)
        lowest = self._backend.num_special_tokens_to_add(True) + 1
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < lowest:
            raise ConfigError("max_length requested", f"got {max_length!r}", f"use a whole number from {lowest} on")
        if max_length > self.max_length:
            raise ConfigError(
                f"max_length={max_length} requested",
                f"the model has {self.max_length} positions",
                "leave max_length out or lower it",
            )
        return Truncation(max_length, strategy, warns)

    def _check_may_cut(self, length: int, truncation: Truncation, index: int | None) -> None:
        if truncation.strategy is None:
            raise InputTooLongError(
                f"text of {length} tokens requested",
                f"max_length is {truncation.max_length}"
                if truncation.max_length < self.max_length
                else f"the model reads at most {truncation.max_length}",
                "pass truncation=True to read only its beginning, or split it",
                length=length,
                max_length=truncation.max_length,
                index=index,
            )
        if truncation.warns:
            message = f"of a text of {length} tokens only {truncation.max_length} are read"
            warn_caller(message, TruncatedWarning)

    def _truncate(self, item: TextInput, truncation: Truncation, index: int | None) -> tokenizers.Encoding:
        """Tokenize again without special tokens, cut, then put them in."""
        parts = self._without_specials(item)
        keep = self._room(parts, truncation)
        if keep is None:
            lengths = (len(parts[0]), len(parts[1]) if len(parts) > 1 else 0)
            raise InputTooLongError(
                f"truncation '{truncation.strategy}' to {truncation.max_length} tokens requested",
                f"the texts have {lengths[0]} and {lengths[1]} tokens, and cutting that one is not enough",
                "use truncation=True",
                length=sum(lengths),
                max_length=truncation.max_length,
                index=index,
            )
        return next(self._windows(parts, keep))

    def _without_specials(self, item: TextInput) -> list[tokenizers.Encoding]:
        texts = [item.text] if item.text_pair is None else [item.text, item.text_pair]
        return [self._backend.encode(text, add_special_tokens=False) for text in texts]

    def _room(self, parts: Sequence[tokenizers.Encoding], truncation: Truncation) -> tuple[int, int] | None:
        """Tokens kept of each text, by `split_room`."""
        room = truncation.max_length - self._backend.num_special_tokens_to_add(len(parts) > 1)
        lengths = (len(parts[0]), len(parts[1]) if len(parts) > 1 else 0)
        return split_room(lengths, room, truncation.strategy or "longest_first")

    def _windows(
        self, parts: Sequence[tokenizers.Encoding], keep: tuple[int, int], stride: int = 0
    ) -> Iterator[tokenizers.Encoding]:
        """Split texts, and put special tokens around each piece, or pair of pieces, in the order of transformers."""
        pieces = [self._pieces(part, kept, stride) for part, kept in zip(parts, keep, strict=False)]
        if len(pieces) == 1:
            yield from map(self._joiner.post_process, pieces[0])
            return
        (first, *firsts), seconds = pieces
        pairs = [(first, seconds[0]), *product(firsts, seconds), *product([first], seconds[1:])]
        yield from starmap(self._joiner.post_process, pairs)

    def _pieces(self, part: tokenizers.Encoding, kept: int, stride: int) -> list[tokenizers.Encoding]:
        if kept >= len(part):
            return [_unplaced(part)]
        part.truncate(kept, stride=stride, direction=self.truncation_side)
        return [part, *part.overflowing]


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


def _joiner(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Make a tokenizer that only puts special tokens in, and leaves offsets alone.

    RoBERTa's post-processor takes the space before a word out of the offsets of its token. Texts that are joined have
    been through it once; a second time would take a letter.
    """
    if backend.post_processor is None:
        return backend
    steps = json.loads(backend.post_processor.__getstate__())
    for step in (steps, *steps.get("processors", [])):
        if "trim_offsets" in step:
            step["trim_offsets"] = False
    without_words = tokenizers.Tokenizer(tokenizers.models.WordLevel({}, unk_token=""))
    return tokenizers.Tokenizer.from_str(json.dumps({**json.loads(without_words.to_str()), "post_processor": steps}))


def _unplaced(encoded: tokenizers.Encoding) -> tokenizers.Encoding:
    """Copy an encoding without the note that it is a first text.

    As a second text it would keep that note, and its tokens would be taken for tokens of the first. Only what is cut
    off an encoding comes without: here the half that it is itself, behind padding.
    """
    length = len(encoded)
    if not length:
        return tokenizers.Encoding()
    encoded.pad(2 * length, direction="left")
    encoded.truncate(length)
    return encoded.overflowing[0]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


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
    if side not in SIDES:
        raise ValueError(f"{name} is {side!r}")
    return str(side)


def _has_segments(settings: dict[str, Any]) -> bool:
    """Whether the second text of a pair is marked, by the rule of transformers: what its class or its settings say."""
    names = settings.get("model_input_names")
    if names is None:
        return settings.get("tokenizer_class") not in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return "token_type_ids" in names


def _special_tokens(settings: dict[str, Any]) -> dict[str, str]:
    """Tokens by role; tokenizer_config.json has each as a string, or as a mapping with its content."""
    found = {}
    for role in ("bos", "cls", "eos", "mask", "pad", "sep", "unk"):
        token = settings.get(f"{role}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            found[role] = content
    return found


_CLEAN_UP = (
    *((f" {mark}", mark) for mark in (".", "?", "!", ",")),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
"""What transformers replaces, in this order, to take out spaces before punctuation and contractions."""


def _pad_id(backend: tokenizers.Tokenizer, settings: dict[str, Any]) -> int:
    token = settings.get("pad_token")
    content = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(content) if isinstance(content, str) else None
    return 0 if found is None else int(found)
