"""translation: a text in another language."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ortolan.errors import ConfigError, warn_caller
from ortolan.request import TextInput
from ortolan.tasks.base import ModelFacts
from ortolan.tasks.text2text import TASK_PARAMETERS, Text2Text, Text2TextOptions
from ortolan.tokenize import Encoding, Tokenizer, Truncation

NAMED = re.compile(r"translation_([^_]+)_to_([^_]+)")
"""Names of the task that say from which language to which."""


class Translate(Text2Text):
    """Say in another language what a text says.

    A model for many languages is told both by tokens: that of the source stands beside the text, and that of the
    target is what the decoder writes first.
    """

    result = "translation"
    option_names: tuple[str, ...] = (*Text2Text.option_names, "src_lang", "tgt_lang")

    def __init__(self, name: str = "translation") -> None:
        """Take a name such as "translation" or "translation_en_to_fr"."""
        self.name = name
        found = NAMED.fullmatch(name)
        self._languages = found.groups() if found else (None, None)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: Text2TextOptions | None = None
    ) -> Text2TextOptions:
        """Check options, the languages among them; see `Task.options`.

        Raises:
            ConfigError: A value that is not allowed, or a language that the model has no token for.
        """
        options = super().options(values, facts, base)
        named = (options.source, options.target) if base else self._languages
        source, target = (
            _language(name, values.get(name), before)
            for name, before in zip(("src_lang", "tgt_lang"), named, strict=True)
        )
        options = replace(options, source=source, target=target)
        if _language_token(facts.tokenizer) is None:
            return options  # it knows one pair of languages, or reads them in the text
        for name, language in (("src_lang", source), ("tgt_lang", target)):
            if language is not None:
                _language_id(name, language, facts.tokenizer)
        if target is None:
            return options
        forced = _language_id("tgt_lang", target, facts.tokenizer)
        return replace(options, writing=replace(options.writing, forced_bos_token_id=forced))

    def parameters(self, facts: ModelFacts, values: Mapping[str, object]) -> Mapping[str, Any]:
        """Find what config.json says of a translation between these languages, or of the first one that it knows."""
        known = facts.config.get(TASK_PARAMETERS) or {}
        asked = [values.get("src_lang"), values.get("tgt_lang")]
        name = self.name if asked == [None, None] else f"translation_{asked[0]}_to_{asked[1]}"
        names = [one for one in known if one.startswith("translation")]
        if name not in names and names and name == "translation":
            name = names[0]
            warn_caller(f"the model translates in several ways; this is {name}")
        found = known.get(name)
        return found if isinstance(found, Mapping) else {}

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: Text2TextOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text, with the token of its language; see `Task.encode`.

        Raises:
            ConfigError: A model for many languages, and the caller does not say which.
        """
        groups = super().encode(payloads, facts, options, limits, first)
        token = _language_token(facts.tokenizer)
        if token is None:
            return groups
        if options.source is None or options.target is None:
            raise ConfigError(
                "a translation requested",
                "the model knows many languages, and it is not said from which to which",
                "pass src_lang= and tgt_lang=",
            )
        source = _language_id("src_lang", options.source, facts.tokenizer)
        return [[_spoken(row, token, source) for row in group] for group in groups]


def _spoken(row: Encoding, token: int, language: int) -> Encoding:
    """Put the token of a language where the tokenizer has put that of another."""
    marks = zip(row.ids, row.is_special, strict=True)
    return replace(row, ids=[language if is_special and one == token else one for one, is_special in marks])


def _language_token(tokenizer: Tokenizer) -> int | None:
    """Find the token of a language that a tokenizer puts beside each text; None where it puts in none.

    Models for many languages have such a token in the template of their tokenizer, and no other special token there
    but those that begin and end a text.
    """
    roles = ("bos", "cls", "eos", "mask", "pad", "sep", "unk")
    known = {tokenizer.special_id(role) for role in roles}
    around = [one for one in tokenizer.around if one not in known]
    return around[0] if len(around) == 1 else None


def _language(name: str, value: object, before: str | None) -> str | None:
    if value is None:
        return before
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} requested", f"got {value!r}", "pass the name of a language, as the model has it")
    return value


def _language_id(name: str, language: str, tokenizer: Tokenizer) -> int:
    for token in (language, f"__{language}__"):  # M2M100 has underscores about its languages
        found = tokenizer.token_id(token)
        if found is not None and tokenizer.is_added(found):
            return found
    raise ConfigError(f"{name}={language!r} requested", "the model has no token for it", "use a name such as 'fr_XX'")
