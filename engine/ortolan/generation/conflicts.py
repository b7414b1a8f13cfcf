"""What a caller asks for, against what held before: options that contradict each other, or change nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ortolan.errors import ConfigError, warn_caller
from ortolan.generation.config import BEAMS, SAMPLING, GenerationConfig, check_honoured, updated

LEAST, MOST = ("min_length", "min_new_tokens"), ("max_length", "max_new_tokens")

PLAIN = GenerationConfig()


def requested(config: GenerationConfig, values: Mapping[str, object]) -> GenerationConfig:
    """Change settings as a caller says.

    Warns of options that change nothing beside the others, where the caller names them; and of a longest length below
    the shortest one of the model's files: the text then ends at the longest, as in transformers.

    Args:
        config: What held so far; for the first time, what the model's files say.
        values: As in `updated`.

    Raises:
        ConfigError: A value that is not allowed, options that are not honoured, or some that contradict each other;
            the message names all of them.
    """
    check_honoured(values)
    config = updated(config, values)
    said = {name for name, value in values.items() if value is not None}
    found = contradictions(config)
    if beyond := out_of_reach(config):
        if said.intersection(LEAST):
            found.append(beyond)
        elif said.intersection(MOST):
            warn_caller(f"{beyond}: no text is as long as it should be at least")
    if found:
        raise ConfigError(
            "options requested", f"some contradict each other: {'; '.join(found)}", "leave one of each pair out"
        )
    for line in without_effect(config, said):
        warn_caller(line)
    return config


def contradictions(config: GenerationConfig) -> list[str]:
    """Find options that can't be had together, each pair in a few words."""
    beams, texts = f"num_beams={config.num_beams}", f"num_return_sequences={config.num_return_sequences}"
    lookup = f"prompt_lookup_num_tokens={config.prompt_lookup_num_tokens}"
    form = "json_schema" if config.regex is None else "regex"
    has_beams, has_texts = config.num_beams > 1, config.num_return_sequences > 1
    looks_up, has_both = config.prompt_lookup_num_tokens is not None, None not in (config.regex, config.json_schema)
    pairs = {
        f"{texts} without do_sample=True or as many num_beams": has_texts and not has_beams and not config.do_sample,
        f"{texts} with {beams}, which are fewer": has_beams and config.num_return_sequences > config.num_beams,
        f"{lookup} with {beams}": looks_up and has_beams,
        f"{lookup} with do_sample=True": looks_up and config.do_sample,
        "regex with json_schema": has_both,
        f"{form} with {beams}": config.is_constrained and has_beams,
        f"{form} with forced_bos_token_id": config.is_constrained and config.forced_bos_token_id is not None,
        "forced_bos_token_id with suppress_tokens, which hold it": config.forced_bos_token_id in config.suppress_tokens,
        "forced_eos_token_id with suppress_tokens, which hold it": bool(config.forced_eos_token_id)
        and set(config.forced_eos_token_id) <= set(config.suppress_tokens),
    }
    return [pair for pair, is_there in pairs.items() if is_there]


def out_of_reach(config: GenerationConfig) -> str:
    """Say which shortest length is above the longest; "" if none is, or if that depends on the prompt."""
    least = "min_length" if config.min_new_tokens is None else "min_new_tokens"
    most = least.replace("min", "max")
    low, high = getattr(config, least), getattr(config, most)
    if high is None or low <= high or (most == "max_length" and config.max_new_tokens is not None):
        return ""
    return f"{least}={low} with {most}={high}"


def without_effect(config: GenerationConfig, said: Collection[str]) -> list[str]:
    """Find options that change nothing because another one is not there, among those that a caller names."""
    missing = {
        "do_sample=True": () if config.do_sample else SAMPLING,
        "num_beams": () if config.num_beams > 1 else BEAMS,
        "prompt_lookup_num_tokens": () if config.prompt_lookup_num_tokens else ("max_matching_ngram_size",),
    }
    return [
        f"{name}={getattr(config, name)!r} changes nothing without {other}"
        for other, names in missing.items()
        for name in names
        if name in said and getattr(config, name) != getattr(PLAIN, name)
    ]
