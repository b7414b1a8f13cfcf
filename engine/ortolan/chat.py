"""Chats to prompts: the templates that come with a checkpoint, rendered in a sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ortolan.errors import ArtifactError, ConfigError, InputTooLongError, InvalidInputError
from ortolan.request import MAX_TEXT_CHARS

if TYPE_CHECKING:
    import jinja2

CHAT_TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
"""A file beside the tokenizer, and a folder with more of them: one for each named template but the default."""

DEFAULT, TOOL_USE = "default", "tool_use"

MAX_TEMPLATE_CHARS = 1_000_000
MAX_TEMPLATES = 64
MAX_DEPTH = 64
"""How deep messages may nest."""

MAX_SECONDS = 10.0
"""Longest that a template may take. Looked at as it gives out text, so a loop that gives none is bounded only by the
sandbox's limit for ranges."""

MAX_EXPONENT = 1000

OLDEST_JINJA = (3, 1, 6)
"""Older ones have ways out of the sandbox."""

Message = Mapping[str, Any]

_END = "\ue000end of the message that goes on\ue001 "
"""Put behind the message that goes on, to find where it ends; the space at its end shows whether it was stripped."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names under which a message says what was thought before it; templates read the first or the second."""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation.

    Attributes:
        messages: Each has a `role` and `content` at least; there is one at least.
    """

    messages: tuple[dict[str, Any], ...]

    @property
    def goes_on(self) -> bool:
        """Whether the last message is the model's own, so that it writes on rather than answer."""
        return bool(self.messages[-1]["role"] == "assistant")


def is_message(value: object) -> bool:
    """Whether this is a message of a chat: a mapping with `role` and `content`."""
    return isinstance(value, Mapping) and "role" in value and "content" in value


def parse_chat(messages: object, index: int | None = None) -> Chat:
    """Check a conversation.

    Args:
        messages: A list of mappings with `role` and `content`.
        index: Position in the caller's list, for the error message.

    Raises:
        InvalidInputError: It is none, it is empty, or a message lacks one of the two.
    """
    if isinstance(messages, Chat):
        return messages
    remedy = "send messages such as {'role': 'user', 'content': 'Hello'}"
    if not isinstance(messages, Sequence) or isinstance(messages, (str, bytes)) or not messages:
        raise InvalidInputError("a chat requested", f"got {messages!r:.80}", remedy, index=index)
    for number, message in enumerate(messages):
        if not is_message(message) or not isinstance(message["role"], str):
            found = f"message {number} has no role and content"
            raise InvalidInputError("a chat requested", found, remedy, index=index)
    return Chat(tuple(dict(message) for message in messages))


def read_templates(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Read the chat templates of a checkpoint.

    Args:
        folder: With `chat_template.jinja`, and perhaps more of them.
        settings: tokenizer_config.json, where older checkpoints have theirs: a text, or a list of named ones.

    Returns:
        Templates by name; the one that has none is "default".

    Raises:
        ValueError: A template that is no text, or too long, or too many.
    """
    found: dict[str, str] = {}
    own = settings.get("chat_template")
    if isinstance(own, str):
        found[DEFAULT] = own
    elif isinstance(own, list):
        found |= {str(one["name"]): str(one["template"]) for one in own if isinstance(one, dict)}
    elif isinstance(own, dict):
        found |= {str(name): str(template) for name, template in own.items()}
    paths = sorted((folder / MORE_TEMPLATES).glob("*.jinja"))
    if (folder / CHAT_TEMPLATE).is_file():
        paths.append(folder / CHAT_TEMPLATE)
    if len(paths) + len(found) > MAX_TEMPLATES:
        raise ValueError(f"more than {MAX_TEMPLATES} chat templates")
    for path in paths:
        with path.open(encoding="utf-8") as stream:
            found[DEFAULT if path.name == CHAT_TEMPLATE else path.stem] = stream.read(MAX_TEMPLATE_CHARS + 1)
    if long := [name for name, template in found.items() if len(template) > MAX_TEMPLATE_CHARS]:
        raise ValueError(f"chat template {', '.join(long)} has more than {MAX_TEMPLATE_CHARS:,} characters")
    return found


def choose_template(templates: Mapping[str, str], asked: str | None, *, has_tools: bool) -> str:
    """Choose a template.

    Args:
        templates: Those there are, by name.
        asked: The name of one, or a template itself; None for the one that fits.
        has_tools: Whether tools are passed, for which there may be a template of its own.

    Raises:
        ConfigError: There is none, or none that is the default.
    """
    if asked is not None:
        return templates.get(asked, asked)
    for name in (TOOL_USE, DEFAULT) if has_tools else (DEFAULT,):
        if name in templates:
            return templates[name]
    found = f"there are only {', '.join(sorted(templates))}" if templates else "the tokenizer has none"
    raise ConfigError("a chat template requested", found, "pass chat_template=, or send a text and not a chat")


def render(
    template: str,
    chat: Chat,
    variables: Mapping[str, object],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool | str = False,
    tools: Sequence[object] | None = None,
    documents: Sequence[object] | None = None,
) -> str:
    """Render a chat as transformers does.

    Args:
        template: In the language of Jinja, with the additions of transformers.
        chat: The conversation.
        variables: What the template may read besides, such as `bos_token`.
        add_generation_prompt: Whether the template shall begin an answer.
        continue_final_message: Leave the last message open, for the model to write on; or the name of the entry of
            the message that is left open, instead of `content`.
        tools: Descriptions of functions, as JSON schemas.
        documents: Mappings with `title` and `text`.

    Returns:
        The prompt.

    Raises:
        ConfigError: Options that exclude each other or are of the wrong type, jinja2 is missing or too old, or a
            template that asks for what it may not have.
        InvalidInputError: The template refuses the chat.
        InputTooLongError: The prompt has more than `MAX_TEXT_CHARS` characters.
        ArtifactError: The template is none, or takes longer than `MAX_SECONDS`.
    """
    if add_generation_prompt and continue_final_message:
        raise ConfigError(
            "continue_final_message with add_generation_prompt requested",
            "the one goes on with a message, and the other begins one",
            "leave one of them out",
        )
    messages = [_completed(message) for message in chat.messages]
    field = "content" if continue_final_message is True else continue_final_message
    ending = _leave_open(messages[-1], field) if isinstance(field, str) else None
    values: dict[str, object] = {
        **variables,
        "messages": messages,
        "tools": _mappings("tools", tools),
        "documents": _mappings("documents", documents),
        "add_generation_prompt": add_generation_prompt,
    }
    text = _rendered(template, plain(values))
    return text if ending is None else _cut_off(text, ending)


def plain(value: object, depth: int = 0) -> Any:
    """Rebuild a value of what JSON has: a template must not get hold of objects that can do something.

    Args:
        value: What a caller passed.
        depth: How deep it lies.

    Returns:
        A copy; what is neither text, number, list nor mapping becomes the name of its type.

    Raises:
        InvalidInputError: It nests deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise InvalidInputError("a chat requested", f"it nests deeper than {MAX_DEPTH}", "send a flatter one")
    if value is None or isinstance(value, bool):
        return value
    for kind, bare in _SCALARS:
        if isinstance(value, kind):
            return bare(value)
    if isinstance(value, Mapping):
        return {plain(key, depth + 1): plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        made = [plain(one, depth + 1) for one in value]
        return tuple(made) if isinstance(value, tuple) else made
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), depth + 1) for field in fields(value)}
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        return plain(item(), depth + 1)  # a number of numpy
    return f"<{type(value).__name__}>"


_SCALARS: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
)
"""Kinds of values, and what leaves behind what a subclass of them adds."""


def _completed(message: Message) -> dict[str, Any]:
    """Leave out entries without a value, and put what was thought under every name that templates read."""
    there = {key: plain(value) for key, value in message.items() if value is not None}
    thought = next((there[name] for name in _REASONING if name in there), None)
    return there if thought is None else {"thinking": thought, **there, "reasoning_content": thought}


def _mappings(name: str, values: Sequence[object] | None) -> list[Mapping[str, object]] | None:
    if values is None:
        return None
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise ConfigError(f"{name} requested", f"got {type(values).__name__}", "pass a list of mappings")
    found = [value for value in values if isinstance(value, Mapping)]
    if len(found) < len(values):
        raise ConfigError(f"{name} requested", "they are not all mappings", "pass JSON schemas, or titles and texts")
    return found


def _leave_open(message: dict[str, Any], field: str) -> str:
    """Mark where the last message ends; return what it ends with, in order to look for it."""
    content = message.get(field)
    if isinstance(content, str):
        for name in _REASONING if field in _REASONING else (field,):
            if message.get(name) == content:
                message[name] = content + _END
        return content
    blocks = content if isinstance(content, (list, tuple)) else ()
    for block in reversed(blocks):
        if isinstance(block, dict) and isinstance(text := block.get("text"), str):
            block["text"] = text + _END
            return text
    raise InvalidInputError(
        "continue_final_message requested", f"the last message has no text as its {field}", "send one, or leave it out"
    )


def _cut_off(text: str, ending: str) -> str:
    """Cut a prompt where the message ends that goes on."""
    place = text.rfind(_END.strip())
    if place < 0 or ending.strip() not in text:
        raise InvalidInputError(
            "continue_final_message requested", "the chat template leaves the last message out", "leave it out"
        )
    return text[:place] if text.startswith(_END, place) else text[:place].rstrip()


def _rendered(template: str, values: Mapping[str, object]) -> str:
    compiled = _compiled(template)
    from jinja2.exceptions import SecurityError, TemplateError

    pieces: list[str] = []
    length, until = 0, time.monotonic() + MAX_SECONDS
    try:
        for piece in compiled.generate(values):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_TEXT_CHARS or time.monotonic() > until:
                break
    except SecurityError as error:
        raise ArtifactError("a chat template requested", f"it is not safe ({error})", "do not use it") from error
    except TemplateError as error:
        raise InvalidInputError("a chat requested", f"the template says: {error}", "send another chat") from error
    except Exception as error:  # a template is a program, and may fail as programs do
        found = f"its template fails ({type(error).__name__}: {error})"
        raise InvalidInputError("a chat requested", found, "send another chat") from error
    if length > MAX_TEXT_CHARS:
        raise InputTooLongError(
            "a chat requested",
            f"as a prompt it has more than {MAX_TEXT_CHARS:,} characters",
            "leave older messages out",
            length=length,
            max_length=MAX_TEXT_CHARS,
        )
    if time.monotonic() > until:
        raise ArtifactError("a chat template requested", f"it takes longer than {MAX_SECONDS} s", "do not use it")
    return "".join(pieces)


@lru_cache(maxsize=16)  # a template takes longer to compile than to render
def _compiled(template: str) -> jinja2.Template:
    try:
        import jinja2
    except ImportError as error:
        raise ConfigError("a chat requested", "jinja2 is not installed", "pip install 'ortolan[chat]'") from error
    version = tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit())
    if version < OLDEST_JINJA:
        found = f"jinja2 {jinja2.__version__} has ways out of its sandbox"
        raise ConfigError("a chat requested", found, "pip install --upgrade jinja2")
    try:
        return _environment().from_string(template)
    except (jinja2.TemplateSyntaxError, RecursionError) as error:
        raise ArtifactError("a chat template requested", f"it cannot be read ({error})", "correct it") from error


def _environment() -> jinja2.Environment:
    """Make what templates run in: the sandbox of jinja2, with what transformers adds to the language."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.runtime import Context
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}` marks what the model has written: for training, and nothing here."""

        tags = {"generation"}  # noqa: RUF012  # jinja2 declares it so

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            if _is_huge(operator, left, right):
                raise jinja2.exceptions.SecurityError(f"{operator} gives something huge")
            return super().call_binop(context, operator, left, right)

    class PublicNamespace(Namespace):
        """A namespace without names that Python has a meaning for."""

        def __init__(*args: Any, **kwargs: Any) -> None:  # as jinja2 has it: `self` is a name like any other
            Namespace.__init__(*args, **kwargs)
            for name in dict(*args[1:], **kwargs):
                _check_public(name)

        def __setitem__(self, name: str, value: Any) -> None:
            _check_public(name)
            super().__setitem__(name, value)

    def _check_public(name: str) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"{name} in a namespace")

    def raise_exception(message: object) -> NoReturn:
        raise jinja2.exceptions.TemplateError(str(message))

    made = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = _to_json  # the one of jinja2 escapes what HTML must not hold
    made.globals.update(
        raise_exception=raise_exception,
        strftime_now=lambda form: datetime.now().strftime(form),  # noqa: DTZ005  # the time where the caller is
        namespace=PublicNamespace,
    )
    return made


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _is_huge(operator: str, left: object, right: object) -> bool:
    """Whether a product or a power would fill the memory."""
    if operator == "**":
        return isinstance(right, (int, float)) and abs(right) > MAX_EXPONENT
    sizes = [
        one if isinstance(one, int) else len(one) for one in (left, right) if isinstance(one, (int, str, list, tuple))
    ]
    repeats = any(isinstance(one, (str, list, tuple)) for one in (left, right))
    return repeats and len(sizes) == 2 and sizes[0] * sizes[1] > MAX_TEXT_CHARS
