"""text-generation: a text or a conversation, continued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ortolan.chat import Chat, is_message, parse_chat
from ortolan.errors import ConfigError, InputTooLongError, InvalidInputError
from ortolan.forward import Row
from ortolan.generation.config import OPTIONS, GenerationConfig, read_settings
from ortolan.generation.conflicts import requested
from ortolan.request import TextInput, parse_single_text
from ortolan.tasks.base import Decoding, ModelFacts, one_input, one_or_all, place, true_or_false, whole_number
from ortolan.tasks.text2text import check_not_empty, warn_of_neglect, with_logprobs, with_stop_strings
from ortolan.tokenize import Encoding, Truncation

UNBOUNDED = 1 << 31

TEMPERATURE = 0.7
"""Of tokens that are drawn, where nobody says; the number that the pipeline of transformers has."""

FULL, NEW, IDS = "full", "new", "ids"
"""What is returned: the prompt and what was written behind it, that alone, or the ids of all of it."""

ENCODING_OPTIONS = "tokenizer_encode_kwargs"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """Options of a call.

    Attributes:
        writing: How texts are continued.
        returns: `FULL`, `NEW` or `IDS`.
        prefix: Put before each prompt, and not returned. Chats have none.
        prefix_length: How many tokens it has.
        cleans_up: Whether spaces before punctuation are taken out of what was written; None for what the tokenizer
            says.
        skips_special: Whether special tokens are left out of it.
        adds_special: Whether the tokenizer puts special tokens around a prompt.
        makes_room: Whether the beginning of a prompt is left out where the text would get too long.
        prompt_length: Most tokens of a prompt; None for what the model reads.
        goes_on: Whether the last message of a chat is continued; None for those of the assistant.
        tools: Functions that a chat's template shows to the model.
        documents: Documents that it shows.
        variables: What else it reads.
    """

    writing: GenerationConfig = field(default_factory=GenerationConfig)
    returns: str = FULL
    prefix: str = ""
    prefix_length: int = 0
    cleans_up: bool | None = None
    skips_special: bool = True
    adds_special: bool = True
    makes_room: bool = False
    prompt_length: int | None = None
    goes_on: bool | None = None
    tools: Sequence[object] | None = None
    documents: Sequence[object] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


class Generate:
    """Continue a text, or answer in a conversation."""

    name = "text-generation"
    heads: tuple[str, ...] = ("text-generation",)
    option_names: tuple[str, ...] = (
        *("return_full_text", "return_text", "return_tensors", "clean_up_tokenization_spaces", "skip_special_tokens"),
        *("prefix", "handle_long_generation", "stop_sequence", "add_special_tokens", ENCODING_OPTIONS),
        *("continue_final_message", "tools", "documents", "truncation"),
        *OPTIONS,
    )
    truncation: str | None = None

    def arguments(self, args: Sequence[Any], options: Mapping[str, object]) -> tuple[Any, dict[str, object]]:
        """Take one input, a list of messages being one; see `Task.arguments`.

        `tokenizer_encode_kwargs` may hold `truncation`, among others.
        """
        rest = dict(options)
        if "text_inputs" in rest:
            rest["inputs"] = rest.pop("text_inputs")
        inputs, rest = one_input(args, rest)
        inner = rest.get(ENCODING_OPTIONS)
        if isinstance(inner, Mapping) and "truncation" in inner:
            if "truncation" in rest:
                raise ConfigError(f"{ENCODING_OPTIONS} requested", "truncation is passed twice", "pass it once")
            rest["truncation"] = inner["truncation"]
            rest[ENCODING_OPTIONS] = {name: value for name, value in inner.items() if name != "truncation"}
        is_chat = isinstance(inputs, (list, tuple)) and bool(inputs) and is_message(inputs[0])
        return (parse_chat(inputs) if is_chat else inputs), rest

    def options(
        self, values: Mapping[str, object], facts: ModelFacts, base: GenerateOptions | None = None
    ) -> GenerateOptions:
        """Check options; those of the model are read where there are none to start from. See `Task.options`.

        Raises:
            ConfigError: A value that is not allowed, or options that exclude or contradict each other, or are not
                honoured.
        """
        if base is None:
            writing, in_vain = read_settings(facts.generation)
            if facts.generation.get("temperature") is None:
                writing = replace(writing, temperature=TEMPERATURE)
            warn_of_neglect(in_vain, values)
            prefix = facts.config.get("prefix")
            base = _with_prefix(GenerateOptions(writing=writing), prefix if prefix else "", facts)
        given = {name: value for name, value in values.items() if value is not None}
        if "prefix" in given:
            base = _with_prefix(base, given["prefix"], facts)
        changed: dict[str, Any] = {
            field: true_or_false(name, given[name]) for name, field in _FLAGS.items() if name in given
        }
        if "handle_long_generation" in given:
            changed["makes_room"] = _makes_room(given["handle_long_generation"])
        for name in ("tools", "documents"):
            if name in given:
                changed[name] = given[name]
        changed |= _encoding_options(given.get(ENCODING_OPTIONS))
        writing = requested(base.writing, with_stop_strings(values))
        return replace(base, writing=writing, returns=_returns(given, base.returns), **changed)

    def parse(self, item: object, index: int | None) -> TextInput | Chat:
        """Check a text or a list of messages; see `Task.parse`."""
        if isinstance(item, Chat) or (isinstance(item, (list, tuple)) and item and is_message(item[0])):
            return parse_chat(item, index)
        if is_message(item):
            raise InvalidInputError("a chat requested", "got one message", "send a list of messages", index=index)
        return parse_single_text(item, index)

    def encode(
        self,
        payloads: Sequence[TextInput | Chat],
        facts: ModelFacts,
        options: GenerateOptions,
        limits: Truncation,
        first: int | None,
    ) -> list[list[Encoding]]:
        """One row for each prompt; see `Task.encode`.

        Raises:
            InputTooLongError: A prompt that leaves no room for what is to be written.
        """
        if options.prompt_length is not None:
            limits = replace(limits, max_length=min(limits.max_length, options.prompt_length))
        if options.makes_room:
            limits = Truncation(UNBOUNDED)
        rows = [_encode(one, facts, options, limits, place(first, offset)) for offset, one in enumerate(payloads)]
        check_not_empty(rows, first)
        return [[_with_room(row, facts, options, place(first, offset))] for offset, row in enumerate(rows)]

    def writing(self, options: GenerateOptions) -> GenerationConfig:
        """Say how the prompts are continued; see `Writes.writing`."""
        return _lengthened(options)

    def decoding(self, options: GenerateOptions) -> Decoding:
        """Say how what is written becomes text; see `Writes.decoding`."""
        return Decoding(options.skips_special, options.cleans_up)

    def decode(
        self, payload: TextInput | Chat, rows: Sequence[Row], facts: ModelFacts, options: GenerateOptions
    ) -> Any:
        """Turn what was written into text, or into a message; see `Task.decode`."""
        return [with_logprobs(_told(payload, row, facts, options), row, facts.tokenizer) for row in rows]

    def present(self, results: list[Any], single: object | None, called_with: Mapping[str, object]) -> Any:
        """Nest as transformers does: for each prompt a list of answers."""
        return one_or_all(results, single)


_FLAGS = {
    "clean_up_tokenization_spaces": "cleans_up",
    "skip_special_tokens": "skips_special",
    "add_special_tokens": "adds_special",
    "continue_final_message": "goes_on",
}
"""Options that are True or False, and the fields of `GenerateOptions` that hold them."""


def _returns(given: Mapping[str, object], before: str) -> str:
    """Say what is returned, by the three options that say so and exclude each other."""
    names = [name for name in ("return_full_text", "return_text", "return_tensors") if name in given]
    if len(names) > 1:
        raise ConfigError(f"{' and '.join(names)} requested", "they exclude each other", "pass one of them")
    for name in names:
        is_on = true_or_false(name, given[name])
        return {"return_full_text": FULL if is_on else NEW, "return_tensors": IDS if is_on else before}.get(
            name, before
        )
    return before


def _makes_room(value: object) -> bool:
    if value != "hole":
        raise ConfigError("handle_long_generation requested", f"got {value!r}", "use 'hole', or leave it out")
    return True


def _encoding_options(value: object) -> dict[str, Any]:
    """Read what is said of the prompts alone; what is not known is for the template of a chat."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{ENCODING_OPTIONS} requested", f"got {value!r}", "pass a mapping, such as {'truncation': True}"
        )
    rest = {str(name): one for name, one in value.items() if one is not None}
    found: dict[str, Any] = {}
    if taken := sorted(_TAKEN & rest.keys()):
        raise ConfigError(
            f"{ENCODING_OPTIONS} requested", f"{', '.join(taken)} does not belong there", "pass it beside"
        )
    rest.pop("padding", None)  # no prompt is padded that runs alone, and those that do not are, whatever is said
    if "max_length" in rest:
        found["prompt_length"] = whole_number("max_length", rest.pop("max_length"))
    if "add_special_tokens" in rest:
        found["adds_special"] = true_or_false("add_special_tokens", rest.pop("add_special_tokens"))
    return {**found, "variables": rest}


_TAKEN = {"chat", "add_generation_prompt", "continue_final_message", "tools", "documents", "tokenize"}


def _with_prefix(options: GenerateOptions, prefix: object, facts: ModelFacts) -> GenerateOptions:
    if not isinstance(prefix, str):
        raise ConfigError("prefix requested", f"got {prefix!r}", "pass a text")
    length = len(facts.tokenizer.encode_rendered(prefix, Truncation(UNBOUNDED)).ids) if prefix else 0
    return replace(options, prefix=prefix, prefix_length=length)


def _lengthened(options: GenerateOptions) -> GenerationConfig:
    """Count the prefix in where lengths are those of the whole text."""
    writing, more = options.writing, options.prefix_length
    if not more or writing.max_new_tokens is not None or writing.max_length is None:
        return writing
    shortest = writing.min_length + more if writing.min_length else 0
    return replace(writing, max_length=writing.max_length + more, min_length=shortest)


def _encode(
    payload: TextInput | Chat, facts: ModelFacts, options: GenerateOptions, limits: Truncation, index: int | None
) -> Encoding:
    if isinstance(payload, Chat):
        goes_on = _goes_on(payload, options)
        if goes_on and options.returns == FULL and not isinstance(payload.messages[-1]["content"], str):
            found = "the content of the last message is no text, so nothing can be written behind it"
            raise InvalidInputError("a chat requested", found, "pass return_full_text=False", index=index)
        text = facts.tokenizer.render_chat(
            payload,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            tools=options.tools,
            documents=options.documents,
            **options.variables,
        )
        return facts.tokenizer.encode_rendered(text, limits, index=index)
    if options.variables:
        raise ConfigError(
            f"{ENCODING_OPTIONS} requested",
            f"{', '.join(options.variables)} is for the template of a chat, and this is a text",
            "leave it out",
        )
    text = options.prefix + payload.text
    if not options.adds_special:
        return facts.tokenizer.encode_rendered(text, limits, index=index)
    [row] = facts.tokenizer.encode([TextInput(text)], limits, first_index=index)
    return row


def _with_room(row: Encoding, facts: ModelFacts, options: GenerateOptions, index: int | None) -> Encoding:
    """Check that there is room for what is to be written, or make some."""
    length, most = len(row.ids), facts.tokenizer.max_length
    writing = _lengthened(options)
    new = writing.longest(length) - length
    if new < 1:
        raise InputTooLongError(
            f"a text of max_length={writing.max_length} requested",
            f"the prompt alone has {length} tokens",
            "pass max_new_tokens, which does not count the prompt",
            length=length,
            max_length=writing.longest(length) - 1,
            index=index,
        )
    if not options.makes_room or length + new <= most:
        return row
    if new >= most:
        raise ConfigError(
            f"handle_long_generation='hole' with {new} new tokens requested",
            f"the model has {most} positions, which leaves none for a prompt",
            "ask for fewer",
        )
    kept = slice(length - (most - new), None)
    return Encoding(row.ids[kept], row.type_ids[kept], row.offsets[kept])


def _goes_on(chat: Chat, options: GenerateOptions) -> bool:
    return chat.goes_on if options.goes_on is None else options.goes_on


def _told(payload: TextInput | Chat, row: Row, facts: ModelFacts, options: GenerateOptions) -> dict[str, Any]:
    ids = [int(token) for token in row.outputs["sequences"]]
    if options.returns == IDS:
        return {"generated_token_ids": ids}
    written = facts.tokenizer.decode(
        ids[len(row.encoding.ids) :], skip_special_tokens=options.skips_special, cleans_up=options.cleans_up
    )
    if options.returns == NEW:
        return {"generated_text": written}
    if isinstance(payload, TextInput):
        return {"generated_text": payload.text + written}
    return {"generated_text": _answered(payload, written, options)}


def _answered(chat: Chat, written: str, options: GenerateOptions) -> list[dict[str, Any]]:
    """Put what was written behind the messages, or behind what the last one says."""
    messages = list(chat.messages)
    if not _goes_on(chat, options):
        return [*messages, {"role": "assistant", "content": written}]
    last = messages[-1]
    return [*messages[:-1], {"role": last["role"], "content": last["content"] + written}]
