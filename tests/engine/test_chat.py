"""Chats: what is one, which template it gets, and what a template may not do."""

from __future__ import annotations

import builtins
import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan import Tokenizer, chat
from ortolan.chat import Chat, choose_template, is_message, parse_chat, plain, read_templates, render
from ortolan.errors import ArtifactError, ConfigError, InputTooLongError, InvalidInputError, OrtolanError
from tests.engine.damage import GOLDEN

HELLO = Chat(({"role": "user", "content": "Hello"},))


def test_a_message_has_role_and_content():
    assert is_message({"role": "user", "content": None, "more": 1})
    assert not any(map(is_message, [{"role": "user"}, {"content": ""}, "user", ["role", "content"], None]))


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([], "got []"),
        ("hello", "got 'hello'"),
        (None, "got None"),
        ([{"role": "user", "content": "a"}, {"role": "user"}], "message 1 has no role and content"),
        ([{"role": 1, "content": "a"}], "message 0 has no role"),
        (["a"], "message 0 has no role"),
    ],
)
def test_what_is_no_chat_is_refused(messages: object, found: str):
    with pytest.raises(InvalidInputError) as caught:
        parse_chat(messages, 3)
    assert caught.value.index == 3
    assert found in str(caught.value)


def test_the_caller_keeps_his_messages():
    message = {"role": "assistant", "content": "a"}
    render("{{ messages[0].content }}", parse_chat([message]), {}, continue_final_message=True)
    assert message == {"role": "assistant", "content": "a"}


def test_template_for_tools_goes_before_the_default_where_there_are_tools():
    templates = {"default": "a", "tool_use": "b", "other": "c"}
    assert choose_template(templates, None, has_tools=False) == "a"
    assert choose_template(templates, None, has_tools=True) == "b"
    assert choose_template({"default": "a"}, None, has_tools=True) == "a"
    assert choose_template(templates, "other", has_tools=True) == "c"
    assert choose_template(templates, "{{ 1 }}", has_tools=False) == "{{ 1 }}"


@pytest.mark.parametrize(
    ("templates", "found"), [({}, "the tokenizer has none"), ({"b": "", "a": ""}, "there are only a, b")]
)
def test_no_template_is_an_error_that_says_what_there_is(templates: dict[str, str], found: str):
    with pytest.raises(ConfigError, match=f"a chat template requested, {found}; pass chat_template="):
        choose_template(templates, None, has_tools=False)


def test_templates_are_read_from_files_and_settings(tmp_path: Path):
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    settings = {"chat_template": [{"name": "default", "template": "old"}, {"name": "more", "template": "more"}]}
    assert read_templates(tmp_path, {"chat_template": "own"}) == {"default": "own", "tool_use": "tools"}
    assert read_templates(tmp_path, settings) == {"default": "old", "more": "more", "tool_use": "tools"}
    (tmp_path / "chat_template.jinja").write_text("new")
    assert read_templates(tmp_path, settings)["default"] == "new"


def test_template_of_another_size_or_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(GOLDEN, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("x" * 11)
    monkeypatch.setattr(chat, "MAX_TEMPLATE_CHARS", 10)
    with pytest.raises(ArtifactError, match="chat template default has more than 10 characters"):
        Tokenizer.load(tmp_path / "model")
    monkeypatch.setattr(chat, "MAX_TEMPLATES", 0)
    with pytest.raises(ArtifactError, match="more than 0 chat templates"):
        Tokenizer.load(tmp_path / "model")


# What templates may do.


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ messages[0].content }}!", "Hello!"),
        ("{% generation %}{% set a = 1 %}{{ a }}{% endgeneration %}{{ a is defined }}", "1False"),
        ("{{ {'a': '<ü>'} | tojson }}", '{"a": "<ü>"}'),
        ("{% for i in range(3) %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "02"),
        ("{% set ns = namespace(a=1, self=2) %}{% set ns.a = 3 %}{{ ns.a }}{{ ns.self }}", "32"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{{ add_generation_prompt }} {{ tools is none }} {{ documents is none }}", "False True True"),
        ("{{ bos_token }}{{ 'ab' * 2 }}{{ 2 ** 3 }}{{ [1] * 2 }}", "<s>abab8[1, 1]"),
    ],
)
def test_template_renders(template: str, expected: str):
    assert render(template, HELLO, {"bos_token": "<s>"}) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__name__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(a=1) }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        "{{ 'a' * 100000000 }}",
        "{{ 100000 * ([0] * 1000) }}",
        "{{ 9 ** 99999999 }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ cycler.__init__.__globals__.os }}",
    ],
)
def test_what_is_not_safe_is_refused(template: str):
    with pytest.raises(ArtifactError, match="it is not safe") as caught:
        print(render(template, HELLO, {}))
    assert isinstance(caught.value, OrtolanError)


def test_template_that_refuses_a_chat_says_why():
    with pytest.raises(InvalidInputError, match="a chat requested, the template says: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", HELLO, {})


@pytest.mark.parametrize(
    "template", ["{{ messages[0].no.more }}", "{{ 1 + 'a' }}", "{{ 1 / 0 }}", "{{ range(10 ** 9) }}"]
)
def test_template_that_fails_is_an_error_of_ours(template: str):
    with pytest.raises(OrtolanError, match="a chat requested"):
        render(template, HELLO, {})


@pytest.mark.parametrize("template", ["{% if %}", "{{ 1", "{% generation %}", "{% import 'os' as os %}"])
def test_template_that_is_none_is_an_error_of_ours(template: str):
    with pytest.raises(OrtolanError):
        render(template, HELLO, {})


def test_template_that_writes_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chat, "MAX_TEXT_CHARS", 1000)
    with pytest.raises(InputTooLongError, match="as a prompt it has more than 1,000 characters"):
        render("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", HELLO, {})


def test_template_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chat, "MAX_SECONDS", 0.0)
    with pytest.raises(ArtifactError, match="it takes longer than 0.0 s"):
        render("{% for i in range(9) %}x{{ i }}{% endfor %}", HELLO, {})


# Messages that go on.

PLAIN = "{% for message in messages %}<{{ message.content }}>{% endfor %}"
STRIPPED = "{% for message in messages %}<{{ message.content | trim }}>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "content", "expected"),
    [(PLAIN, "One, two", "<One, two"), (PLAIN, "One, ", "<One, "), (STRIPPED, "One, ", "<One,"), (PLAIN, "", "<")],
)
def test_message_that_goes_on_is_left_open(template: str, content: str, expected: str):
    talk = Chat(({"role": "assistant", "content": content},))
    assert render(template, talk, {}, continue_final_message=True) == expected


def test_last_text_among_blocks_goes_on():
    talk = Chat(({"role": "assistant", "content": [{"type": "text", "text": "One"}, {"type": "image"}]},))
    template = "{% for block in messages[0].content %}<{{ block.text }}>{% endfor %}"
    assert render(template, talk, {}, continue_final_message=True) == "<One"


def test_what_was_thought_goes_on_under_each_of_its_names():
    talk = Chat(({"role": "assistant", "content": "", "reasoning": "I think"},))
    for name in ("thinking", "reasoning_content"):
        template = "<think>{{ messages[0]." + name + " }}</think>"
        assert render(template, talk, {}, continue_final_message="reasoning_content") == "<think>I think"


@pytest.mark.parametrize(
    ("template", "message", "found"),
    [
        ("nothing", {"role": "assistant", "content": "a"}, "the chat template leaves the last message out"),
        (PLAIN, {"role": "assistant", "content": [{"type": "image"}]}, "the last message has no text as its content"),
        (PLAIN, {"role": "assistant", "content": 3}, "the last message has no text"),
    ],
)
def test_message_that_can_not_go_on_is_refused(template: str, message: dict[str, Any], found: str):
    with pytest.raises(InvalidInputError, match=f"continue_final_message requested, {found}"):
        render(template, Chat((message,)), {}, continue_final_message=True)


def test_message_that_goes_on_and_one_that_begins_exclude_each_other():
    with pytest.raises(ConfigError, match="goes on with a message, and the other begins one"):
        render(PLAIN, HELLO, {}, continue_final_message=True, add_generation_prompt=True)


@pytest.mark.parametrize("name", ["tools", "documents"])
@pytest.mark.parametrize("value", ["weather", [print], {"a": 1}], ids=["text", "function", "mapping"])
def test_tools_and_documents_are_mappings(name: str, value: object):
    with pytest.raises(ConfigError, match=f"{name} requested"):
        render(PLAIN, HELLO, {}, **{name: value})


# What templates get to see.


class Shout(str):
    def __str__(self) -> str:
        return "SHOUT"


def test_templates_see_plain_values():
    given = {1: (Shout("a"), 2.5, True, None), "b": [np.float32(0.5), np.bool_(False), np.zeros(3), object()]}
    found = plain(given)
    assert found == {1: ("a", 2.5, True, None), "b": [0.5, False, "<ndarray>", "<object>"]}
    assert type(found[1][0]) is str


def test_dataclass_is_seen_as_a_mapping():
    assert plain(HELLO) == {"messages": ({"role": "user", "content": "Hello"},)}


def test_what_nests_too_deep_is_refused():
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidInputError, match="it nests deeper than 64"):
        plain(deep)


def test_without_jinja_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "jinja2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"jinja2 is not installed; pip install 'ortolan\[chat\]'"):
        render("not compiled before", HELLO, {})


def test_old_jinja_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jinja2.__version__", "3.1.5")
    with pytest.raises(ConfigError, match="jinja2 3.1.5 has ways out of its sandbox"):
        render("not compiled before either", HELLO, {})


@given(st.text(max_size=40))
def test_any_template_renders_or_raises_an_error_of_ours(template: str):
    with contextlib.suppress(OrtolanError):
        assert isinstance(render(template, HELLO, {}), str)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "name"]), json_values, max_size=3), max_size=3))
def test_any_messages_render_or_raise_an_error_of_ours(messages: list[dict[str, Any]]):
    template = "{% for message in messages %}{{ message.role }}: {{ message.content | tojson }}{% endfor %}"
    with contextlib.suppress(OrtolanError):
        assert isinstance(render(template, parse_chat(messages), {}), str)


def test_tokenizer_says_its_special_tokens_to_the_template(tmp_path: Path):
    shutil.copytree(GOLDEN, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ cls_token }} {{ messages[0].content }} {{ sep_token }}")
    words = Tokenizer.load(tmp_path / "model")
    talk = [{"role": "user", "content": "rain"}]
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert words.apply_chat_template(talk, tokenize=False) == f"{settings['cls_token']} rain {settings['sep_token']}"
    ids = words.apply_chat_template(talk)
    assert [words.token(int(one)) for one in ids] == ["[CLS]", "rain", "[SEP]"]
    assert words.apply_chat_template(talk, truncation=True, max_length=5) == ids
    with pytest.raises(InvalidInputError, match="a prompt requested, there is a lone surrogate in it"):
        words.apply_chat_template([{"role": "user", "content": "\ud800"}])
    with pytest.raises(InputTooLongError):
        words.apply_chat_template([{"role": "user", "content": "rain " * 20}], max_length=5)
