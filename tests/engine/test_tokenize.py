from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors

from ortolan import (
    ArtifactError,
    ConfigError,
    InputTooLongError,
    InvalidInputError,
    MissingFileError,
    Tokenizer,
    tokenize,
)
from ortolan.request import TextInput
from ortolan.tokenize import TRUNCATION_STRATEGIES, Encoding, Truncation, split_room
from tests.engine.damage import GOLDEN, edit_json, mark_segments

WORDS = str.split("the film was good bad great i you love hate it is not very and unlikely rain . , ! café zebra")
LINES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=70).map(" ".join)
SIDES = ("right", "left")


@pytest.fixture
def tokenizer(artifact: Path) -> Tokenizer:
    return Tokenizer.load(mark_segments(artifact))


def load_with(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(settings))
    return Tokenizer.load(folder)


# A lone text, pairs, options


def test_ids_are_those_that_the_exporter_recorded(tokenizer: Tokenizer):
    # input_ids of a golden input in ortolan.json
    [encoding] = tokenizer.encode([TextInput("the film was good")])
    assert encoding.ids == [2, 5, 7, 8, 9, 3]


def test_offsets_say_where_in_the_text_a_token_stands(tokenizer: Tokenizer):
    [encoding] = tokenizer.encode([TextInput("the film")])
    assert encoding.offsets == [(0, 0), (0, 3), (4, 8), (0, 0)]


def test_the_second_text_of_a_pair_has_type_one(tokenizer: Tokenizer):
    [encoding] = tokenizer.encode([TextInput("the film", "good")])
    assert encoding.type_ids == [0, 0, 0, 0, 1, 1]


def test_the_second_text_is_not_marked_where_the_settings_leave_it_out(artifact: Path):
    tokenizer = load_with(artifact, {"model_input_names": ["input_ids", "attention_mask"]})
    assert tokenizer("the film", "good")["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 0]]


def test_a_text_alone_and_in_a_list_gives_the_same_ids(tokenizer: Tokenizer):
    texts = [TextInput("the film was good"), TextInput("rain", "sun"), TextInput("i hate it")]
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


def test_a_call_makes_int64_rectangles_of_three_inputs(tokenizer: Tokenizer):
    encoded = tokenizer(["the film was good", "rain"])
    assert {name: (array.shape, str(array.dtype)) for name, array in encoded.items()} == {
        "input_ids": ((2, 6), "int64"),
        "attention_mask": ((2, 6), "int64"),
        "token_type_ids": ((2, 6), "int64"),
    }


def test_padding_is_masked(tokenizer: Tokenizer):
    assert tokenizer(["the film was good", "the"])["attention_mask"].tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0],
    ]


def test_a_lone_string_makes_one_row(tokenizer: Tokenizer):
    assert tokenizer("the film")["input_ids"].tolist() == [[2, 5, 7, 3]]


def test_a_lone_pair_makes_one_row(tokenizer: Tokenizer):
    assert tokenizer("the", "film")["input_ids"].tolist() == [[2, 5, 3, 7, 3]]


def test_lists_of_first_and_second_texts_make_pairs(tokenizer: Tokenizer):
    assert tokenizer(["the", "film"], ["film", "the"])["input_ids"].tolist() == [[2, 5, 3, 7, 3], [2, 7, 3, 5, 3]]


def test_texts_of_one_length_need_no_padding(tokenizer: Tokenizer):
    assert tokenizer(["the", "film"], padding=False)["input_ids"].tolist() == [[2, 5, 3], [2, 7, 3]]


def test_texts_of_two_lengths_cannot_go_without_padding(tokenizer: Tokenizer):
    with pytest.raises(ConfigError) as caught:
        tokenizer(["the", "the film"], padding=False)
    assert str(caught.value) == "padding=False requested, the texts differ in length; pass padding=True"


def test_pairs_of_which_some_lack_a_text_are_refused(tokenizer: Tokenizer):
    with pytest.raises(ConfigError, match="2 pairs requested, text_pair has 1 elements"):
        tokenizer(["the", "film"], ["good"])


def test_a_bad_element_names_its_index(tokenizer: Tokenizer):
    with pytest.raises(InvalidInputError, match="at index 1") as caught:
        tokenizer(["the", ""])
    assert caught.value.index == 1


@pytest.mark.parametrize("text", [5, None, {"text": "the", "text_pair": "film"}], ids=["number", "none", "mapping"])
def test_what_is_neither_a_text_nor_a_list_is_refused(tokenizer: Tokenizer, text: Any):
    with pytest.raises(InvalidInputError):
        tokenizer(text)


@pytest.mark.parametrize("value", ["tf", None])
def test_arrays_are_of_numpy_or_torch(tokenizer: Tokenizer, value: Any):
    with pytest.raises(ConfigError) as caught:
        tokenizer("the", return_tensors=value)
    assert str(caught.value) == f"return_tensors requested, got {value!r}; use one of np, pt"


def test_tensors_of_torch_hold_what_the_arrays_hold(tokenizer: Tokenizer):
    arrays, tensors = tokenizer(["the film", "rain"]), tokenizer(["the film", "rain"], return_tensors="pt")
    assert {name: (str(one.dtype), one.tolist()) for name, one in tensors.items()} == {
        name: ("torch.int64", one.tolist()) for name, one in arrays.items()
    }


# Padding


def test_rows_can_be_padded_on_the_other_side(tokenizer: Tokenizer):
    encoded = tokenizer(["the film was", "the"], padding_side="left")
    assert encoded["input_ids"].tolist() == [[2, 5, 7, 8, 3], [0, 0, 2, 5, 3]]
    assert encoded["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]


def test_rows_can_be_padded_to_a_length(tokenizer: Tokenizer):
    encoded = tokenizer("the film", padding="max_length", max_length=6)
    assert encoded["input_ids"].tolist() == [[2, 5, 7, 3, 0, 0]]


def test_rows_padded_without_a_length_are_as_long_as_the_model_reads(tokenizer: Tokenizer):
    assert tokenizer("the film", padding="max_length")["attention_mask"].sum(1).tolist() == [4]
    assert tokenizer("the film", padding="max_length")["attention_mask"].shape == (1, 64)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("padding", "shortest", "padding requested, got 'shortest'; use True, False, 'longest' or 'max_length'"),
        ("padding_side", "top", "padding_side requested, got 'top'; use one of right, left"),
        ("stride", -1, "stride requested, got -1; use a whole number from 0 on"),
    ],
)
def test_an_unknown_value_is_refused_and_the_known_are_named(
    tokenizer: Tokenizer, option: str, value: Any, message: str
):
    with pytest.raises(ConfigError) as caught:
        tokenizer("the", **{option: value})
    assert str(caught.value) == message


# Rows of long texts, and what else may be asked for


def test_what_does_not_fit_goes_on_in_further_rows(tokenizer: Tokenizer):
    encoded = tokenizer(
        ["the film was good", "the"], truncation=True, max_length=5, stride=1, return_overflowing_tokens=True
    )
    assert encoded["input_ids"].tolist() == [[2, 5, 7, 8, 3], [2, 8, 9, 3, 0], [2, 5, 3, 0, 0]]
    assert encoded["overflow_to_sample_mapping"].tolist() == [0, 0, 1]
    assert str(encoded["overflow_to_sample_mapping"].dtype) == "int64"


def test_a_text_that_is_cut_on_the_left_begins_with_its_end(artifact: Path):
    tokenizer = load_with(artifact, {"truncation_side": "left"})
    encoded = tokenizer("the film was good", truncation=True, max_length=5, return_overflowing_tokens=True)
    assert encoded["input_ids"].tolist() == [[2, 7, 8, 9, 3], [2, 5, 3, 0, 0]]


def test_without_truncation_a_long_text_has_no_further_rows(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError, match="text of 6 tokens requested, max_length is 5"):
        tokenizer("the film was good", max_length=5, return_overflowing_tokens=True)


def test_offsets_and_marks_of_special_tokens_are_padded_too(tokenizer: Tokenizer):
    encoded = tokenizer(["the film", "the"], return_offsets_mapping=True, return_special_tokens_mask=True)
    assert encoded["offset_mapping"].tolist() == [
        [[0, 0], [0, 3], [4, 8], [0, 0]],
        [[0, 0], [0, 3], [0, 0], [0, 0]],
    ]
    assert encoded["special_tokens_mask"].tolist() == [[1, 0, 0, 1], [1, 0, 1, 1]]


@given(
    LINES,
    st.none() | LINES,
    st.sampled_from(["longest_first", "only_first", "only_second"]),
    st.integers(8, 64),
    st.integers(0, 5),
)
def test_windows_together_hold_every_token(line: str, pair: str | None, strategy: str, max_length: int, stride: int):
    tokenizer = Tokenizer.load(GOLDEN, max_length=10_000)
    item = TextInput(line, pair)
    try:
        windows = tokenizer.encode_windows(item, Truncation(max_length, strategy), stride)
    except InputTooLongError:
        return
    [whole] = tokenizer.encode([item], Truncation(10_000))
    seen = [place(window) for window in windows]
    assert set().union(*seen) == place(whole)
    assert all(len(window.ids) <= max_length for window in windows)


def place(encoding: Encoding) -> set[tuple[object, ...]]:
    """The tokens of an encoding that are part of a text, each with where it stands."""
    return {
        (text, start, end, token)
        for text, (start, end), token in zip(encoding.texts, encoding.offsets, encoding.ids, strict=True)
        if text is not None
    }


@given(st.lists(st.sampled_from(WORDS), min_size=10, max_size=60).map(" ".join), st.integers(5, 20), st.data())
def test_neighbouring_windows_share_as_many_tokens_as_asked(line: str, max_length: int, data: st.DataObject):
    stride = data.draw(st.integers(0, max_length - 3))
    windows = Tokenizer.load(GOLDEN, max_length=10_000).encode_windows(
        TextInput(line), Truncation(max_length, "only_first"), stride
    )
    for one, other in pairwise(windows):
        assert len(place(one) & place(other)) == stride


def test_windows_are_as_many_as_are_read(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tokenize, "MAX_WINDOWS", 20)
    item, limits = TextInput("rain " * 30), Truncation(12, "only_first")
    assert len(tokenizer.encode_windows(TextInput("rain " * 29), limits, 9)) == 20
    with pytest.raises(InputTooLongError) as caught:
        tokenizer.encode_windows(item, limits, 9)
    assert str(caught.value) == (
        "windows of 12 tokens requested, there would be 21 of them, and at most 20 are read; "
        "overlap less, or split the text"
    )


def test_offsets_of_a_text_that_is_cut_are_those_of_the_text(tmp_path: Path):
    # RoBERTa's post-processor takes the space before a word out of the offsets, and must not do so twice
    backend = tokenizers.Tokenizer(
        models.BPE({"a": 0, "b": 1, "\u0120": 2, "\u0120a": 3, "<s>": 4, "</s>": 5}, [("\u0120", "a")])
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.RobertaProcessing(("</s>", 5), ("<s>", 4), add_prefix_space=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path, max_length=20)
    [encoding] = tokenizer.encode([TextInput("ab a ab a ab")], Truncation(5, "longest_first"))
    assert encoding.offsets == [(0, 0), (0, 1), (1, 2), (3, 4), (0, 0)]


def test_the_texts_of_a_pair_are_told_apart_when_the_first_is_cut(tokenizer: Tokenizer):
    windows = tokenizer.encode_windows(TextInput("the film was good", "rain"), Truncation(6, "only_first"), 0)
    assert [window.texts for window in windows] == [[None, 0, 0, None, 1, None], [None, 0, 0, None, 1, None]]
    assert [window.type_ids for window in windows] == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("value", ["longest", 1.5, "only_third", ["longest_first"]], ids=str)
def test_an_unknown_truncation_is_refused_and_names_the_known(tokenizer: Tokenizer, value: Any):
    with pytest.raises(ConfigError, match="truncation requested, got .*longest_first', 'only_first', 'only_second'"):
        tokenizer("the", truncation=value)


@pytest.mark.parametrize("value", [0, 3, -1, True, 1.5, "8"], ids=repr)
def test_a_max_length_without_room_for_a_token_of_a_pair_is_refused(tokenizer: Tokenizer, value: Any):
    with pytest.raises(ConfigError) as caught:
        tokenizer("the", truncation=True, max_length=value)
    assert str(caught.value) == f"max_length requested, got {value!r}; use a whole number from 4 on"


def test_a_max_length_beyond_the_model_is_refused(tokenizer: Tokenizer):
    with pytest.raises(ConfigError) as caught:
        tokenizer("the", truncation=True, max_length=65)
    assert str(caught.value) == (
        "max_length=65 requested, the model has 64 positions; leave max_length out or lower it"
    )


@pytest.mark.parametrize(
    ("value", "strategy"),
    [
        (False, None),
        (None, None),
        ("do_not_truncate", None),
        (True, "longest_first"),
        ("longest_first", "longest_first"),
        ("only_first", "only_first"),
        ("only_second", "only_second"),
    ],
    ids=str,
)
def test_a_truncation_option_means_what_it_means_in_transformers(
    tokenizer: Tokenizer, value: object, strategy: str | None
):
    assert tokenizer.truncation(value, None) == Truncation(64, strategy)


# Texts that are too long


def test_a_text_that_is_too_long_is_refused_with_both_lengths(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError) as caught:
        tokenizer("rain " * 63)
    assert str(caught.value) == (
        "text of 65 tokens requested, the model reads at most 64; "
        "pass truncation=True to read only its beginning, or split it"
    )


def test_a_text_as_long_as_the_model_reads_is_accepted(tokenizer: Tokenizer):
    assert tokenizer("rain " * 62)["input_ids"].shape == (1, 64)


def test_a_text_that_is_too_long_carries_its_lengths_and_index(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError) as caught:
        tokenizer(["the", "rain " * 63])
    assert (caught.value.length, caught.value.max_length, caught.value.index) == (65, 64, 1)


def test_a_lone_text_that_is_too_long_names_no_index(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError) as caught:
        tokenizer("rain " * 63)
    assert caught.value.index is None


def test_a_max_length_without_truncation_refuses_longer_texts(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError, match="text of 6 tokens requested, max_length is 5"):
        tokenizer("the film was good", max_length=5)


def test_a_pair_whose_other_text_is_too_long_is_refused(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError, match="the texts have 2 and 4 tokens, and cutting that one is not enough"):
        tokenizer("the film", "the film was good", truncation="only_first", max_length=7)


def test_a_pair_that_cannot_be_cut_names_its_index(tokenizer: Tokenizer):
    with pytest.raises(InputTooLongError) as caught:
        tokenizer(["the", "the"], ["film", "rain " * 70], truncation="only_first")
    assert caught.value.index == 1


# split_room


@pytest.mark.parametrize(
    ("lengths", "room", "strategy", "kept"),
    [
        pytest.param((3, 4), 7, "longest_first", (3, 4), id="fits"),
        pytest.param((10, 2), 7, "longest_first", (5, 2), id="first-is-longer"),
        pytest.param((2, 10), 7, "longest_first", (2, 5), id="second-is-longer"),
        pytest.param((10, 9), 7, "longest_first", (4, 3), id="both-odd-token-to-the-longer-first"),
        pytest.param((9, 10), 7, "longest_first", (3, 4), id="both-odd-token-to-the-longer-second"),
        pytest.param((9, 9), 7, "longest_first", (3, 4), id="both-equal-odd-token-to-the-second"),
        pytest.param((10, 0), 7, "longest_first", (7, 0), id="lone-text"),
        pytest.param((10, 2), 7, "only_first", (5, 2), id="only-first"),
        pytest.param((5, 7), 7, "only_first", None, id="only-first-would-vanish"),
        pytest.param((2, 10), 7, "only_second", (2, 5), id="only-second"),
        pytest.param((7, 5), 7, "only_second", None, id="only-second-would-vanish"),
        pytest.param((10, 0), 7, "only_second", None, id="only-second-of-a-lone-text"),
    ],
)
def test_split_room_keeps(lengths: tuple[int, int], room: int, strategy: str, kept: tuple[int, int] | None):
    assert split_room(lengths, room, strategy) == kept


@given(st.tuples(st.integers(1, 90), st.integers(0, 90)), st.integers(1, 80), st.sampled_from(TRUNCATION_STRATEGIES))
def test_split_room_never_keeps_more_than_there_is_room_for(lengths: tuple[int, int], room: int, strategy: str):
    kept = split_room(lengths, room, strategy)
    assert kept is None or (sum(kept) <= room and kept[0] <= lengths[0] and kept[1] <= lengths[1])


@given(st.tuples(st.integers(1, 90), st.integers(0, 90)), st.integers(1, 80))
def test_longest_first_fills_the_room(lengths: tuple[int, int], room: int):
    kept = split_room(lengths, room, "longest_first")
    assert kept is not None
    assert sum(kept) == min(room, sum(lengths))


# The same as transformers


@pytest.fixture(scope="module")
def tokenizer_pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tokenizer, Any]]:
    """For each side: our tokenizer and transformers', which pad and truncate on that side."""
    import transformers

    pairs = {}
    for side in SIDES:
        folder = tmp_path_factory.mktemp(side)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(GOLDEN / name, folder)
        ours = load_with(mark_segments(folder), {"padding_side": side, "truncation_side": side})
        theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        assert (theirs.padding_side, theirs.truncation_side) == (side, side)
        pairs[side] = (ours, theirs)
    return pairs


def without_truncation_error(call: Callable[[], Any]) -> Any:
    """What `call` returns; None where it says that the text cannot be cut that way."""
    try:
        return call()
    except Exception as error:  # tokenizers raises plain Exception
        if "Truncation error" not in str(error):
            raise
        return None


TEXTS = [
    pytest.param("the film was good", id="words"),
    pytest.param("  The FILM   was\tGood \n", id="case-and-white-space"),
    pytest.param("unlikely, i can't; really?!", id="pieces-and-punctuation"),
    pytest.param("café naïve Ångström", id="accents"),
    pytest.param("雨が降る 😀 \u200b\x00", id="unknown-and-control-characters"),
    pytest.param("[CLS] the [SEP] film [PAD] [MASK]", id="special-tokens-as-text"),
]


@pytest.mark.parity
@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_those_of_transformers(tokenizer_pairs: dict[str, Any], text: str):
    ours, theirs = tokenizer_pairs["right"]
    assert ours(text)["input_ids"].tolist() == [theirs(text)["input_ids"]]


@pytest.mark.parity
@pytest.mark.parametrize("side", SIDES)
def test_a_padded_batch_equals_that_of_transformers(tokenizer_pairs: dict[str, Any], side: str):
    ours, theirs = tokenizer_pairs[side]
    texts = ["the film was good", "rain", "i hate the awful plot"]
    expected = theirs(texts, padding=True, return_tensors="np")
    assert {name: array.tolist() for name, array in ours(texts).items()} == {
        name: array.tolist() for name, array in expected.items()
    }


@pytest.mark.parity
@pytest.mark.parametrize("side", SIDES)
def test_a_padded_batch_of_pairs_equals_that_of_transformers(tokenizer_pairs: dict[str, Any], side: str):
    ours, theirs = tokenizer_pairs[side]
    first, second = ["the film was good", "rain"], ["i love it", "the sun and the rain"]
    expected = theirs(first, second, padding=True, return_tensors="np")
    assert {name: array.tolist() for name, array in ours(first, second).items()} == {
        name: array.tolist() for name, array in expected.items()
    }


@pytest.mark.parity
@given(
    text=LINES,
    text_pair=st.none() | LINES,
    max_length=st.integers(4, 64),
    strategy=st.sampled_from(TRUNCATION_STRATEGIES),
    side=st.sampled_from(SIDES),
)
def test_truncated_ids_equal_those_of_transformers(
    tokenizer_pairs: dict[str, Any], text: str, text_pair: str | None, max_length: int, strategy: str, side: str
):
    ours, theirs = tokenizer_pairs[side]
    options = {"truncation": strategy, "max_length": max_length}
    expected = without_truncation_error(lambda: theirs(text, text_pair, **options))
    if expected is None:
        with pytest.raises(InputTooLongError, match=f"truncation '{strategy}' to {max_length} tokens requested"):
            ours(text, text_pair, **options)
    else:
        found = ours(text, text_pair, **options)
        assert {name: array[0].tolist() for name, array in found.items()} == dict(expected)


# Files


@pytest.mark.parametrize("side", SIDES)
def test_settings_of_a_training_run_in_tokenizer_json_are_ignored(artifact: Path, side: str):
    truncation = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": {"Fixed": 20},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    edit_json(artifact / "tokenizer.json", lambda document: document.update(truncation=truncation, padding=padding))
    assert load_with(artifact, {"padding_side": side})("the film was good")["input_ids"].tolist() == [
        [2, 5, 7, 8, 9, 3]
    ]


@pytest.mark.parametrize(
    ("of_model", "of_tokenizer", "found"),
    [(64, 128, 64), (128, 64, 64), (None, 64, 64), (64, None, 64), (64, 10**30, 64), (None, 1e30, 512)],
    ids=str,
)
def test_the_smaller_limit_of_model_and_tokenizer_holds(
    artifact: Path, of_model: int | None, of_tokenizer: float | None, found: int
):
    edit_json(artifact / "tokenizer_config.json", lambda config: config.update(model_max_length=of_tokenizer))
    assert Tokenizer.load(artifact, max_length=of_model).max_length == found


def test_the_padding_token_is_found_by_its_name(artifact: Path):
    assert load_with(artifact, {"pad_token": "[MASK]"}).pad_id == 4


def test_a_padding_token_written_as_a_mapping_is_found(artifact: Path):
    assert load_with(artifact, {"pad_token": {"content": "[MASK]", "lstrip": False}}).pad_id == 4


def test_a_tokenizer_without_settings_takes_the_limit_of_the_model(artifact: Path):
    (artifact / "tokenizer_config.json").unlink()
    assert Tokenizer.load(artifact, max_length=64).max_length == 64


def test_a_missing_tokenizer_is_named(artifact: Path):
    (artifact / "tokenizer.json").unlink()
    with pytest.raises(MissingFileError, match=r"there is no tokenizer\.json; export the checkpoint again"):
        Tokenizer.load(artifact)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}', "\udcff"], ids=repr)
def test_a_damaged_tokenizer_is_an_artifact_error(artifact: Path, content: str):
    (artifact / "tokenizer.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match=r"tokenizer of '.*' requested, it cannot be read \("):
        Tokenizer.load(artifact)


def test_damaged_settings_are_an_artifact_error(artifact: Path):
    (artifact / "tokenizer_config.json").write_text("{")
    with pytest.raises(ArtifactError, match="it cannot be read"):
        Tokenizer.load(artifact)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"model_max_length": "many"}, id="length-that-is-no-number"),
        pytest.param({"model_max_length": [64]}, id="length-that-is-a-list"),
        pytest.param({"pad_token_type_id": "none"}, id="type-that-is-no-number"),
        pytest.param({"padding_side": "up"}, id="unknown-side-of-padding"),
        pytest.param({"truncation_side": "up"}, id="unknown-side-of-truncation"),
    ],
)
def test_settings_of_a_wrong_type_are_an_artifact_error(artifact: Path, settings: dict[str, Any]):
    with pytest.raises(ArtifactError):
        load_with(artifact, settings)


def test_threads_with_different_limits_get_what_one_thread_gets(tokenizer: Tokenizer):
    limits = [4, 8, 16, 33, 64] * 20
    text, text_pair = "the film was good and " * 12, "i hate rain " * 9

    def ids(limit: int) -> list[Any]:
        encoded = tokenizer([text, text], [text_pair, "rain"], truncation=True, max_length=limit)
        return [array.tolist() for array in encoded.values()]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ids, limits))
    assert found == [ids(limit) for limit in limits]


def test_loading_reads_utf8_whatever_the_locale(artifact: Path):
    edit_json(artifact / "tokenizer.json", lambda document: document["model"]["vocab"].update({"雨": 125}))
    document = json.loads((artifact / "tokenizer.json").read_text())
    (artifact / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    assert np.isin(125, Tokenizer.load(artifact)("雨")["input_ids"])


# What a writer of texts asks


def test_what_is_written_as_json_is_read_as_the_same_tokenizer(tokenizer: Tokenizer):
    text = tokenizer.to_json()
    again = Tokenizer(tokenizers.Tokenizer.from_str(text), max_length=64)
    assert (again.size, again.to_json()) == (tokenizer.size, text)
    assert again("the film")["input_ids"].tolist() == [[2, 5, 7, 3]]


def test_size_counts_added_tokens():
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    backend.add_special_tokens(["<s>"])
    assert Tokenizer(backend, max_length=8).size == 3


def test_tokens_that_stand_for_bytes_are_those_of_a_decoder_that_joins_them():
    words = {"<0x00>": 0, "<0x41>": 1, "<0xFF>": 2, "a": 3}
    backend = tokenizers.Tokenizer(models.WordLevel(words, unk_token="a"))
    assert Tokenizer(backend, max_length=8).byte_ids == frozenset()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    assert Tokenizer(backend, max_length=8).byte_ids == {0, 1, 2}


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [
        pytest.param(None, False, id="none"),
        pytest.param(decoders.Metaspace(), True, id="T5"),
        pytest.param(decoders.Metaspace(prepend_scheme="never"), False, id="words without a space before"),
        pytest.param(
            decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
            True,
            id="Llama 2",
        ),
        pytest.param(decoders.ByteLevel(), False, id="GPT-2"),
    ],
)
def test_first_space_is_dropped_by_some_decoders(decoder: Any, expected: bool):
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    if decoder is not None:
        backend.decoder = decoder
    assert Tokenizer(backend, max_length=8).drops_first_space is expected


def test_what_is_cleaned_up_depends_on_checkpoint_caller_and_kind():
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    cleans, leaves = (Tokenizer(words, max_length=8, cleans_up=value) for value in (True, False))
    assert (" .", ".") in cleans.replacements()
    assert cleans.replacements(False) == leaves.replacements() == ()
    assert leaves.replacements(True) == cleans.replacements()
    pairs = Tokenizer(tokenizers.Tokenizer(models.BPE({"a": 0}, [])), max_length=8, cleans_up=True)
    assert pairs.replacements() == (), "rules for words are not for BPE"
