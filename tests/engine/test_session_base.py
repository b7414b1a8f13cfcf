from __future__ import annotations

import numpy as np

from ortolan.session.base import TensorSpec, conform

SPEC = TensorSpec("input_ids", "int64", ("batch", "sequence"))


def test_an_array_of_another_integer_type_is_cast():
    assert conform(np.array([[1, 2]], np.int32), SPEC).dtype == np.int64


def test_an_array_that_fits_is_not_copied():
    array = np.array([[1, 2]], np.int64)
    assert conform(array, SPEC) is array


def test_a_view_with_gaps_becomes_contiguous():
    assert conform(np.arange(8).reshape(2, 4)[:, ::2], SPEC).flags.c_contiguous
