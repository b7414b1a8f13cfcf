"""How a model writes: what its files say of it, what a caller says, and what is not honoured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ortolan.errors import ConfigError
from ortolan.generation.values import (
    Biases,
    Reader,
    Sequences,
    biases,
    count,
    decay,
    early_stopping,
    flag,
    number,
    pattern,
    positive,
    schema,
    sequences,
    stop_strings,
    token_ids,
    whole,
)

DEFAULT_NEW_TOKENS = 256
"""Tokens written where nobody says how many; the number that pipelines of transformers have."""

UNSAID_LENGTH = 20
"""A `max_length` that stands in old files without being meant: it was the default of transformers."""

MAX_ROWS = 128
"""Most beams, and most texts of one prompt: each has a row of the cache."""

MAX_DRAFT = 64
"""Most tokens that are looked up at once; each costs a place in the next run."""

MAX_ALTERNATIVES = 20
"""Most other tokens whose likelihood is told beside that of the one that is written."""

SAMPLING = (
    *("temperature", "top_k", "top_p", "top_h", "min_p"),
    *("typical_p", "epsilon_cutoff", "eta_cutoff"),
)
"""Options that say how tokens are drawn, and say nothing where none are."""

BEAMS = ("length_penalty", "early_stopping")
"""Options that say how beams are ranked, and say nothing where there are none."""

NOT_HONOURED: Mapping[str, tuple[object, ...]] = {
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "force_words_ids": (),
    "constraints": (),
    "penalty_alpha": (0.0,),
    "guidance_scale": (1.0,),
    "watermarking_config": (),
    "max_time": (),
    "remove_invalid_values": (False,),
    "token_healing": (False,),
    "dola_layers": (),
    "assistant_early_exit": (),
}
"""Options of transformers that are not honoured, and beside None the values that change nothing."""

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
        min_new_tokens: No end before so many were written; goes before `min_length`.
        eos_token_id: Tokens that end a text.
        decoder_start_token_id: What a decoder begins with; None where the model has no encoder.
        stop_strings: Texts that end a text, and stay in it.

        num_beams: How many texts are followed up at a time; 1 for the best next token, again and again.
        length_penalty: A text of several beams is worth its log-likelihood, divided by its length to this power.
        early_stopping: True ends a search with as many texts as there are beams; False when none of those that go on
            looks better by its present length; "never" when none can get better.
        num_return_sequences: How many texts are returned.

        do_sample: Draw tokens by their likelihood, rather than take the best.
        temperature: What logits are divided by before.
        top_k: Only so many of the best are drawn from; 0 for all.
        top_p: Only the best that together have this much of the likelihood.
        top_h: Only the best that together have this share of the entropy; None for all.
        min_p: Only those that have this share of the likelihood of the best; None for all.
        typical_p: Only those whose surprise is nearest to the expected one, and that together have this likelihood.
        epsilon_cutoff: Only those that are as likely as this.
        eta_cutoff: The same, and lower where the entropy is high.
        seed: Equal ones draw equal tokens, whatever other texts are written beside; None for other ones each time.

        repetition_penalty: What logits of tokens that are there already are divided by, if positive; 1 changes
            nothing.
        encoder_repetition_penalty: What logits of tokens of the prompt, or of what an encoder reads, are multiplied by.
        presence_penalty: Taken from the logits of tokens that were written, the prompt not among them, as OpenAI
            defines it.
        frequency_penalty: The same, times how often they were.
        no_repeat_ngram_size: No so many tokens in a row come twice; 0 for no such rule.
        encoder_no_repeat_ngram_size: No so many tokens in a row that are in the prompt, or in what an encoder reads.
        bad_words_ids: Sequences of tokens that are never written.
        sequence_bias: What is added to the logit of a token that would complete a sequence.
        logit_bias: The same, under the name that OpenAI has for it.
        suppress_tokens: Tokens that are never written.
        begin_suppress_tokens: Tokens that are not written first.
        forced_bos_token_id: What stands at the second place of a text, whatever the model says.
        forced_eos_token_id: One of these stands at the last place of a text that gets as long as it may.
        exponential_decay_length_penalty: After so many new tokens the end gets likelier, by this factor with each.
        renormalize_logits: Whether beams are ranked by likelihoods that add up to 1 after all rules.

        logprobs: How many of the best tokens are told beside each one that is written, with their log-likelihoods;
            None for no likelihoods at all.
        prompt_lookup_num_tokens: How many tokens are guessed from what stands in the text already, and checked in one
            run; None for none. Changes no text.
        max_matching_ngram_size: How many tokens in a row, at most, must be there twice for that.
        regex: A regular expression that the text must match.
        json_schema: A JSON schema that it must comply with.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_length: int = 0
    min_new_tokens: int | None = None
    eos_token_id: tuple[int, ...] = ()
    decoder_start_token_id: int | None = None
    stop_strings: tuple[str, ...] = ()

    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    top_h: float | None = None
    min_p: float | None = None
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    seed: int | None = None

    repetition_penalty: float = 1.0
    encoder_repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: Sequences = ()
    sequence_bias: Biases = ()
    logit_bias: Biases = ()
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    exponential_decay_length_penalty: tuple[int, float] | None = None
    renormalize_logits: bool = False

    logprobs: int | None = None
    prompt_lookup_num_tokens: int | None = None
    max_matching_ngram_size: int = 2
    regex: str | None = None
    json_schema: str | Mapping[str, Any] | None = None

    @property
    def is_constrained(self) -> bool:
        """Whether the text must have a form."""
        return self.regex is not None or self.json_schema is not None

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
        return self.min_length if self.min_new_tokens is None else length + self.min_new_tokens


def updated(config: GenerationConfig, values: Mapping[str, object]) -> GenerationConfig:
    """Change settings.

    Args:
        config: What held so far.
        values: By name; None leaves a setting as it is, and names that are none of `OPTIONS` are passed over. One of
            two lengths puts the other one out of force.

    Raises:
        ConfigError: A value that is not allowed.
    """
    given = {
        name: READERS[name](name, value) for name, value in values.items() if name in READERS and value is not None
    }
    if "max_length" in given or "max_new_tokens" in given:
        config = replace(config, max_length=None, max_new_tokens=None)
    if "min_length" in given or "min_new_tokens" in given:
        config = replace(config, min_length=0, min_new_tokens=None)
    return replace(config, **given)


def check_honoured(values: Mapping[str, object]) -> None:
    """Refuse options that ask for what there is not, all of them at once.

    Raises:
        ConfigError: Some of `NOT_HONOURED`, with values that would change something.
    """
    if found := not_honoured(values):
        asked = ", ".join(f"{name}={value!r}" for name, value in found.items())
        raise ConfigError(f"{asked} requested", "that is not honoured here", "leave it out")


def not_honoured(values: Mapping[str, object]) -> dict[str, object]:
    """Pick the options that would change something, and are not honoured."""
    return {
        name: value
        for name, value in values.items()
        if name in NOT_HONOURED and value is not None and value not in NOT_HONOURED[name]
    }


def read_settings(settings: Mapping[str, Any]) -> tuple[GenerationConfig, dict[str, object]]:
    """Read generation_config.json, or what an older checkpoint has of it in config.json.

    Returns:
        The settings, and what they ask for that is not honoured.

    Raises:
        ConfigError: A value that is not allowed.
    """
    said = {name: value for name, value in settings.items() if (name, value) != ("max_length", UNSAID_LENGTH)}
    return updated(GenerationConfig(), said), not_honoured(settings)


_share = number(0.0, 1.0)
_factor = number(1e-9, 1e9)

READERS: Mapping[str, Reader] = {
    "max_new_tokens": positive,
    "max_length": positive,
    "min_length": count,
    "min_new_tokens": count,
    "eos_token_id": token_ids,
    "decoder_start_token_id": count,
    "stop_strings": stop_strings,
    "num_beams": whole(1, MAX_ROWS),
    "length_penalty": number(-5.0, 5.0),
    "early_stopping": early_stopping,
    "num_return_sequences": whole(1, MAX_ROWS),
    "do_sample": flag,
    "temperature": number(1e-9, 1e9, "; do_sample=False takes the most likely token"),
    "top_k": count,
    "top_p": _share,
    "top_h": number(1e-9, 1.0),
    "min_p": _share,
    "typical_p": number(1e-9, 1.0),
    "epsilon_cutoff": _share,
    "eta_cutoff": _share,
    "seed": whole(0, 2**64 - 1),
    "repetition_penalty": _factor,
    "encoder_repetition_penalty": _factor,
    "presence_penalty": number(-2.0, 2.0),
    "frequency_penalty": number(-2.0, 2.0),
    "no_repeat_ngram_size": count,
    "encoder_no_repeat_ngram_size": count,
    "bad_words_ids": sequences,
    "sequence_bias": biases,
    "logit_bias": biases,
    "suppress_tokens": token_ids,
    "begin_suppress_tokens": token_ids,
    "forced_bos_token_id": count,
    "forced_eos_token_id": token_ids,
    "exponential_decay_length_penalty": decay,
    "renormalize_logits": flag,
    "logprobs": whole(0, MAX_ALTERNATIVES),
    "prompt_lookup_num_tokens": whole(1, MAX_DRAFT),
    "max_matching_ngram_size": whole(1, MAX_DRAFT),
    "regex": pattern,
    "json_schema": schema,
}
"""What reads each option, by name."""

OPTIONS: tuple[str, ...] = (*READERS, *WITHOUT_EFFECT, *NOT_HONOURED)
"""Options of a call that say how texts are written. Those of `NOT_HONOURED` are known in order to be refused."""
