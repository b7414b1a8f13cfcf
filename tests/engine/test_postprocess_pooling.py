from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ortolan.postprocess.pooling import POOLINGS, Pooling, unit_length

HIDDEN = np.array([[1.0, 8.0], [3.0, 2.0], [5.0, 2.0]], np.float32)
NUMBERS = st.floats(-1000, 1000, width=32)


@pytest.mark.parametrize(
    ("mode", "expected"), [("mean", [3.0, 4.0]), ("cls", [1.0, 8.0]), ("max", [5.0, 8.0]), ("last", [5.0, 2.0])]
)
def test_tokens_are_pooled(mode: str, expected: list[float]):
    assert POOLINGS[mode](HIDDEN).tolist() == expected


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=NUMBERS))
def test_pooling_keeps_the_width_and_the_dtype_and_stays_within_the_tokens(hidden: np.ndarray):
    for pool in POOLINGS.values():
        vector = pool(hidden)
        assert vector.shape == hidden.shape[1:]
        assert vector.dtype == np.float32
        assert (vector >= hidden.min(0) - 1e-3).all()
        assert (vector <= hidden.max(0) + 1e-3).all()


def test_one_token_is_its_own_pool():
    assert [pool(HIDDEN[:1]).tolist() for pool in POOLINGS.values()] == [[1.0, 8.0]] * len(POOLINGS)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=NUMBERS))
def test_scaled_vectors_have_length_one_and_their_direction(vectors: np.ndarray):
    before = vectors.copy()
    scaled = unit_length(vectors)
    lengths = np.linalg.norm(vectors, axis=-1)
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=-1)[lengths > 1e-6], 1.0, atol=1e-5)
    np.testing.assert_allclose(scaled * lengths[:, None], vectors, rtol=1e-4, atol=1e-4)


def test_a_vector_of_zeros_stays_one():
    assert unit_length(np.zeros(3, np.float32)).tolist() == [0.0, 0.0, 0.0]


def test_the_mean_is_taken_where_nothing_is_said():
    assert Pooling() == Pooling("mean", normalizes=False)
