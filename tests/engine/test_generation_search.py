"""Beginning a search, what may not be asked of one, and what is told of a text."""

from __future__ import annotations

import numpy as np
import pytest

from ortolan.errors import ConfigError, InputTooLongError, NonFiniteError
from ortolan.generation.beams import BeamSearch
from ortolan.generation.config import GenerationConfig
from ortolan.generation.greedy import RowSearch
from ortolan.generation.search import Written, measured, outputs
from tests.driven import drive, started, table

SIZE = 6


@pytest.mark.parametrize(
    ("config", "kind", "rows"),
    [
        (GenerationConfig(), RowSearch, 1),
        (GenerationConfig(do_sample=True, num_return_sequences=3), RowSearch, 3),
        (GenerationConfig(num_beams=4, num_return_sequences=2), BeamSearch, 4),
    ],
    ids=["best token", "drawn", "beams"],
)
def test_search_says_how_many_rows_it_may_come_to(config: GenerationConfig, kind: type, rows: int):
    search = started(config, [1], SIZE)
    assert isinstance(search, kind)
    assert search.max_rows == rows
    assert list(search.written) == []
    assert list(search.ids) == []


@pytest.mark.parametrize(("length", "room"), [(5, 5), (6, 5), (9, 100)])
def test_prompt_without_room_behind_it_is_refused_with_both_numbers(length: int, room: int):
    with pytest.raises(
        InputTooLongError, match=f"the prompt alone has {length} tokens, and there is room for"
    ) as caught:
        started(GenerationConfig(max_length=9), [1] * length, SIZE, room=room)
    assert caught.value.length == length


def test_text_ends_where_the_room_does():
    search = started(GenerationConfig(max_new_tokens=50), [1, 2], SIZE, room=6)
    drive(search, table(SIZE), [1, 2])
    [text] = search.written
    assert (len(text.ids), text.reason) == (4, "length")


def test_bias_for_a_token_that_the_model_does_not_have_is_refused():
    config = GenerationConfig(sequence_bias=(((1, 9), 1.0),), logit_bias=(((7,), 1.0),))
    with pytest.raises(ConfigError, match="a bias for 7, 9 requested, the model has 6 tokens; use ids from 0 to 5"):
        started(config, [1], SIZE)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("config", [GenerationConfig(), GenerationConfig(num_beams=2)], ids=["rows", "beams"])
def test_logits_that_are_no_numbers_are_an_error(config: GenerationConfig, wrong: float):
    logits = np.zeros((1, 1, SIZE), np.float32)
    logits[0, 0, 3] = wrong
    with pytest.raises(NonFiniteError, match="the graph answered NaN or infinity"):
        started(config, [1], SIZE).advance(logits)


@pytest.mark.parametrize(
    "config",
    [
        GenerationConfig(suppress_tokens=tuple(range(SIZE))),
        GenerationConfig(suppress_tokens=tuple(range(SIZE)), do_sample=True),
        GenerationConfig(suppress_tokens=tuple(range(SIZE)), num_beams=2),
    ],
    ids=["best token", "drawn", "beams"],
)
def test_rules_that_leave_no_token_are_an_error(config: GenerationConfig):
    with pytest.raises(ConfigError, match="its rules leave no token that can be written next"):
        started(config, [1], SIZE).advance(np.zeros((1, 1, SIZE), np.float32))


@pytest.mark.parametrize(
    "config",
    [GenerationConfig(), GenerationConfig(do_sample=True, num_return_sequences=2), GenerationConfig(num_beams=2)],
    ids=["best token", "drawn", "beams"],
)
def test_logits_of_the_caller_stay_as_they_are(config: GenerationConfig):
    logits = table(SIZE)([[1]])
    before = logits.copy()
    started(config, [1], SIZE).advance(logits)
    assert (logits == before).all()


def test_choice_is_told_with_the_best_ones_beside_it():
    scores = np.log(
        np.array([0.1, 0.6, 0.3, 0.0], np.float32), where=[True, True, True, False], out=np.full(4, -np.inf, np.float32)
    )
    logprob, others = measured(scores, 0, 9)
    assert logprob == pytest.approx(np.log(0.1), abs=1e-6)
    assert [one for one, _ in others] == [1, 2, 0], "what could not be chosen is left out"
    assert [value for _, value in others] == pytest.approx(np.log([0.6, 0.3, 0.1]), abs=1e-6)
    assert measured(scores, 1, 0)[1] == ()


def test_outputs_are_the_text_behind_its_prompt():
    found = outputs([7, 8], Written((1, 2), "eos"))
    assert list(found) == ["sequences"]
    assert found["sequences"].tolist() == [7, 8, 1, 2]
    assert found["sequences"].dtype == np.int64


def test_outputs_have_the_likelihoods_that_were_asked_for():
    text = Written((1, 2), "eos", None, (-0.5, -1.0), (((3, -0.25), (1, -0.5)), ((2, -1.0),)))
    found = outputs([7], text)
    assert found["logprobs"].tolist() == [-0.5, -1.0]
    assert found["top_ids"].tolist() == [[3, 1], [2, -1]]
    assert found["top_logprobs"].tolist() == [[-0.25, -0.5], [-1.0, -np.inf]]
    assert outputs([7], Written((1,), "eos", None, (-0.5,), ((),)))["top_ids"].shape == (1, 0)
