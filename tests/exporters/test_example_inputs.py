"""Random batches: what holds of each of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ortolan_exporters.example_inputs import Vocabulary, example_batch

NAMES = ("input_ids", "attention_mask", "token_type_ids")

VOCABULARIES = st.builds(
    Vocabulary, size=st.integers(5, 600), pad_id=st.integers(0, 2), end_id=st.sampled_from([None, 3, 4])
)
SHAPES = {"batch": st.integers(1, 6), "sequence": st.integers(1, 40), "seed": st.integers(0, 1000)}


@given(vocabulary=VOCABULARIES, **SHAPES)
def test_padding_token_stands_where_the_mask_says_and_nowhere_else(
    vocabulary: Vocabulary, batch: int, sequence: int, seed: int
) -> None:
    made = example_batch(NAMES, batch, sequence, vocabulary=vocabulary, seed=seed)
    assert list(made) == list(NAMES)
    assert {(array.shape, array.dtype) for array in made.values()} == {((batch, sequence), np.dtype(np.int64))}
    assert ((made["input_ids"] == vocabulary.pad_id) == (made["attention_mask"] == 0)).all()
    assert made["input_ids"].min() >= 0
    assert made["input_ids"].max() < vocabulary.size
    assert set(np.unique(made["token_type_ids"])) <= {0, 1}
    assert (made["token_type_ids"] <= made["attention_mask"]).all()


@given(vocabulary=VOCABULARIES, **SHAPES)
def test_real_tokens_come_first_and_fill_the_first_row(
    vocabulary: Vocabulary, batch: int, sequence: int, seed: int
) -> None:
    mask = example_batch(NAMES, batch, sequence, vocabulary=vocabulary, seed=seed)["attention_mask"]
    lengths = mask.sum(1)
    assert (mask == (np.arange(sequence) < lengths[:, None])).all()
    assert lengths[0] == sequence
    assert (lengths >= 1).all()
    assert sequence == 1 or (lengths[1:] < sequence).all(), "every other row is padded"


@given(size=st.integers(5, 600), **SHAPES)
def test_end_token_ends_each_row_and_stands_nowhere_else(size: int, batch: int, sequence: int, seed: int) -> None:
    vocabulary = Vocabulary(size, pad_id=0, end_id=2)
    made = example_batch(NAMES, batch, sequence, vocabulary=vocabulary, seed=seed)
    ends = [np.flatnonzero(row == 2).tolist() for row in made["input_ids"]]
    assert ends == [[length - 1] for length in made["attention_mask"].sum(1)]


@given(vocabulary=VOCABULARIES, **SHAPES)
def test_batch_without_padding_has_none(vocabulary: Vocabulary, batch: int, sequence: int, seed: int) -> None:
    made = example_batch(NAMES, batch, sequence, vocabulary=vocabulary, padding=False, seed=seed)
    assert made["attention_mask"].all()


@given(vocabulary=VOCABULARIES, **SHAPES)
def test_same_seed_gives_the_same_batch(vocabulary: Vocabulary, batch: int, sequence: int, seed: int) -> None:
    first, second = (
        example_batch(NAMES, batch, sequence, vocabulary=vocabulary, seed=seed)["input_ids"] for _ in range(2)
    )
    assert (first == second).all()


def test_only_the_inputs_named_are_made() -> None:
    assert list(example_batch(("input_ids",), 2, 5, vocabulary=Vocabulary(50))) == ["input_ids"]
