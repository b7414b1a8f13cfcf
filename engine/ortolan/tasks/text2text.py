"""text2text-generation: what a model with encoder and decoder writes to a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ortolan.errors import ConfigError, InvalidInputError, warn_caller
from ortolan.forward import Row
from ortolan.generation.config import OPTIONS, GenerationConfig, read_settings
from ortolan.generation.conflicts import requested
from ortolan.request import TextInput, parse_single_text
from ortolan.tasks.base import Decoding, ModelFacts, one_input, place, true_or_false
from ortolan.teacher_forcing import decoder_start_id
from ortolan.tokenize import Encoding, Tokenizer, Truncation

TASK_PARAMETERS = "task_specific_params"
"""Entry of config.json: by task, what is put before a text, and how its answer is written."""

TEXT_OPTIONS = ("return_text", "return_tensors", "clean_up_tokenization_spaces", "stop_sequence", "truncation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text2TextOptions:
    """Options of a call.

    Attributes:
        writing: How texts are written.
        prefix: Put before each text.
        returns_ids: Return token ids in place of text.
        cleans_up: Take spaces before punctuation out of what was written.
        source: Language of the texts, as the caller names it; None where nothing is said of it.
        target: Language to translate to.
    """

    writing: GenerationConfig = field(default_factory=GenerationConfig)
    prefix: str = ""
    returns_ids: bool = False
    cleans_up: bool = False
    source: str | None = None
    target: str | None = None


class Text2Text:
    """Answer each text with another one."""

    name = "text2text-generation"
    heads: tuple[str, ...] = ("text2text-generation",)
    option_names: tuple[str, ...] = (*TEXT_OPTIONS, *OPTIONS)
    truncation: str | None = None
    result = "generated"
    """What the entries of a result are named after."""

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input; see `Task.arguments`."""
        return one_input(args, options)

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: Text2TextOptions | None = None
    ) -> Text2TextOptions:
        """Check options; those of the model are read where there are none to start from. See `Task.options`.

        Raises:
            ConfigError: A value that is not allowed, or options that contradict each other or are not honoured.
        """
        options = base or self._of_model(facts, values)
        if values.get("return_tensors") is not None:
            options = replace(options, returns_ids=true_or_false("return_tensors", values["return_tensors"]))
        if values.get("return_text") is not None:
            options = replace(options, returns_ids=not true_or_false("return_text", values["return_text"]))
        if (cleans_up := values.get("clean_up_tokenization_spaces")) is not None:
            options = replace(options, cleans_up=true_or_false("clean_up_tokenization_spaces", cleans_up))
        return replace(options, writing=requested(options.writing, with_stop_strings(values)))

    def parameters(self, facts: ModelFacts, values: Mapping[str, object]) -> Mapping[str, Any]:
        """Find what config.json says of this task."""
        found = (facts.config.get(TASK_PARAMETERS) or {}).get(self.name)
        return found if isinstance(found, Mapping) else {}

    def parse(self, item: object, index: int | None) -> TextInput:
        """Check one text; see `Task.parse`."""
        return parse_single_text(item, index)

    def encode(
        self,
        payloads: Sequence[TextInput],
        facts: ModelFacts,
        options: Text2TextOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each text; see `Task.encode`."""
        texts = [TextInput(options.prefix + payload.text) for payload in payloads]
        rows = facts.tokenizer.encode(texts, limits, first_index=first)
        check_not_empty(rows, first)
        return [[row] for row in rows]

    def writing(self, options: Text2TextOptions) -> GenerationConfig:
        """Say how the rows are answered; see `Writes.writing`."""
        return options.writing

    def decoding(self, options: Text2TextOptions) -> Decoding:
        """Say how what is written becomes text; see `Writes.decoding`."""
        return Decoding(cleans_up=options.cleans_up)

    def decode(self, payload: TextInput, rows: Sequence[Row], facts: ModelFacts, options: Text2TextOptions) -> Any:
        """Turn what was written into text; see `Task.decode`."""
        return [with_logprobs(self._answer(row, facts, options), row, facts.tokenizer) for row in rows]

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """Nest as transformers does: of a list, each text's answer stands for itself where all have but one."""
        if single is not None:
            return results[0]
        return [answer for [answer] in results] if all(len(answers) == 1 for answers in results) else results

    def _answer(self, row: Row, facts: ModelFacts, options: Text2TextOptions) -> dict[str, Any]:
        ids = [int(token) for token in row.outputs["sequences"]]
        if options.returns_ids:
            return {f"{self.result}_token_ids": ids}
        text = facts.tokenizer.decode(ids, skip_special_tokens=True, cleans_up=options.cleans_up)
        return {f"{self.result}_text": text}

    def _of_model(self, facts: ModelFacts, values: Mapping[str, object]) -> Text2TextOptions:
        parameters = self.parameters(facts, values)
        prefix = parameters.get("prefix", facts.config.get("prefix")) or ""
        if not isinstance(prefix, str):
            raise ConfigError("the prefix of the model requested", f"config.json says {prefix!r}", "correct it")
        settings = {**facts.generation, **parameters}
        writing, in_vain = read_settings(settings)
        warn_of_neglect(in_vain, values)
        start = decoder_start_id(facts.config, facts.generation)
        return Text2TextOptions(writing=replace(writing, decoder_start_token_id=start), prefix=prefix)


def check_not_empty(rows: Sequence[Encoding], first: int | None) -> None:
    """Refuse texts of which the tokenizer leaves nothing.

    Raises:
        InvalidInputError: A row without tokens.
    """
    for offset, row in enumerate(rows):
        if not row.ids:
            raise InvalidInputError(
                "a text requested",
                "the tokenizer leaves nothing of it",
                "send a text with characters that it knows",
                index=place(first, offset),
            )


def with_stop_strings(values: Mapping[str, object]) -> dict[str, object]:
    """Call `stop_sequence`, as pipelines have it, by the name that it has elsewhere.

    Raises:
        ConfigError: Both are passed.
    """
    rest = dict(values)
    stop = rest.pop("stop_sequence", None)
    if stop is None:
        return rest
    if rest.get("stop_strings") is not None:
        raise ConfigError("stop_sequence requested", "stop_strings is passed too", "pass one of them")
    return {**rest, "stop_strings": stop}


def with_logprobs(answer: dict[str, Any], row: Row, tokenizer: Tokenizer) -> dict[str, Any]:
    """Put beside an answer how likely its tokens were, where that was asked for.

    Args:
        answer: What is returned for one text.
        row: What was written; see `ortolan.generation.search.outputs`.
        tokenizer: Says what a token stands for.

    Returns:
        The answer, with `logprobs`: for each token that was written its `id`, `token` and `logprob`, and under `top`
        the same of the likeliest ones at its place, the likeliest first.
    """
    if "logprobs" not in row.outputs:
        return answer

    def told(token: int, logprob: float) -> dict[str, Any]:
        return {"id": int(token), "token": tokenizer.decode([int(token)]), "logprob": float(logprob)}

    likelihoods, sequence = row.outputs["logprobs"], row.outputs["sequences"]
    places = zip(
        sequence[len(sequence) - len(likelihoods) :],
        likelihoods,
        row.outputs["top_ids"],
        row.outputs["top_logprobs"],
        strict=True,
    )
    return {
        **answer,
        "logprobs": [
            {**told(token, logprob), "top": [told(*one) for one in zip(ids, others, strict=True) if one[0] >= 0]}
            for token, logprob, ids, others in places
        ],
    }


def warn_of_neglect(in_vain: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Say once, at load, what a model's settings ask for and does not happen.

    Args:
        in_vain: What they ask for.
        values: What the caller says: who names an option knows of it.
    """
    found = [f"{name}={value!r}" for name, value in in_vain.items() if name not in values]
    if found:
        warn_caller(
            f"the model's settings ask for {', '.join(found)}, which is not honoured here; pass the option yourself, "
            "with the value that changes nothing, to say that you know"
        )
