from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan import ConfigError, InvalidInputError, NonFiniteError, Tokenizer
from ortolan.forward import Row
from ortolan.postprocess.activations import softmax
from ortolan.request import TextInput
from ortolan.tasks.fill_mask import FillMask, FillMaskOptions
from ortolan.tokenize import Truncation
from tests.engine.damage import GOLDEN
from tests.engine.fakes import facts

TOKENIZER = Tokenizer.load(GOLDEN, max_length=64)
FACTS = facts(tokenizer=TOKENIZER)
TASK = FillMask()
DEFAULT = TASK.options({}, FACTS)
GOOD, BAD, SUN = (TOKENIZER.token_id(word) or 0 for word in ("good", "bad", "sun"))
SIZE = 200


def fill(text: str, options: FillMaskOptions = DEFAULT, **likely: float) -> Any:
    """Fill with a graph that answers the same at every token: 0 for each word, but for some."""
    logits = np.zeros(SIZE, np.float32)
    for word, value in likely.items():
        logits[TOKENIZER.token_id(word) or 0] = value
    return fill_with(text, logits, options)


def fill_with(text: str, logits: np.ndarray, options: FillMaskOptions = DEFAULT) -> Any:
    [[row]] = TASK.encode([TextInput(text)], FACTS, options, Truncation(64), None)
    outputs = {"logits": np.stack([logits] * len(row.ids))}
    return TASK.decode(TextInput(text), [Row(row, outputs)], FACTS, options)


def only(**changed: Any) -> FillMaskOptions:
    return FillMaskOptions(mask_id=DEFAULT.mask_id, **changed)


def test_words_for_a_gap_come_best_first() -> None:
    found = fill("what a [MASK] day", only(top_k=2), good=100.0, bad=99.0)
    share = float(np.exp(1) / (1 + np.exp(1)))
    assert found == [
        {"score": pytest.approx(share), "token": GOOD, "token_str": "good", "sequence": "what a good day"},
        {"score": pytest.approx(1 - share), "token": BAD, "token_str": "bad", "sequence": "what a bad day"},
    ]
    assert [type(value) for value in found[0].values()] == [float, int, str, str]


def test_each_of_several_gaps_has_its_list_and_the_others_stay_gaps() -> None:
    found = fill("a [MASK] and [MASK]", only(top_k=1), good=9.0)
    assert [[one["sequence"] for one in gap] for gap in found] == [
        ["[CLS] a good and [MASK] [SEP]"],
        ["[CLS] a [MASK] and good [SEP]"],
    ]


def test_padding_that_stands_in_a_text_is_not_shown() -> None:
    found = fill("a [PAD] [MASK] [MASK]", only(top_k=1), good=9.0)
    assert found[0][0]["sequence"] == "[CLS] a good [MASK] [SEP]"


def test_targets_are_ranked_among_themselves_with_their_share_of_all_words() -> None:
    options = TASK.options({"targets": ["bad", "sun", "bad"], "top_k": 9}, FACTS)
    found = fill("[MASK]", options, good=100.0, bad=99.0)
    assert [one["token"] for one in found] == [BAD, SUN]
    assert found[0]["score"] == pytest.approx(1 / (1 + np.exp(1)))


def test_of_words_that_are_equally_likely_the_first_of_the_vocabulary_come_first() -> None:
    assert [one["token"] for one in fill("[MASK]", only(top_k=4))] == [0, 1, 2, 3]


@given(logits=st.lists(st.integers(-3, 3), min_size=SIZE, max_size=SIZE), count=st.integers(1, SIZE + 5))
def test_the_best_words_are_those_that_sorting_the_vocabulary_finds(logits: list[int], count: int) -> None:
    values = np.array(logits, np.float32)
    expected = np.argsort(-softmax(values), kind="stable")[:count].tolist()
    assert [one["token"] for one in fill_with("[MASK]", values, only(top_k=count))] == expected


def test_a_text_without_a_gap_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        TASK.encode([TextInput("[MASK]"), TextInput("rain")], FACTS, DEFAULT, Truncation(64), 4)
    assert str(caught.value) == (
        "a word for a gap requested at index 5, there is no [MASK] in the text, or in the beginning that is read; "
        "write [MASK] where the word is missing"
    )


def test_a_gap_that_is_cut_off_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a word for a gap requested,"):
        TASK.encode([TextInput("rain " * 70 + "[MASK]")], FACTS, DEFAULT, Truncation(64, "longest_first"), None)


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["nan", "infinity"])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="^words for a gap requested"):
        fill("[MASK]", good=bad)


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Any) -> None:
    (tmp_path / "tokenizer.json").write_bytes((GOLDEN / "tokenizer.json").read_bytes())
    with pytest.raises(ConfigError) as caught:
        TASK.options({}, facts(tokenizer=Tokenizer.load(tmp_path)))
    assert str(caught.value) == ("fill-mask requested, the tokenizer has no mask token; use a model that has one")


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "2"], ids=repr)
def test_a_top_k_that_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="top_k requested"):
        TASK.options({"top_k": value}, FACTS)


@pytest.mark.parametrize("value", [[], "", [""], [5], 5], ids=repr)
def test_targets_that_are_no_words_are_refused(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        TASK.options({"targets": value}, FACTS)
    assert str(caught.value) == f"targets requested, got {value!r}; pass a word, or a list of words"


@pytest.mark.parametrize("value", ["\ud800", ["good", " "], ["\ud800good"]], ids=ascii)
def test_targets_that_are_no_text_are_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="text requested"):
        TASK.options({"targets": value}, FACTS)


def test_a_target_of_several_tokens_stands_for_its_first_and_a_warning_says_so() -> None:
    with pytest.warns(UserWarning, match="target 'goodly' is no token; 'good' stands for it"):
        assert TASK.options({"targets": "goodly"}, FACTS).target_ids == (GOOD,)


def test_targets_without_tokens_are_left_out_with_a_warning_and_some_must_be_left() -> None:
    with pytest.warns(UserWarning, match=r"target '\\x00' has no token, and is left out"):
        assert TASK.options({"targets": ["\x00", "good"]}, FACTS).target_ids == (GOOD,)
    with (
        pytest.warns(UserWarning, match="has no token"),
        pytest.raises(ConfigError, match="none of .* has a token; pass other words"),
    ):
        TASK.options({"targets": ["\x00"]}, FACTS)


def test_options_that_are_none_keep_what_was_set_before() -> None:
    before = only(top_k=3, target_ids=(GOOD,))
    assert TASK.options({"top_k": None, "targets": None}, FACTS, before) == before


def test_options_in_tokenizer_kwargs_count_as_if_they_stood_beside_it() -> None:
    _, options = TASK.arguments(["[MASK]"], {"tokenizer_kwargs": {"truncation": True}, "top_k": 1})
    assert options == {"top_k": 1, "truncation": True}


def test_a_list_of_one_is_answered_as_its_text_is() -> None:
    assert TASK.present([["a"]], None, {}) == ["a"]
    assert TASK.present([["a"], ["b"]], None, {}) == [["a"], ["b"]]
    assert TASK.present([["a"]], "text", {}) == ["a"]
