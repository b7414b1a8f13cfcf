"""How a model writes: what its files say of it, what a caller says, and what is not honoured yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ortolan.errors import ConfigError
from ortolan.request import is_encodable

DEFAULT_NEW_TOKENS = 256
"""Tokens written where nobody says how many; the number that pipelines of transformers have."""

UNSAID_LENGTH = 20
"""A `max_length` that stands in old files without being meant: it was the default of transformers."""

UNFINISHED = "\ufffd"
"""What stands in a decoded text for a character whose last bytes have not come yet."""

MAX_STOP_STRINGS = 64
MAX_STOP_CHARS = 1000

SAMPLING: Mapping[str, object] = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "top_h": None,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
BEAMS: Mapping[str, object] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "length_penalty": 1.0,
    "early_stopping": False,
    "force_words_ids": None,
    "constraints": None,
}
OTHERS: Mapping[str, object] = {
    "num_return_sequences": 1,
    "penalty_alpha": None,
    "guidance_scale": None,
    "sequence_bias": None,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "watermarking_config": None,
    "max_time": None,
}
NOT_HONOURED: Mapping[str, object] = {**SAMPLING, **BEAMS, **OTHERS}
"""Options of transformers that the search for the best next token cannot honour, and the value that changes nothing."""

WITHOUT_EFFECT = ("use_cache", "pad_token_id", "bos_token_id")
"""Options that change no text: rows come back without padding, and a cache is no matter of the caller's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """How texts are written; names are those of transformers.

    Lengths count tokens. Where a model has a decoder, they are those of its output, the start token among them; else
    those of prompt and continuation together.

    Attributes:
        max_new_tokens: Most tokens that are written; goes before `max_length`.
        max_length: Most tokens in all. With neither, `DEFAULT_NEW_TOKENS` are written.
        min_length: No end before so many tokens in all.
        min_new_tokens: No end before so many were written.
        eos_token_id: Tokens that end a text.
        decoder_start_token_id: What a decoder begins with; None where the model has no encoder.
        forced_bos_token_id: What stands at the second place of a text, whatever the model says.
        forced_eos_token_id: One of these stands at the last place of a text that gets as long as it may.
        suppress_tokens: Tokens that are never written.
        begin_suppress_tokens: Tokens that are not written first.
        bad_words_ids: Sequences of tokens that are never written.
        repetition_penalty: What logits of tokens that are there already are divided by, if positive; 1 changes
            nothing.
        no_repeat_ngram_size: No so many tokens in a row come twice; 0 for no such rule.
        stop_strings: Texts that end a text, and stay in it.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_length: int = 0
    min_new_tokens: int = 0
    eos_token_id: tuple[int, ...] = ()
    decoder_start_token_id: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    stop_strings: tuple[str, ...] = ()

    def longest(self, length: int) -> int:
        """Say how long a text may become.

        Args:
            length: Tokens that are there before the first is written.

        Returns:
            Tokens in all.
        """
        if self.max_new_tokens is None and self.max_length is not None:
            return self.max_length
        return length + (DEFAULT_NEW_TOKENS if self.max_new_tokens is None else self.max_new_tokens)

    def shortest(self, length: int) -> int:
        """Say how long a text must be before it may end: tokens in all, `length` of which are there at first."""
        return max(self.min_length, length + self.min_new_tokens if self.min_new_tokens else 0)


def updated(config: GenerationConfig, values: Mapping[str, object]) -> GenerationConfig:
    """Change settings.

    Args:
        config: What held so far.
        values: By name; None leaves a setting as it is, and names that are none of `OPTIONS` are passed over. One of
            the two lengths puts the other one out of force.

    Raises:
        ConfigError: A value that is not allowed.
    """
    given = {
        name: READERS[name](name, value) for name, value in values.items() if name in READERS and value is not None
    }
    if "max_length" in given or "max_new_tokens" in given:
        config = replace(config, max_length=None, max_new_tokens=None)
    return replace(config, **given)


def check_honoured(values: Mapping[str, object]) -> None:
    """Refuse options that ask for another search than the one there is.

    Raises:
        ConfigError: One of `NOT_HONOURED` with a value that would change something.
    """
    for name, value in not_honoured(values).items():
        raise ConfigError(
            f"{name}={value!r} requested",
            "the best next token is always taken here: there is no sampling yet, and there are no beams",
            "leave it out",
        )


def not_honoured(values: Mapping[str, object]) -> dict[str, object]:
    """Pick the options that would change something, and are not honoured."""
    return {
        name: value
        for name, value in values.items()
        if name in NOT_HONOURED and value is not None and value != NOT_HONOURED[name]
    }


def read_settings(settings: Mapping[str, Any]) -> tuple[GenerationConfig, dict[str, object]]:
    """Read generation_config.json, or what an older checkpoint has of it in config.json.

    Returns:
        The settings, and what they ask for that is not honoured.

    Raises:
        ConfigError: A value that is not allowed.
    """
    said = {name: value for name, value in settings.items() if (name, value) != ("max_length", UNSAID_LENGTH)}
    return updated(GenerationConfig(), said), asks_in_vain(settings)


def asks_in_vain(settings: Mapping[str, Any]) -> dict[str, object]:
    """Pick what settings of a model ask for and is not honoured.

    What only says how to draw, or how to rank beams, counts where there is drawing, or are beams.
    """
    found = not_honoured(settings)
    unused = [
        *(SAMPLING if "do_sample" not in found else ()),
        *(BEAMS if "num_beams" not in found else ()),
    ]
    return {name: value for name, value in found.items() if name not in unused}


def _number(name: str, value: object, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"{name} requested", f"got {value!r}", f"use a whole number from {lowest} on")
    return value


def _positive(name: str, value: object) -> int:
    return _number(name, value, 1)


def _count(name: str, value: object) -> int:
    return _number(name, value, 0)


def _ids(name: str, value: object) -> tuple[int, ...]:
    values = [value] if isinstance(value, int) else value
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ConfigError(f"{name} requested", f"got {value!r}", "pass the id of a token, or a list of them")
    return tuple(_count(name, one) for one in values)


def _sequences(name: str, value: object) -> tuple[tuple[int, ...], ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(one, Sequence) for one in value):
        raise ConfigError(f"{name} requested", f"got {value!r}", "pass a list of lists of token ids")
    return tuple(ids for one in value if (ids := _ids(name, one)))


def _penalty(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise ConfigError(f"{name} requested", f"got {value!r}", "use a number above 0; 1 changes nothing")
    return float(value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    texts = tuple(given) if isinstance(given, Sequence) else ()
    if not 0 < len(texts) <= MAX_STOP_STRINGS or not all(_is_stop_string(one) for one in texts):
        raise ConfigError(
            f"{name} requested",
            f"got {value!r}",
            f"pass a text of 1 to {MAX_STOP_CHARS} characters, or up to {MAX_STOP_STRINGS} of them",
        )
    return texts


def _is_stop_string(value: object) -> bool:
    # what stands for an unfinished character would stop a text within any character
    is_text = isinstance(value, str) and 0 < len(value) <= MAX_STOP_CHARS and is_encodable(value)
    return is_text and UNFINISHED not in str(value)


READERS: Mapping[str, Callable[[str, object], Any]] = {
    "max_new_tokens": _positive,
    "max_length": _positive,
    "min_length": _count,
    "min_new_tokens": _count,
    "eos_token_id": _ids,
    "decoder_start_token_id": _count,
    "forced_bos_token_id": _count,
    "forced_eos_token_id": _ids,
    "suppress_tokens": _ids,
    "begin_suppress_tokens": _ids,
    "bad_words_ids": _sequences,
    "repetition_penalty": _penalty,
    "no_repeat_ngram_size": _count,
    "stop_strings": _texts,
}

OPTIONS: tuple[str, ...] = (*READERS, *WITHOUT_EFFECT, *NOT_HONOURED)
"""Options of a call that say how texts are written. Those of `NOT_HONOURED` are known in order to be refused."""
