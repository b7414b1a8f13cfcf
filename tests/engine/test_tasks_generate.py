"""text-generation: options and their errors, prompts, and what is made of what was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, InvalidInputError, Tokenizer
from ortolan.chat import Chat
from ortolan.forward import Row
from ortolan.request import TextInput
from ortolan.tasks.base import Writes
from ortolan.tasks.generate import FULL, IDS, NEW, Generate, GenerateOptions
from ortolan.tokenize import Truncation
from tests.engine.damage import GOLDEN
from tests.engine.fakes import facts

TOKENIZER = Tokenizer.load(GOLDEN, max_length=16)
FACTS = facts(tokenizer=TOKENIZER)
TASK = Generate()
CLS, SEP = TOKENIZER.special_id("cls"), TOKENIZER.special_id("sep")
HELLO = [{"role": "user", "content": "what a day"}]


def options(**values: Any) -> GenerateOptions:
    return TASK.options(values, FACTS)


def ids(*words: str) -> list[int]:
    return [TOKENIZER.token_id(word) or 0 for word in words]


def prompt(payload: Any, **values: Any) -> list[int]:
    [[row]] = TASK.encode([TASK.parse(payload, None)], FACTS, options(**values), Truncation(16), None)
    return row.ids


def decoded(payload: Any, *words: str, **values: Any) -> Any:
    parsed, chosen = TASK.parse(payload, None), options(**values)
    if isinstance(parsed, Chat):
        [row] = TOKENIZER.encode([TextInput("what")])
    else:
        [[row]] = TASK.encode([parsed], FACTS, chosen, Truncation(16), None)
    sequences = np.array([*row.ids, *ids(*words)])
    return TASK.decode(parsed, [Row(row, {"sequences": sequences})], FACTS, chosen)


def test_it_is_a_task_that_writes() -> None:
    assert isinstance(TASK, Writes)
    assert TASK.writing(options(max_new_tokens=3)).max_new_tokens == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, FULL),
        ({"return_full_text": True}, FULL),
        ({"return_full_text": False}, NEW),
        ({"return_text": True}, FULL),
        ({"return_tensors": True}, IDS),
        ({"return_tensors": False}, FULL),
    ],
    ids=str,
)
def test_what_is_returned_is_said_by_one_of_three_options(values: dict[str, bool], expected: str) -> None:
    assert options(**values).returns == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"return_full_text": True, "return_text": True}, "return_full_text and return_text requested, they exclude"),
        ({"return_full_text": True, "return_tensors": True}, "return_full_text and return_tensors requested"),
        ({"return_full_text": "yes"}, "return_full_text requested, got 'yes'; use True or False"),
        ({"prefix": 3}, "prefix requested, got 3"),
        ({"handle_long_generation": "cut"}, "handle_long_generation requested, got 'cut'; use 'hole'"),
        ({"stop_sequence": "a", "stop_strings": "b"}, "stop_sequence requested, stop_strings is passed too"),
        ({"tokenizer_encode_kwargs": 3}, "tokenizer_encode_kwargs requested, got 3"),
        ({"tokenizer_encode_kwargs": {"max_length": 0}}, "max_length requested, got 0"),
        ({"tokenizer_encode_kwargs": {"tools": []}}, "tools does not belong there"),
        ({"max_new_tokens": 0}, "max_new_tokens requested, got 0"),
        ({"max_time": 2.0}, "max_time=2.0 requested, that is not honoured here; leave it out"),
        ({"num_return_sequences": 2}, "some contradict each other: num_return_sequences=2 without do_sample=True"),
    ],
    ids=str,
)
def test_option_that_is_not_allowed_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options(**values)


def test_options_of_a_call_go_before_those_of_the_pipeline() -> None:
    base = options(return_full_text=False, max_new_tokens=5, prefix="a")
    found = TASK.options({"max_length": 9}, FACTS, base)
    assert (found.returns, found.prefix) == (NEW, "a")
    assert found.writing.longest(3) == 9


def test_settings_of_the_model_are_read() -> None:
    found = TASK.options({}, replace(FACTS, generation={"max_length": 50, "eos_token_id": [1, 2]}))
    assert (found.writing.longest(7), found.writing.eos_token_id) == (50, (1, 2))


def test_search_that_the_model_asks_for_is_the_one_that_is_made() -> None:
    asked = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "num_beams": 2, "length_penalty": 2.0}
    found = TASK.writing(TASK.options({"num_beams": 3}, replace(FACTS, generation=asked)))
    assert (found.do_sample, found.temperature, found.top_p, found.num_beams) == (True, 0.6, 0.9, 3)


def test_temperature_is_that_of_the_pipeline_of_transformers_unless_the_model_says_another() -> None:
    assert TASK.writing(options(do_sample=True)).temperature == 0.7
    known = replace(FACTS, generation={"temperature": 1.0})
    assert TASK.writing(TASK.options({"do_sample": True}, known)).temperature == 1.0


def test_what_a_model_asks_for_in_vain_is_warned_of_unless_the_caller_knows() -> None:
    known = replace(FACTS, generation={"num_beams": 4, "num_beam_groups": 2})
    with pytest.warns(UserWarning, match="ask for num_beam_groups=2, which is not honoured here"):
        TASK.options({}, known)
    TASK.options({"num_beam_groups": 1}, known)


def test_prefix_of_the_model_stands_before_each_text() -> None:
    known = facts(tokenizer=TOKENIZER, config={"prefix": "the film "})
    [[row]] = TASK.encode([TextInput("was good")], known, TASK.options({}, known), Truncation(16), None)
    assert row.ids == [CLS, *ids("the", "film", "was", "good"), SEP]


def test_lengths_of_the_whole_text_do_not_count_the_prefix() -> None:
    writing = TASK.writing(options(prefix="the film", max_length=9, min_length=4))
    assert (writing.max_length, writing.min_length) == (11, 6)
    assert TASK.writing(options(prefix="the film", max_new_tokens=9)).longest(5) == 14


# Prompts.


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("  ", "empty or only white space"),
        ({"text": "a", "text_pair": "b"}, "got a pair of texts"),
        ({"role": "user", "content": "a"}, "got one message; send a list of messages"),
        ([{"role": "user", "content": "a"}, {"role": "user"}], "message 1 has no role and content"),
        (3, "got int"),
        ([], "got list"),
    ],
    ids=str,
)
def test_prompt_that_is_none_is_refused_by_name(item: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        TASK.parse(item, 4)
    assert caught.value.index == 4


def test_list_of_messages_is_one_input() -> None:
    assert TASK.arguments([HELLO], {})[0] == Chat(tuple(HELLO))
    assert TASK.arguments([[HELLO, HELLO]], {})[0] == [HELLO, HELLO]
    assert TASK.arguments([], {"text_inputs": "a", "max_length": 3}) == ("a", {"max_length": 3})


def test_truncation_may_be_said_among_what_is_said_of_prompts() -> None:
    said = {"truncation": True, "max_length": 4}
    _, rest = TASK.arguments(["a"], {"tokenizer_encode_kwargs": said})
    assert rest == {"truncation": True, "tokenizer_encode_kwargs": {"max_length": 4}}
    with pytest.raises(ConfigError, match="truncation is passed twice"):
        TASK.arguments(["a"], {"tokenizer_encode_kwargs": said, "truncation": False})


def test_special_tokens_are_put_around_a_prompt_unless_not_wanted() -> None:
    assert prompt("what a day") == [CLS, *ids("what", "a", "day"), SEP]
    assert prompt("what a day", add_special_tokens=False) == ids("what", "a", "day")
    assert prompt("what a day", tokenizer_encode_kwargs={"add_special_tokens": False}) == ids("what", "a", "day")


def test_text_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="the tokenizer leaves nothing of it"):
        prompt("\x00\x07", add_special_tokens=False)


def test_variables_are_for_chats() -> None:
    with pytest.raises(ConfigError, match="mood is for the template of a chat, and this is a text"):
        prompt("a", tokenizer_encode_kwargs={"mood": "good"})


def test_prompt_that_is_as_long_as_the_text_may_be_is_refused_by_name() -> None:
    texts = [TextInput("rain"), TextInput("what a day")]
    with pytest.raises(InputTooLongError, match="at index 6, the prompt alone has 5 tokens") as caught:
        TASK.encode(texts, FACTS, options(max_length=5), Truncation(16), 5)
    assert (caught.value.length, caught.value.max_length, caught.value.index) == (5, 4, 6)


def test_prompt_that_is_too_long_is_refused_or_loses_its_beginning() -> None:
    words = ["rain", "sun"] * 10
    with pytest.raises(InputTooLongError, match="text of 22 tokens requested"):
        prompt(" ".join(words))
    made = {"handle_long_generation": "hole", "max_new_tokens": 6}
    assert prompt(" ".join(words), **made) == [*ids(*words)[-9:], SEP]
    assert prompt("rain", **made) == [CLS, *ids("rain"), SEP]
    with pytest.raises(ConfigError, match="'hole' with 16 new tokens requested, the model has 16 positions"):
        prompt(" ".join(words), handle_long_generation="hole", max_new_tokens=16)


def test_chat_needs_a_template() -> None:
    with pytest.raises(ConfigError, match="a chat template requested, the tokenizer has none"):
        prompt(HELLO)


def test_message_that_goes_on_must_be_a_text() -> None:
    blocks = [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}]
    with pytest.raises(InvalidInputError, match="nothing can be written behind it; pass return_full_text=False"):
        prompt(blocks)


# Answers.


def test_what_was_written_stands_behind_the_prompt_or_alone() -> None:
    assert decoded("What a", "day", "!") == [{"generated_text": "What aday !"}]
    assert decoded("What a", "day", "!", return_full_text=False) == [{"generated_text": "day !"}]
    assert decoded("What a", "day", "!", return_full_text=False, clean_up_tokenization_spaces=True) == [
        {"generated_text": "day!"}
    ]


def test_special_tokens_are_left_out_of_it_unless_wanted() -> None:
    assert decoded("What a", "day", "[SEP]", return_full_text=False) == [{"generated_text": "day"}]
    kept = decoded("What a", "day", "[SEP]", return_full_text=False, skip_special_tokens=False)
    assert kept == [{"generated_text": "day [SEP]"}]


def test_each_of_several_texts_is_an_answer() -> None:
    [[row]] = TASK.encode([TextInput("what")], FACTS, options(), Truncation(16), None)
    rows = [Row(row, {"sequences": np.array([*row.ids, *ids(word)])}) for word in ("day", "film")]
    found = TASK.decode(TextInput("what"), rows, FACTS, options(return_full_text=False))
    assert found == [{"generated_text": "day"}, {"generated_text": "film"}]


def test_likelihoods_stand_beside_the_text_where_there_are_some() -> None:
    [[row]] = TASK.encode([TextInput("what")], FACTS, options(), Truncation(16), None)
    day, film = ids("day", "film")
    outputs = {
        "sequences": np.array([*row.ids, day, film]),
        "logprobs": np.array([-0.5, -1.0], np.float32),
        "top_ids": np.array([[day, film], [film, -1]]),
        "top_logprobs": np.array([[-0.5, -1.5], [-1.0, -np.inf]], np.float32),
    }
    [found] = TASK.decode(TextInput("what"), [Row(row, outputs)], FACTS, options(return_tensors=True))
    first, second = found["logprobs"]
    assert first["top"] == [
        {"id": day, "token": "day", "logprob": -0.5},
        {"id": film, "token": "film", "logprob": -1.5},
    ]
    assert (second["token"], second["logprob"], len(second["top"])) == ("film", -1.0, 1)


def test_ids_are_those_of_all_of_it() -> None:
    [answer] = decoded("what a", "day", return_tensors=True)
    assert answer == {"generated_token_ids": [CLS, *ids("what", "a"), SEP, *ids("day")]}
    assert {type(one) for one in answer["generated_token_ids"]} == {int}


def test_chat_gets_a_message_or_its_last_one_goes_on() -> None:
    assert decoded(HELLO, "rain") == [{"generated_text": [*HELLO, {"role": "assistant", "content": "rain"}]}]
    begun = [*HELLO, {"role": "assistant", "content": "I hate "}]
    assert decoded(begun, "rain") == [{"generated_text": [*HELLO, {"role": "assistant", "content": "I hate rain"}]}]
    assert decoded(begun, "rain", continue_final_message=False) == [
        {"generated_text": [*begun, {"role": "assistant", "content": "rain"}]}
    ]
    assert begun[-1]["content"] == "I hate ", "the caller's messages stay as they are"


def test_answers_nest_as_those_of_transformers() -> None:
    results = [[{"generated_text": "a"}], [{"generated_text": "b"}]]
    assert TASK.present(results, None, {}) == results
    assert TASK.present(results[:1], "a", {}) == [{"generated_text": "a"}]
