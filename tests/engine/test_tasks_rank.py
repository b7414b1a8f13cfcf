from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, InvalidInputError, NonFiniteError
from ortolan.forward import Row
from ortolan.tasks.rank import MAX_DOCUMENTS, Query, Rank, RankOptions
from ortolan.tokenize import Encoding, Truncation
from tests.engine.fakes import facts

TASK = Rank()
FACTS = facts(labels={0: "LABEL_0"})
QUERY = Query("what", ("a film", "rain", "the sun"))


def ranked(logits: list[float], query: Query = QUERY, **options: Any) -> Any:
    rows = [Row(Encoding([2], [0], [(0, 0)]), {"logits": np.array([one], np.float32)}) for one in logits]
    return TASK.decode(query, rows, FACTS, TASK.options(options, FACTS))


def test_documents_come_best_first_with_where_they_were():
    assert ranked([0.0, float(np.log(3)), -20.0]) == [
        {"index": 1, "score": pytest.approx(0.75)},
        {"index": 0, "score": pytest.approx(0.5)},
        {"index": 2, "score": pytest.approx(0.0, abs=1e-6)},
    ]


def test_scores_are_numbers_of_python():
    [best, *_] = ranked([1, 2, 3])
    assert {name: type(value) for name, value in best.items()} == {"index": int, "score": float}


def test_only_the_best_are_returned_where_that_is_asked():
    assert [one["index"] for one in ranked([0.0, 2.0, 1.0], top_n=2)] == [1, 2]


def test_more_than_there_are_is_all():
    assert len(ranked([0.0, 2.0, 1.0], top_n=9)) == 3


def test_documents_are_returned_where_they_are_asked_for():
    [best, *_] = ranked([0.0, 2.0, 1.0], return_documents=True)
    assert best == {"index": 1, "score": pytest.approx(0.8808, abs=1e-4), "text": "rain"}


def test_equal_scores_keep_the_order_of_the_documents():
    assert [one["index"] for one in ranked([1.0, 2.0, 1.0, 2.0], Query("q", ("a", "b", "a", "b")))] == [1, 3, 0, 2]


def test_logits_far_from_zero_are_ordered_though_their_scores_are_equal():
    found = ranked([50.0, 60.0, 55.0])
    assert [one["index"] for one in found] == [1, 2, 0]
    assert {one["score"] for one in found} == {1.0}


def test_scores_may_be_the_logits():
    assert [one["score"] for one in ranked([1.5, -2.0, 0.0], function_to_apply="none")] == [1.5, 0.0, -2.0]


IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, "sigmoid", id="nothing-said"),
        pytest.param({"sentence_transformers": {"activation_fn": IDENTITY}}, "none", id="identity"),
        pytest.param({"sentence_transformers": {"activation_fn": SIGMOID}}, "sigmoid", id="sigmoid"),
        pytest.param({"sbert_ce_default_activation_function": IDENTITY}, "none", id="older-name"),
        pytest.param({"sentence_transformers": None}, "sigmoid", id="null"),
    ],
)
def test_scores_are_made_as_the_model_was_saved_with(config: dict[str, Any], expected: str):
    assert TASK.options({}, facts(config=config, labels={0: "LABEL_0"})).activation == expected


TANH = {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}


def test_a_model_that_was_saved_with_something_else_is_refused():
    with pytest.raises(ConfigError) as caught:
        TASK.options({}, facts(config=TANH, labels={0: "LABEL_0"}))
    assert str(caught.value) == (
        "text-ranking requested, the model was saved with the activation torch.nn.modules.activation.Tanh, "
        "which is not known here; pass function_to_apply: one of softmax, sigmoid, none"
    )


def test_such_a_model_ranks_where_the_caller_says_how():
    known = facts(config=TANH, labels={0: "LABEL_0"})
    assert TASK.options({"function_to_apply": "none"}, known).activation == "none"


def test_options_of_a_call_build_on_those_of_the_pipeline():
    base = TASK.options({"function_to_apply": "none", "top_n": 2}, FACTS)
    assert TASK.options({"return_documents": True}, FACTS, base) == RankOptions(
        activation="none", top_n=2, shows_documents=True
    )


def test_not_a_number_is_an_error():
    with pytest.raises(NonFiniteError, match="a ranking requested"):
        ranked([0.0, float("nan"), 1.0])


def test_a_model_with_several_labels_cannot_rank():
    with pytest.raises(ConfigError) as caught:
        TASK.options({}, facts(labels={0: "NEGATIVE", 1: "POSITIVE"}))
    assert str(caught.value) == (
        "text-ranking requested, the model has 2 labels, and a cross-encoder has one; "
        "use task 'text-classification', or another model"
    )


@pytest.mark.parametrize(
    "options",
    [{"top_n": 0}, {"top_n": True}, {"top_n": "3"}, {"return_documents": 1}, {"function_to_apply": "tanh"}],
    ids=str,
)
def test_an_option_that_is_not_allowed_is_refused(options: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} requested"):
        TASK.options(options, FACTS)


# Inputs


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((), {"query": "q", "documents": ["a"]}),
        (("q", ["a"]), {}),
        (({"query": "q", "documents": ["a"]},), {}),
    ],
    ids=["by name", "two", "mapping"],
)
def test_a_query_and_its_documents_are_found(args: tuple[Any, ...], options: dict[str, Any]):
    assert TASK.arguments(args, {**options, "top_n": 1}) == ({"query": "q", "documents": ["a"]}, {"top_n": 1})


def test_nothing_is_refused():
    with pytest.raises(InvalidInputError):
        TASK.arguments((), {})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "a ranking requested at index 2, got str"),
        ({"query": "q"}, r"got keys \['query'\]"),
        ({"query": "q", "documents": ["a"], "k": 1}, r"got keys \['documents', 'k', 'query'\]"),
        ({"query": "q", "documents": []}, "documents is no list, or empty"),
        ({"query": "q", "documents": None}, "documents is no list, or empty"),
        ({"query": "q", "documents": "abc"}, "documents is no list, or empty"),
        ({"query": "q", "documents": {"a": 1}}, "documents is no list, or empty"),
        ({"query": "q", "documents": ["a", None]}, "a document is None"),
        ({"query": "q", "documents": ["a", 5]}, "text_pair requested"),
        ({"query": "q", "documents": ["a", " "]}, "it is empty or only white space"),
        ({"query": "", "documents": ["a"]}, "it is empty or only white space"),
        ({"query": None, "documents": ["a"]}, "got NoneType"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_with_its_index(item: object, message: str):
    with pytest.raises(InvalidInputError, match=message) as caught:
        TASK.parse(item, 2)
    assert caught.value.index == 2


def test_too_many_documents_are_refused():
    with pytest.raises(InvalidInputError) as caught:
        TASK.parse({"query": "q", "documents": ["a"] * (MAX_DOCUMENTS + 1)}, None)
    assert str(caught.value) == (
        "a ranking requested, there are 10,001 documents and at most 10,000 are read; "
        "choose some first, with embeddings"
    )


def test_a_query_may_be_passed_as_what_it_is_parsed_to():
    assert TASK.parse(QUERY, None) == QUERY


def test_each_document_is_read_with_the_query():
    [rows] = TASK.encode([QUERY], FACTS, TASK.options({}, FACTS), Truncation(64), None)
    assert [FACTS.tokenizer.decode(row.ids) for row in rows] == [
        "[CLS] what [SEP] a film [SEP]",
        "[CLS] what [SEP] rain [SEP]",
        "[CLS] what [SEP] the sun [SEP]",
    ]


def test_a_document_that_is_too_long_names_the_query_it_belongs_to():
    limits = facts().tokenizer.truncation(False, 8)
    queries = [Query("rain", ("sun",)), Query("rain", ("sun", "film " * 9))]
    with pytest.raises(InputTooLongError, match="text of 13 tokens requested at index 1"):
        Rank().encode(queries, facts(), RankOptions(activation="none"), limits, 0)
