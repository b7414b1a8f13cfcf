"""text2text-generation, summarization and translation: options and their errors, prefixes, languages, nesting."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import processors

from ortolan import ConfigError, InvalidInputError, Tokenizer, UnknownTaskError
from ortolan.forward import Row
from ortolan.tasks.base import ModelFacts, Writes
from ortolan.tasks.registry import heads_served, task_named
from ortolan.tasks.summarize import Summarize
from ortolan.tasks.text2text import Text2Text
from ortolan.tasks.translate import Translate
from ortolan.tokenize import Truncation
from tests.engine.damage import GOLDEN
from tests.engine.fakes import facts

TOKENIZER = Tokenizer.load(GOLDEN, max_length=16)
PARAMETERS = {
    "summarization": {"prefix": "plot : ", "max_length": 9, "min_length": 2},
    "translation_en_to_de": {"prefix": "rain ", "num_beams": 4},
    "translation_en_to_fr": {"prefix": "sun "},
}
KNOWN = facts(tokenizer=TOKENIZER, config={"task_specific_params": PARAMETERS})
PLAIN = facts(tokenizer=TOKENIZER)
CLS, SEP = TOKENIZER.special_id("cls"), TOKENIZER.special_id("sep")


def multilingual(template: str) -> ModelFacts:
    """What is known of a model whose tokenizer has languages."""
    backend = tokenizers.Tokenizer.from_file(str(GOLDEN / "tokenizer.json"))
    backend.add_special_tokens(["en_XX", "fr_XX", "__ja__"])
    marks = [(token, backend.token_to_id(token)) for token in template.split() if token != "$A"]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    settings = json.loads((GOLDEN / "tokenizer_config.json").read_text())
    roles = {role: settings[f"{role}_token"] for role in ("cls", "sep", "pad", "unk", "mask")}
    return facts(tokenizer=Tokenizer(backend, max_length=16, special=roles))


def asked(task: Text2Text, known: ModelFacts, text: str = "what", **values: Any) -> list[int]:
    [[row]] = task.encode([task.parse(text, None)], known, task.options(values, known), Truncation(16), None)
    return row.ids


def ids(known: ModelFacts, *words: str) -> list[int]:
    return [known.tokenizer.token_id(word) or 0 for word in words]


def decoded(task: Text2Text, *words: str, **values: Any) -> Any:
    [[row]] = task.encode([task.parse("what", None)], PLAIN, task.options({}, PLAIN), Truncation(16), None)
    outputs = {"sequences": np.array(ids(PLAIN, *words))}
    return task.decode(task.parse("what", None), [Row(row, outputs)], PLAIN, task.options(values, PLAIN))


@pytest.mark.parametrize("task", [Text2Text(), Summarize(), Translate()], ids=lambda task: task.name)
def test_they_are_tasks_that_write_on_one_kind_of_artifact(task: Text2Text) -> None:
    assert isinstance(task, Writes)
    assert task.heads == ("text2text-generation",)
    assert task.name in heads_served("text2text-generation")


def test_names_of_translations_say_the_languages() -> None:
    found = task_named("translation_en_to_fr")
    assert found.name == "translation_en_to_fr"
    assert found.options({}, PLAIN).source == "en"
    assert found.options({}, PLAIN).target == "fr"
    assert found.options({"tgt_lang": "de"}, PLAIN).target == "de"
    for name in ("translation_en_fr", "translation_en_to_", "translation_a_b_to_c"):
        with pytest.raises(UnknownTaskError):
            task_named(name)


def test_decoder_begins_as_the_settings_say() -> None:
    def start(config: dict[str, int], generation: dict[str, int]) -> int | None:
        known = replace(facts(config=config, tokenizer=TOKENIZER), generation=generation)
        return Text2Text().options({}, known).writing.decoder_start_token_id

    assert start({"decoder_start_token_id": 3}, {}) == 3
    assert start({"decoder_start_token_id": 3}, {"decoder_start_token_id": 4}) == 4
    assert start({"pad_token_id": 1, "bos_token_id": 2}, {}) == 2
    assert start({"pad_token_id": 1}, {}) == 1


@pytest.mark.parametrize(
    ("task", "prefix"),
    [
        (Text2Text(), []),
        (Summarize(), ["plot", ":"]),
        (Translate("translation_en_to_fr"), ["sun"]),
        (Translate("translation_en_to_ja"), []),
    ],
    ids=lambda part: getattr(part, "name", ""),
)
def test_prefix_is_that_of_the_task(task: Text2Text, prefix: list[str]) -> None:
    known = [TOKENIZER.token_id(word) for word in prefix]
    colon = TOKENIZER.encode([task.parse(":", None)])[0].ids[1]
    expected = [colon if word is None else word for word in known]
    assert asked(task, KNOWN) == [CLS, *expected, *ids(KNOWN, "what"), SEP]


def test_prefix_of_the_model_is_there_where_the_task_has_none() -> None:
    known = facts(tokenizer=TOKENIZER, config={"prefix": "rain "})
    assert asked(Text2Text(), known) == [CLS, *ids(known, "rain", "what"), SEP]


def test_settings_of_the_task_go_before_those_of_the_model() -> None:
    known = replace(KNOWN, generation={"max_length": 50, "no_repeat_ngram_size": 3})
    found = Summarize().options({}, known).writing
    assert (found.longest(1), found.min_length, found.no_repeat_ngram_size) == (9, 2, 3)
    assert Summarize().options({"max_length": 5}, known).writing.longest(1) == 5
    assert Text2Text().options({}, known).writing.longest(1) == 50


def test_beams_of_a_task_are_those_that_are_followed_up() -> None:
    task = Translate("translation_en_to_de")
    assert task.options({}, KNOWN).writing.num_beams == 4
    assert task.options({"num_beams": 1}, KNOWN).writing.num_beams == 1


def test_what_a_model_asks_for_in_vain_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="ask for num_beam_groups=2, which is not honoured here"):
        Text2Text().options({}, replace(PLAIN, generation={"num_beam_groups": 2}))


def test_translation_without_languages_is_the_first_that_the_model_knows() -> None:
    with pytest.warns(UserWarning, match="several ways; this is translation_en_to_de"):
        assert asked(Translate(), KNOWN) == [CLS, *ids(KNOWN, "rain", "what"), SEP]
    assert asked(Translate(), KNOWN, src_lang="en", tgt_lang="fr") == [CLS, *ids(KNOWN, "sun", "what"), SEP]


@pytest.mark.parametrize(
    ("template", "expected"),
    [("$A [SEP] en_XX", ["what", "[SEP]", "fr_XX"]), ("en_XX $A [SEP]", ["fr_XX", "what", "[SEP]"])],
    ids=["behind", "before"],
)
def test_language_stands_where_the_tokenizer_has_one(template: str, expected: list[str]) -> None:
    known = multilingual(template)
    assert asked(Translate(), known, src_lang="fr_XX", tgt_lang="en_XX") == ids(known, *expected)


def test_language_in_the_text_itself_stays() -> None:
    known = multilingual("$A [SEP] en_XX")
    found = asked(Translate(), known, "en_XX what", src_lang="fr_XX", tgt_lang="en_XX")
    assert found == ids(known, "en_XX", "what", "[SEP]", "fr_XX")


def test_language_to_translate_to_is_written_first() -> None:
    known = multilingual("$A [SEP] en_XX")
    found = Translate().options({"src_lang": "en_XX", "tgt_lang": "ja"}, known)
    assert found.writing.forced_bos_token_id == known.tokenizer.token_id("__ja__")
    again = Translate().options({"tgt_lang": "fr_XX"}, known, found)
    assert again.writing.forced_bos_token_id == known.tokenizer.token_id("fr_XX")
    assert again.source == "en_XX"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "it is not said from which to which; pass src_lang= and tgt_lang="),
        ({"src_lang": "en_XX"}, "pass src_lang= and tgt_lang="),
        ({"src_lang": "en_XX", "tgt_lang": "what"}, "tgt_lang='what' requested, the model has no token for it"),
        ({"src_lang": "xx", "tgt_lang": "en_XX"}, "src_lang='xx' requested, the model has no token for it"),
        ({"src_lang": 3, "tgt_lang": "en_XX"}, "src_lang requested, got 3"),
    ],
    ids=str,
)
def test_languages_must_be_said_to_a_model_of_many(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(Translate(), multilingual("$A [SEP] en_XX"), **values)


def test_languages_are_no_matter_to_a_model_of_two() -> None:
    assert asked(Translate(), PLAIN, src_lang="en", tgt_lang="xx") == [CLS, *ids(PLAIN, "what"), SEP]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_time": 1.0}, "max_time=1.0 requested"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences=3 with num_beams=2, which are fewer"),
        ({"return_tensors": 1}, "return_tensors requested, got 1"),
        ({"clean_up_tokenization_spaces": "no"}, "clean_up_tokenization_spaces requested"),
        ({"min_length": "3"}, "min_length requested, got '3'"),
        ({"stop_sequence": ""}, "stop_strings requested, got ''"),
    ],
    ids=str,
)
def test_option_that_is_not_allowed_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Text2Text().options(values, PLAIN)


def test_prefix_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="the prefix of the model requested, config.json says 3"):
        Text2Text().options({}, facts(tokenizer=TOKENIZER, config={"prefix": 3}))


@pytest.mark.parametrize("item", ["", None, {"text": "a", "text_pair": "b"}, ["a"]], ids=str)
def test_what_is_no_text_is_refused_by_name(item: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Text2Text().parse(item, 2)
    assert caught.value.index == 2


@pytest.mark.parametrize(
    ("task", "key"),
    [(Text2Text(), "generated"), (Summarize(), "summary"), (Translate(), "translation")],
    ids=lambda part: getattr(part, "name", part),
)
def test_answer_is_named_after_the_task(task: Text2Text, key: str) -> None:
    assert decoded(task, "[CLS]", "a", "film", "!", "[SEP]") == [{f"{key}_text": "a film !"}]
    assert decoded(task, "a", "!", clean_up_tokenization_spaces=True) == [{f"{key}_text": "a!"}]
    [found] = decoded(task, "[CLS]", "a", return_tensors=True)
    assert found == {f"{key}_token_ids": ids(PLAIN, "[CLS]", "a")}


def test_answers_nest_as_those_of_transformers() -> None:
    results = [[{"summary_text": "a"}], [{"summary_text": "b"}]]
    assert Summarize().present(results, None, {}) == [{"summary_text": "a"}, {"summary_text": "b"}]
    assert Summarize().present(results[:1], "text", {}) == [{"summary_text": "a"}]
    several = [[{"summary_text": "a"}, {"summary_text": "b"}], [{"summary_text": "c"}, {"summary_text": "d"}]]
    assert Summarize().present(several, None, {}) == several
