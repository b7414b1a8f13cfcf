"""Texts that match a regular expression or a JSON schema: which tokens may come next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ortolan.errors import ConfigError
from ortolan.request import is_encodable
from ortolan.tokenize import Tokenizer

if TYPE_CHECKING:
    import llguidance

MAX_REGEX_CHARS = 10_000
MAX_SCHEMA_CHARS = 200_000

MAX_LOOKED_AHEAD = 8
"""Tokens at the beginning of a text that are looked at beforehand, as long as there is one way to go."""

MAX_COMPILED = 64
"""Grammars that are kept for each tokenizer, for the requests that ask for the same again."""

WHITE_SPACE = r"[\x20\x0A\x0D\x09]{1,20}"
"""What may stand between the parts of a JSON text. It has an end, so that no model writes blank lines for ever."""

OPTIONS = "x-guidance"
"""Entry of a schema that says how its JSON is written; llguidance lists what may stand there."""


class Constraint(Protocol):
    """What a text must be, as it grows. Belongs to one text, and to one thread at a time."""

    def allowed(self) -> NDArray[np.bool_] | None:
        """Say which tokens may come next.

        Returns:
            bool [V], the caller's to keep; None if all may. Tokens that end a text are among them exactly when the
            text may end.

        Raises:
            ConfigError: There is none, or finding out takes too long.
        """

    def accept(self, token: int) -> None:
        """Take a token that was written.

        Raises:
            ConfigError: It is not among those that were allowed.
        """

    @property
    def is_complete(self) -> bool:
        """Whether the text may end here."""

    def fork(self) -> Constraint:
        """Copy it, for another text with the same beginning."""


def compile_constraint(
    *,
    tokenizer: Tokenizer,
    vocabulary: int,
    eos: Sequence[int],
    regex: str | None = None,
    json_schema: Mapping[str, object] | str | None = None,
) -> Constraint:
    """Make a constraint for a text that begins now.

    Compiling the same again costs little: what was compiled is kept as long as the tokenizer is. The first one for a
    tokenizer takes longest, since all of its tokens are read.

    Args:
        tokenizer: Of the model. Its tokens must be bytes or characters in the end: byte-level BPE, and vocabularies of
            SentencePiece. WordPiece is refused, as its tokens say nothing of spaces.
        vocabulary: V, of the model. Tokens that only one of model and tokenizer has are never allowed.
        eos: Tokens that end a text.
        regex: What all of the text must match: the syntax of Rust's regex crate, which has no lookaround and no
            backreferences.
        json_schema: What the text must be as JSON: a mapping, or its JSON text. Properties come in the order of the
            schema.

    Raises:
        ConfigError: Neither or both are passed; one that is too large, that can't be compiled, or that no token of
            the model begins; no token ends a text; a tokenizer that can't be used; or llguidance is not installed.
    """
    grammar = _grammar(regex, json_schema)
    ends = tuple(dict.fromkeys(token for token in eos if token < vocabulary))
    if not ends:
        raise ConfigError("a constraint requested", "no token of the model ends a text", "pass eos_token_id")
    return _compiler(tokenizer, vocabulary, ends).compile(*grammar)


def _grammar(regex: object, json_schema: object) -> tuple[str, str]:
    """Check what a text shall be; say which of the two it is, and as text."""
    if (regex is None) == (json_schema is None):
        found = "both are passed" if regex is not None else "neither is passed"
        raise ConfigError("regex or json_schema requested", found, "pass one of them")
    if regex is None:
        return "json_schema", _schema_text(json_schema)
    if not isinstance(regex, str):
        raise ConfigError("regex requested", f"got {type(regex).__name__}", "pass a text")
    if not is_encodable(regex):
        raise ConfigError("regex requested", "there is a lone surrogate in it", "use Unicode")
    if (len(regex) - len(regex.rstrip("\\"))) % 2:
        raise ConfigError("regex requested", "it ends in a lone backslash", "write two for a backslash")
    return "regex", _bounded("regex", regex, MAX_REGEX_CHARS)


def _schema_text(schema: object) -> str:
    """Write a schema as JSON, in one form for all ways to say the same."""
    try:
        if isinstance(schema, str):
            schema = json.loads(_bounded("json_schema", schema, MAX_SCHEMA_CHARS))
        if not isinstance(schema, Mapping):
            raise ConfigError(
                "json_schema requested", f"got {type(schema).__name__}", "pass a mapping, or its JSON text"
            )
        if not isinstance(schema.get(OPTIONS, {}), Mapping):
            raise ConfigError(f"{OPTIONS} requested", f"got {type(schema[OPTIONS]).__name__}", "pass a mapping")
        text = json.dumps(dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError("json_schema requested", f"it is no JSON ({error})", "correct it") from error
    return _bounded("json_schema", text, MAX_SCHEMA_CHARS)


def _bounded(name: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise ConfigError(f"{name} requested", f"it has {len(text):,} characters", f"use {limit:,} at most")
    return text


_COMPILERS: WeakKeyDictionary[Tokenizer, dict[tuple[int, tuple[int, ...]], _Compiler]] = WeakKeyDictionary()
"""What was made of each tokenizer, by V and the tokens that end a text; it goes with the tokenizer."""

_LOCK = Lock()


def _compiler(tokenizer: Tokenizer, vocabulary: int, eos: tuple[int, ...]) -> _Compiler:
    with _LOCK:
        made = _COMPILERS.setdefault(tokenizer, {})
        if (vocabulary, eos) not in made:
            made[vocabulary, eos] = _Compiler(tokenizer, vocabulary, eos)
        return made[vocabulary, eos]


class _Compiler:
    """Makes constraints for one vocabulary. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, eos: tuple[int, ...]) -> None:
        self._vocabulary = vocabulary
        self._eos = eos
        self._tokens = _tokens(tokenizer, vocabulary, eos[0])
        # the space before the first word is not in the text in the end
        self._may_begin_with_space = tokenizer.drops_first_space
        self._compiled = lru_cache(MAX_COMPILED)(self._compile)

    def compile(self, kind: str, text: str) -> Constraint:
        return self._compiled(kind, text).fork()

    def _compile(self, kind: str, text: str) -> _Grammar:
        from llguidance import LLMatcher

        grammar = _written(kind, text, self._may_begin_with_space)
        matcher = LLMatcher(self._tokens, grammar, log_level=0, limits=_limits())
        made = _Grammar(matcher, self._vocabulary, self._eos)
        if reason := made.failure:
            raise ConfigError(f"{kind} requested", reason, "correct or simplify it")
        self._check_begins(made.fork())
        return made

    def _check_begins(self, walk: _Grammar) -> None:
        """Refuse what no text fits, or no token of the model begins, before anything runs."""
        for _ in range(MAX_LOOKED_AHEAD):
            first, *others = np.flatnonzero(walk.allowed())
            if others or first in self._eos:
                return
            walk.accept(int(first))


def _limits() -> llguidance.LLParserLimits:
    """Bound what compiling a grammar, and finding the next tokens, may take, in steps of llguidance.

    Those of its limits that are not named here are its own.
    """
    from llguidance import LLParserLimits

    return LLParserLimits(
        step_lexer_fuel=100_000, max_lexer_states=20_000, max_grammar_size=100_000, verbose_errors=False
    )


def _written(kind: str, text: str, may_begin_with_space: bool) -> str:
    """Write a grammar in the language of llguidance."""
    from llguidance import LLMatcher

    if kind == "regex":
        [body] = json.loads(LLMatcher.grammar_from_regex(text))["grammars"]
    else:
        schema = json.loads(text)
        schema[OPTIONS] = {"whitespace_pattern": WHITE_SPACE, **schema.get(OPTIONS, {})}
        body = {"json_schema": schema}
    # without forcing: it tokenizes what must come, and not every tokenizer gives the same bytes back
    start = '%llguidance {"no_forcing": true}\nstart: ' + ('" "? @body' if may_begin_with_space else "@body")
    return json.dumps({"grammars": [{"lark_grammar": start}, {**body, "name": "body"}]})


def _tokens(tokenizer: Tokenizer, vocabulary: int, eos: int) -> llguidance.LLTokenizer:
    """Read the tokens of a tokenizer as llguidance wants them."""
    try:
        from llguidance import LLTokenizer
    except ImportError as error:
        raise ConfigError(
            "a constraint requested", "llguidance is not installed", "pip install 'ortolan[constrain]'"
        ) from error
    document = json.loads(tokenizer.to_json())
    document["decoder"] = _decoder(document["decoder"])
    try:
        return LLTokenizer(json.dumps(document), n_vocab=max(vocabulary, tokenizer.size), eos_token=eos)
    except BaseException as error:
        if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":  # which is no Exception
            raise
        raise ConfigError(
            "a constraint requested", f"this tokenizer has none ({_line(str(error))})", "leave it out"
        ) from error


def _decoder(decoder: dict[str, Any] | None) -> dict[str, Any] | None:
    """Say in words that llguidance reads what a decoder of SentencePiece does: it puts spaces in the place of marks."""
    parts = [] if decoder is None else decoder.get("decoders", [decoder])
    if not any(part["type"] == "Metaspace" for part in parts):
        return decoder
    space = {"type": "Replace", "content": " "}
    said = [
        {**space, "pattern": {"String": part["replacement"]}} if part["type"] == "Metaspace" else part for part in parts
    ]
    return {"type": "Sequence", "decoders": [*said, {"type": "ByteFallback"}]}


class _Grammar:
    """A `Constraint` by llguidance."""

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: int, eos: tuple[int, ...]) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._eos = eos

    @property
    def failure(self) -> str:
        """Why it can't be used, in one line; "" if it can."""
        return _line(self._matcher.get_error())

    def allowed(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if (reason := self.failure) and not reason.startswith("NoExtension"):
            raise ConfigError("a constraint requested", reason, "simplify it")
        found = np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)
        found[list(self._eos)] = self._matcher.is_accepting()
        if reason or not found.any():
            raise ConfigError(
                "a constraint requested", "no token of the model goes on from here", "ask for what its tokens can write"
            )
        return found

    def accept(self, token: int) -> None:
        # llguidance knows one token that ends a text
        known = self._eos[0] if token in self._eos else token
        if not self._matcher.consume_token(known):
            raise ConfigError(
                f"token {token} requested", "the constraint does not allow it here", "leave one of them out"
            )

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_accepting()

    def fork(self) -> _Grammar:
        return _Grammar(self._matcher.deep_copy(), self._vocabulary, self._eos)


def _line(reason: str) -> str:
    """Take the reason out of a message with excerpts of the grammar."""
    said = reason.partition("\n   1 | ")[0]
    reason = said.rpartition("\nerror: ")[2].replace("<non-verbose/>", "")
    return " ".join(reason.split())[:300]
