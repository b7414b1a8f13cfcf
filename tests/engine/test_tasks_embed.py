from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InvalidInputError, NonFiniteError
from ortolan.forward import Row
from ortolan.postprocess.pooling import Pooling
from ortolan.request import TextInput
from ortolan.tasks.embed import Embed
from ortolan.tokenize import Encoding
from tests.engine.fakes import facts

TASK, FACTS = Embed(), facts()
HIDDEN = np.array([[1.0, 8.0], [3.0, 2.0], [5.0, 2.0]], np.float32)
TRAINED = np.array([0.6, 0.0, 0.8], np.float32)
OUTPUTS = {"last_hidden_state": HIDDEN, "sentence_embedding": TRAINED}


def embed(outputs: dict[str, np.ndarray], folder_says: Pooling | None = None, **options: Any) -> list[float]:
    known = FACTS if folder_says is None else replace(FACTS, pooling=folder_says)
    row = Row(Encoding([2, 5, 3], [0] * 3, [(0, 0)] * 3), outputs)
    vector = TASK.decode(TextInput("rain"), [row], known, TASK.options(options, known))
    assert vector.dtype == np.float32
    found: list[float] = vector.tolist()
    return found


def test_a_graph_that_pools_is_taken_at_its_word():
    assert embed(OUTPUTS) == pytest.approx([0.6, 0.0, 0.8])


def test_hidden_states_are_averaged_where_nothing_is_known():
    assert embed({"last_hidden_state": HIDDEN}) == [3.0, 4.0]


def test_hidden_states_are_pooled_as_the_folder_says():
    assert embed({"last_hidden_state": HIDDEN}, Pooling("cls")) == [1.0, 8.0]
    assert embed({"last_hidden_state": HIDDEN}, Pooling("mean", normalizes=True)) == pytest.approx([0.6, 0.8])


def test_token_embeddings_are_hidden_states_by_another_name():
    assert embed({"token_embeddings": HIDDEN}) == [3.0, 4.0]


@pytest.mark.parametrize(
    ("mode", "expected"), [("mean", [3.0, 4.0]), ("cls", [1.0, 8.0]), ("max", [5.0, 8.0]), ("last", [5.0, 2.0])]
)
def test_another_pooling_may_be_asked_for(mode: str, expected: list[float]):
    assert embed(OUTPUTS, pooling=mode) == expected


def test_a_graph_that_gives_no_hidden_states_cannot_be_pooled_otherwise():
    with pytest.raises(ConfigError) as caught:
        embed({"sentence_embedding": TRAINED}, pooling="cls")
    assert str(caught.value) == (
        "pooling requested, the graph answers with sentence_embedding alone; leave it out: the graph pools"
    )


def test_vectors_are_scaled_where_that_is_asked():
    assert embed(OUTPUTS, pooling="mean", normalize=True) == pytest.approx([0.6, 0.8])


def test_vectors_are_not_scaled_where_that_is_refused():
    assert embed({"last_hidden_state": HIDDEN}, Pooling("mean", normalizes=True), normalize=False) == [3.0, 4.0]


def test_a_vector_of_zeros_stays_one():
    assert embed({"last_hidden_state": np.zeros((2, 3), np.float32)}, normalize=True) == [0.0, 0.0, 0.0]


def test_a_part_of_a_vector_of_length_one_is_scaled_to_length_one():
    assert embed(OUTPUTS, truncate_dim=2) == [1.0, 0.0]


def test_a_part_is_left_as_it_is_where_that_is_asked():
    assert embed(OUTPUTS, truncate_dim=2, normalize=False) == pytest.approx([0.6, 0.0])


def test_a_part_of_a_longer_vector_is_left_as_it_is():
    assert embed({"last_hidden_state": HIDDEN}, truncate_dim=1) == [3.0]


def test_more_numbers_than_there_are_is_an_error():
    with pytest.raises(ConfigError) as caught:
        embed(OUTPUTS, truncate_dim=4)
    assert str(caught.value) == "truncate_dim=4 requested, vectors have 3 numbers; use that or less"


def test_not_a_number_is_an_error():
    with pytest.raises(NonFiniteError, match="an embedding requested"):
        embed({"last_hidden_state": np.full((2, 2), np.nan, np.float32)})


def test_a_vector_does_not_hold_its_batch_in_memory():
    batch = np.ones((4, 3), np.float32)
    row = Row(Encoding([2], [0], [(0, 0)]), {"sentence_embedding": batch[1]})
    assert TASK.decode(TextInput("rain"), [row], FACTS, TASK.options({}, FACTS)).base is None


@pytest.mark.parametrize(
    "options",
    [{"pooling": "sum"}, {"pooling": 1}, {"normalize": "yes"}, {"truncate_dim": 0}, {"truncate_dim": 1.5}],
    ids=str,
)
def test_an_option_that_is_not_allowed_is_refused(options: dict[str, Any]):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} requested"):
        TASK.options(options, FACTS)


def test_none_means_the_default():
    assert TASK.options({"pooling": None, "normalize": None, "truncate_dim": None}, FACTS) == TASK.options({}, FACTS)


def test_a_pair_is_refused():
    with pytest.raises(InvalidInputError, match="sentence-embedding requested at index 1, got a pair of texts"):
        TASK.parse({"text": "a", "text_pair": "b"}, 1)


@pytest.mark.parametrize(
    ("count", "single", "shape"), [(1, "a", (3,)), (1, None, (1, 3)), (2, None, (2, 3)), (0, None, (0, 0))]
)
def test_a_list_of_texts_makes_a_matrix(count: int, single: Any, shape: tuple[int, ...]):
    assert TASK.present([TRAINED] * count, single, {}).shape == shape
