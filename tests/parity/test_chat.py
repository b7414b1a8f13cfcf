"""Chat templates against transformers 5: what they render, and the tokens of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ortolan import Tokenizer
from ortolan.chat import parse_chat
from tests.checkpoints import real_tokenizer
from tests.parity.compare import assert_same
from tests.parity.texts import PLAIN

pytestmark = pytest.mark.parity

CHATML = """\
{% for message in messages %}
    {% if loop.first and message['role'] != 'system' %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {% endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{% endif %}
"""
LLAMA = """\
{%- if messages[0].role == 'system' -%}
    {%- set system = messages[0].content | trim -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{{- bos_token }}
{%- for message in messages -%}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('roles must alternate, and the first is the user') -}}
    {%- endif -%}
    {%- if message.role == 'user' -%}
        {{- '[INST] ' -}}
        {%- if loop.first and system is defined -%}{{- '<<SYS>>' + system + '<</SYS>> ' -}}{%- endif -%}
        {{- message.content.strip() + ' [/INST]' -}}
    {%- else -%}
        {%- generation -%}{{- ' ' + message['content'] | trim + ' ' + eos_token -}}{%- endgeneration -%}
    {%- endif -%}
{%- endfor -%}
"""
TOOLS = """\
{%- set ns = namespace(count=0, seen=[]) -%}
{%- if tools %}Tools: {% for tool in tools %}{{ tool | tojson }}
{{ tool | tojson(indent=2, sort_keys=true) }}{% endfor %}{% endif -%}
{%- if documents %}{% for one in documents %}<doc title={{ one.title }}>{{ one['text'] }}</doc>{% endfor %}{% endif -%}
{% for message in messages %}
{% if message.role == 'skip' %}{% continue %}{% endif %}
{% if message.role == 'stop' %}{% break %}{% endif %}
{% set ns.count = ns.count + 1 %}
{{ ns.count }}. {{ message.role | capitalize }}:
{% if message.content is string %}
    {{ message.content }}
{% else %}
    {% for block in message.content %}{{ block.text if block.type == 'text' else '<' ~ block.type ~ '>' }}{% endfor %}
{% endif %}
{% if message.thinking is defined %}<think>{{ message.reasoning_content }}</think>{% endif %}
{% if message.name is defined %}({{ message.name }}){% endif %}
{% endfor %}
{{ '%.2f' | format(0.5) }} {{ mood | default('no mood') }} {{ dict(a=1) }} {{ strftime_now('%Y') | length }}
{% if add_generation_prompt %}Assistant:{% endif %}
"""
TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "tools": TOOLS}

TALK = [
    {"role": "user", "content": "  Hello, who are you? "},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "And <b>&amp; 'who' \"am\" I?"},
]
CHATS: dict[str, list[dict[str, Any]]] = {
    "one": [{"role": "user", "content": "Hi"}],
    "three": TALK,
    "with a system": [{"role": "system", "content": " Be brief.\n"}, *TALK],
    "ends with the model": TALK[:2],
    "ends with a space": [TALK[0], {"role": "assistant", "content": "It is  \n"}],
    "no value": [{"role": "user", "content": "Hi", "name": None}],
    "names": [{"role": "user", "content": "Hi", "name": "Anna"}],
    "thoughts": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "thinking": "hm"}],
    "reasoning": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "reasoning": "hm"}],
    "blocks": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
    "skipped and stopped": [*TALK[:1], {"role": "skip", "content": "x"}, *TALK[1:], {"role": "stop", "content": "y"}],
    **{what: [{"role": "user", "content": text}] for what, text in PLAIN.items()},
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"b": [1, 2.5, None], "a": "<ü>"}}}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "asked for an answer": {"add_generation_prompt": True},
    "going on": {"continue_final_message": True},
    "tools": {"tools": [TOOL, TOOL], "add_generation_prompt": True},
    "documents": {"documents": [{"title": "One", "text": "a < b"}]},
    "variables": {"mood": "good", "bos_token": "<start>"},
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return real_tokenizer("byte-level", "roberta")


@pytest.mark.parametrize("name", TEMPLATES)
def test_chats_are_rendered_and_tokenized_as_transformers_does(name: str, tokenizer: Any, tmp_path: Path):
    tokenizer.chat_template = TEMPLATES[name]
    tokenizer.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path, max_length=4096)
    for what, chat in CHATS.items():
        for how, options in OPTIONS.items():
            try:
                text = tokenizer.apply_chat_template(chat, tokenize=False, **options)
                ids = tokenizer.apply_chat_template(chat, return_dict=False, **options)
            except Exception:  # noqa: BLE001 - whatever it is
                with pytest.raises(Exception, match=" requested, "):
                    ours.apply_chat_template(chat, **options)
                continue
            assert_same(ours.apply_chat_template(chat, tokenize=False, **options), text, "chat", f"{name} {what} {how}")
            assert_same(ours.apply_chat_template(chat, **options), ids, "chat", f"{name} {what} {how}, tokens")


def test_named_templates_are_chosen_as_transformers_does(tokenizer: Any, tmp_path: Path):
    tokenizer.chat_template = {"default": "plain {{ messages[0].content }}", "tool_use": "tools", "other": "another"}
    tokenizer.save_pretrained(tmp_path)
    ours = Tokenizer.load(tmp_path, max_length=512)
    chat = CHATS["one"]
    for options in ({}, {"tools": [TOOL]}, {"chat_template": "other"}, {"chat_template": "{{ messages | length }}"}):
        theirs = tokenizer.apply_chat_template(chat, tokenize=False, **options)
        assert ours.apply_chat_template(chat, tokenize=False, **options) == theirs


def test_template_in_the_settings_of_older_checkpoints_is_read(tokenizer: Any, tmp_path: Path):
    import json

    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    for template in (CHATML, [{"name": "default", "template": CHATML}, {"name": "other", "template": "x"}]):
        path.write_text(json.dumps({**settings, "chat_template": template}))
        ours = Tokenizer.load(tmp_path, max_length=512)
        assert "<|im_start|>user\nHi<|im_end|>" in ours.render_chat(parse_chat(CHATS["one"]))
