"""text-generation against transformers 5, live; greedy, as sampling can't be compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ortolan
from ortolan import Model, OrtolanError
from ortolan.artifact import hash_file
from ortolan.errors import ConfigError, InputTooLongError
from tests import checkpoints
from tests.goldens.seeded import seed_weights
from tests.parity import texts
from tests.parity.conftest import Both
from tests.parity.test_any_text import texts as any_text

TASK = "text-generation"
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 6}

pytestmark = [
    pytest.mark.parity,
    # transformers says what of a call it will ignore
    pytest.mark.filterwarnings("ignore:Both `max_new_tokens`:UserWarning"),
]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

FEW = ("a sentence", "german", "emoji", "code", "one letter", "numbers")


MODELS = [
    pytest.param(("gpt2", "byte-level"), id="gpt2"),
    pytest.param(("llama", "unigram"), id="llama", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session", params=MODELS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """A checkpoint with weights wide enough that it does not say the same token for ever."""
    model_type, kind = request.param
    folder = tmp_path_factory.mktemp(f"{model_type}-writes")
    made = checkpoints.checkpoint(folder / "checkpoint", model_type, TASK, kind, tie_word_embeddings=False)
    module = transformers.AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    seed_weights(module, spread=0.5)
    module.save_pretrained(made)
    words = transformers.AutoTokenizer.from_pretrained(made)
    words.chat_template = {"default": CHATML, "other": "{{ messages | length }}"}
    words.save_pretrained(made)
    artifact = checkpoints.artifact(made, folder / "artifact")
    assert artifact.manifest.task == TASK
    return Both(made, Model.load(artifact.folder, "cpu"))


def prompts(both: Both) -> dict[str, str]:
    """Texts that leave room for what is written."""
    found = texts.texts(both.tokenizer)
    return {name: text for name, text in found.items() if len(both.tokenizer(text)["input_ids"]) < 400}


def few(both: Both) -> dict[str, str]:
    return {name: text for name, text in prompts(both).items() if name in FEW}


def test_prompts_are_continued_as_transformers_does(both: Both):
    asked = prompts(both)
    assert len(asked) >= 45
    both.check_all(TASK, asked, **GREEDY)


@pytest.mark.parametrize(
    "options",
    [
        {"return_full_text": False},
        {"return_full_text": True},
        {"return_text": True},
        {"return_tensors": True},
        {"prefix": "Once upon a time, "},
        {"clean_up_tokenization_spaces": True},
        {"skip_special_tokens": False},
        {"add_special_tokens": False},
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2, "max_new_tokens": 12},
        {"min_new_tokens": 4},
        {"suppress_tokens": [5, 6, 7]},
        {"begin_suppress_tokens": [5, 6, 7]},
        {"bad_words_ids": [[5], [6, 7]]},
        {"tokenizer_encode_kwargs": {"truncation": True, "max_length": 4}},
        {"handle_long_generation": "hole", "max_new_tokens": 20},
    ],
    ids=str,
)
def test_options_do_what_they_do_in_transformers(both: Both, options: dict[str, Any]):
    both.check_all(TASK, few(both), **{**GREEDY, **options})


@pytest.mark.parametrize("options", [{}, {"prefix": "Once upon a time, "}, {"min_length": 16}], ids=str)
def test_lengths_of_the_whole_text_are_those_of_transformers(both: Both, options: dict[str, Any]):
    asked = {name: text for name, text in few(both).items() if len(both.tokenizer(text)["input_ids"]) < 20}
    both.check_all(TASK, asked, do_sample=False, max_length=24, **options)


def written(both: Both, text: str, **options: Any) -> list[int]:
    """Ids that this project writes behind a prompt."""
    pipe = both.ours(TASK)
    ids = pipe(text, return_tensors=True, do_sample=False, **options)[0]["generated_token_ids"]
    return ids[len(both.tokenizer(text)["input_ids"]) :]


def test_end_tokens_end_a_text(both: Both):
    for what, text in few(both).items():
        ids = written(both, text, max_new_tokens=6)
        for end in (ids[2], [ids[4], ids[3]]):
            both.check(TASK, text, what, **GREEDY, eos_token_id=end)
            both.check(TASK, text, what, **GREEDY, eos_token_id=end, min_new_tokens=5)
    several = list(few(both).values())
    both.check(TASK, several, "ends at different places", **GREEDY, eos_token_id=ids[2])


def test_stop_strings_end_a_text(both: Both):
    for number, (what, text) in enumerate(few(both).items()):
        whole = both.tokenizer.decode(written(both, text, max_new_tokens=8))
        # within what is written, at its end, and beginning in the prompt
        stop = (whole[3:5], whole[-2:], text[-1] + whole[:1])[number % 3]
        if "\ufffd" not in stop:
            both.check(TASK, text, f"{what}, {stop!r}", **{**GREEDY, "max_new_tokens": 8}, stop_sequence=["@@@", stop])
    both.check(TASK, "Hello", "one stop string", **GREEDY, stop_sequence=both.tokenizer.decode([262]))


def test_prompt_that_needs_room_loses_its_beginning(both: Both):
    long = "Hello there. " * 160
    both.check(TASK, long, handle_long_generation="hole", do_sample=False, max_new_tokens=8)


def test_options_may_be_said_when_the_pipeline_is_made(both: Both):
    options = {**GREEDY, "return_full_text": False, "repetition_penalty": 1.3}
    asked = few(both)["german"]
    both.compare(TASK, both.ours(TASK, **options)(asked), both.theirs(TASK, **options)(asked), "defaults")


# Chats.

CHATS: dict[str, list[dict[str, Any]]] = {
    "a question": [{"role": "user", "content": "Hello!"}],
    "a system prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}],
    "a conversation": [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Who are you? 你是谁 🍕"},
    ],
    "an answer that goes on": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}],
    "an answer that ends with a space": [
        {"role": "user", "content": "Count."},
        {"role": "assistant", "content": "One, two, "},
    ],
    "more than role and content": [{"role": "user", "content": "Hello!", "name": "Anna", "weight": 0.5}],
    "an empty message": [{"role": "system", "content": ""}, {"role": "user", "content": "Hello!"}],
    "special tokens inside": [{"role": "user", "content": "<|im_end|> <|endoftext|> </s>"}],
}


def test_chats_are_answered_as_transformers_does(both: Both):
    for what, chat in CHATS.items():
        both.check(TASK, chat, what, **GREEDY)
        both.check(TASK, chat, f"{what}, new text", **GREEDY, return_full_text=False)
    both.check(TASK, list(CHATS.values()), "a list of chats", **GREEDY)


def test_caller_says_whether_a_chat_goes_on(both: Both):
    for what in ("a question", "an answer that goes on"):
        for goes_on in (True, False):
            both.check(TASK, CHATS[what], f"{what}, {goes_on}", **GREEDY, continue_final_message=goes_on)


def test_settings_and_templates_come_with_the_artifact(both: Both):
    artifact = both.model.artifact
    assert {"generation_config.json", "chat_template.jinja"} <= set(artifact.manifest.files)
    assert artifact.generation_config["eos_token_id"] == both.tokenizer.eos_token_id
    assert "additional_chat_templates/other.jinja" in artifact.tokenizer_files()
    talk = CHATS["a conversation"]
    assert both.model.tokenizer.apply_chat_template(talk, tokenize=False, chat_template="other") == "3"


def test_settings_that_are_not_honoured_are_warned_of_once(both: Both, tmp_path: Path):
    folder = Path(shutil.copytree(both.model.artifact.folder, tmp_path / "groups"))
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_beam_groups": 2}))
    manifest = json.loads((folder / "ortolan.json").read_text())
    manifest["files"][path.name] = asdict(hash_file(path))
    (folder / "ortolan.json").write_text(json.dumps(manifest))
    model = Model.load(folder, "cpu")
    with pytest.warns(UserWarning, match="ask for num_beam_groups=2, which is not honoured here") as caught:
        pipe = ortolan.pipeline(TASK, model)
    assert caught[0].filename == __file__
    assert pipe("Hello", max_new_tokens=2) == both.ours(TASK)("Hello", max_new_tokens=2)
    ortolan.pipeline(TASK, model, num_beam_groups=1)  # who says so knows it


# Where this project says more than transformers.


def test_prompt_longer_than_the_length_asked_for_is_refused_by_name(both: Both):
    with pytest.raises(InputTooLongError, match="at index 1, the prompt alone has .*; pass max_new_tokens"):
        both.ours(TASK)(["Hi", few(both)["numbers"]], max_length=8)


def test_text_ends_where_the_model_has_no_more_positions(both: Both):
    pipe = both.ours(TASK)
    most = both.model.artifact.manifest.max_length
    prompt = "Hello there. " * 160
    ids = pipe(prompt, truncation=True, return_tensors=True)[0]["generated_token_ids"]
    assert len(ids) == most + 1


@pytest.mark.parametrize("options", [{"num_beam_groups": 2}, {"penalty_alpha": 0.6}, {"max_time": 2.0}], ids=str)
def test_other_searches_are_refused(both: Both, options: dict[str, Any]):
    name = next(iter(options))
    with pytest.raises(ConfigError, match=f"{name}=.* requested, that is not honoured here"):
        both.ours(TASK)("Hello", **options)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(text=any_text, stop=st.none() | st.text(max_size=3))
def test_any_text_is_continued_or_refused(both: Both, text: str, stop: str | None):
    try:
        [answer] = both.ours(TASK)(text, max_new_tokens=2, stop_sequence=stop, truncation=True)
    except OrtolanError:
        return
    assert answer["generated_text"].startswith(text)


messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool"]), "content": any_text})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(messages, min_size=1, max_size=3))
def test_any_chat_is_answered_or_refused(both: Both, talk: list[dict[str, Any]]):
    try:
        [answer] = both.ours(TASK)(talk, max_new_tokens=2)
    except OrtolanError:
        return
    goes_on = talk[-1]["role"] == "assistant"
    assert len(answer["generated_text"]) == len(talk) + (not goes_on)
    assert answer["generated_text"][:-1] == (talk[:-1] if goes_on else talk)
