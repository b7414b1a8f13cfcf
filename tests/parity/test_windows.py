"""Windows over long texts are those of transformers' tokenizers: ids, segments, offsets, words and texts."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan import ConfigError, InputTooLongError, Tokenizer
from ortolan.request import TextInput
from ortolan.tokenize import SIDES, Encoding, Truncation
from tests.goldens import make_question_answering as goldens
from tests.parity.compare import compared

pytestmark = pytest.mark.parity

WORDS = str.split(
    "the Zürich 1921 unlikely, 北京 Київ 🍣👩‍👩‍👧‍👦 e\u0301a don't [SEP] </s> x7Kqx7Kq ... ﬁ½ \x00 \u200b القاهرة"
)
SPACES = (" ", "  ", "\n", "\t ", "")
TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), min_size=1, max_size=25).map(
    lambda pieces: "".join(word + space for word, space in pieces)
)

models = pytest.mark.parametrize("name", list(goldens.MODELS))
sides = pytest.mark.parametrize("side", SIDES)


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Our tokenizer and transformers', of one of the models that the goldens of question answering are of."""

    @functools.cache
    def once(name: str, side: str) -> tuple[Tokenizer, Any]:
        folder = tmp_path_factory.mktemp(name)
        _, theirs = goldens.MODELS[name]()
        theirs.padding_side = theirs.truncation_side = side
        theirs.save_pretrained(folder)
        return Tokenizer.load(with_sides(folder, side)), theirs

    return once


def with_sides(folder: Path, side: str) -> Path:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**settings, "padding_side": side, "truncation_side": side}), encoding="utf-8")
    return folder


def seen(one: Encoding) -> list[object]:
    return [one.ids, one.type_ids, one.offsets, one.words, one.texts, one.is_special]


def expected(theirs: Any, item: TextInput, limits: Truncation, stride: int) -> list[list[object]]:
    found = theirs(
        item.text,
        item.text_pair,
        truncation=limits.strategy,
        max_length=limits.max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_token_type_ids=True,
    )
    rows = zip(found["input_ids"], found["token_type_ids"], found.encodings, strict=True)
    return [
        [ids, kinds, one.offsets, one.word_ids, one.sequence_ids, [bool(mark) for mark in one.special_tokens_mask]]
        for ids, kinds, one in rows
    ]


@models
@sides
@given(
    text=TEXTS,
    pair=st.none() | TEXTS,
    strategy=st.sampled_from(["longest_first", "only_first", "only_second"]),
    max_length=st.integers(12, 40),
    # transformers wants windows of more than that, whether a text is long or not
    stride=st.integers(0, 7),
)
@settings(max_examples=60)
def test_windows_equal_those_of_transformers(
    both: Any, name: str, side: str, text: str, pair: str | None, strategy: str, max_length: int, stride: int
):
    ours, theirs = both(name, side)
    item = TextInput(text, pair)
    limits = Truncation(max_length, strategy)
    try:
        found = ours.encode_windows(item, limits, stride)
    except InputTooLongError:
        return  # theirs panics
    compared["windows"] += 1
    wanted = expected(theirs, item, limits, stride)
    if not ours.has_segments:
        wanted = [[ids, [0] * len(ids), *rest] for ids, _, *rest in wanted]
    assert [seen(one) for one in found] == wanted


@models
@settings(max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), pairs=st.booleans(), data=st.data())
def test_a_call_equals_that_of_transformers(both: Any, name: str, texts: list[str], pairs: bool, data: st.DataObject):
    ours, theirs = both(name, "right")
    texts = [text if text.strip() else "rain" for text in texts]
    options = {
        "text_pair": texts[::-1] if pairs else None,
        "padding": data.draw(st.sampled_from([True, "longest", "max_length"])),
        "padding_side": data.draw(st.sampled_from([None, "left", "right"])),
        "truncation": data.draw(st.sampled_from([True, "longest_first"])),
        "max_length": data.draw(st.integers(16, 60)),
        "stride": data.draw(st.integers(0, 3)),
        "return_overflowing_tokens": data.draw(st.booleans()),
        "return_offsets_mapping": data.draw(st.booleans()),
        "return_special_tokens_mask": data.draw(st.booleans()),
        "return_tensors": data.draw(st.sampled_from(["np", "pt"])),
    }
    found = ours(texts, **options)
    wanted = theirs(texts, return_token_type_ids=True, **options)
    compared["tokenizer calls"] += 1
    assert set(found) == set(wanted)
    assert {type(value) for value in found.values()} == {type(value) for value in wanted.values()}
    for key in found:
        if key != "token_type_ids" or ours.has_segments:
            np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)


def test_rows_without_room_are_refused_where_transformers_panics(both: Any):
    ours, _ = both("bert", "right")
    with pytest.raises(InputTooLongError) as caught:
        ours(["rain", "rain " * 30], truncation=True, max_length=8, stride=6, return_overflowing_tokens=True)
    assert str(caught.value) == (
        "windows of 8 tokens requested at index 1, 6 of them are left for the text that is split, "
        "and windows overlap by 6; shorten the other text, or overlap less"
    )


@pytest.mark.parametrize("value", [-1, 1.5, True, "3"])
def test_a_stride_that_is_no_count_is_refused(both: Any, value: Any):
    with pytest.raises(ConfigError, match="stride requested, got .*; use a whole number from 0 on"):
        both("bert", "right")[0]("rain", stride=value)
