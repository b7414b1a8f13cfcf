from __future__ import annotations

import numpy as np
import pytest

from ortolan.errors import InvalidInputError
from ortolan.session.base import Stop, TensorSpec, conform

SPEC = TensorSpec("input_ids", "int64", ("batch", "sequence"))


def test_an_array_of_another_integer_type_is_cast():
    assert conform(np.array([[1, 2]], np.int32), SPEC).dtype == np.int64


def test_an_array_that_fits_is_not_copied():
    array = np.array([[1, 2]], np.int64)
    assert conform(array, SPEC) is array


def test_a_view_with_gaps_becomes_contiguous():
    assert conform(np.arange(8).reshape(2, 4)[:, ::2], SPEC).flags.c_contiguous


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_fractions_are_not_cut_off_unseen(value: float):
    with pytest.raises(InvalidInputError, match="got float64 values that are not whole; pass int64"):
        conform(np.array([[1.0, value]]), SPEC)


def test_whole_numbers_may_come_as_floats():
    assert conform(np.ones((1, 2)), SPEC).tolist() == [[1, 1]]


# Stop


class Run:
    """A run that somebody may end."""

    def __init__(self) -> None:
        self.terminate = False


def test_a_stop_ends_every_run_under_way():
    stop, runs = Stop(), [Run(), Run()]
    for run in runs:
        stop.enter(run)
    assert not any(run.terminate for run in runs)
    stop.set()
    assert stop.is_set
    assert all(run.terminate for run in runs)


def test_a_stop_that_is_set_ends_a_run_at_its_beginning():
    stop, run = Stop(), Run()
    stop.set()
    stop.enter(run)
    assert run.terminate


def test_a_run_that_has_ended_is_left_alone():
    stop, run = Stop(), Run()
    stop.enter(run)
    stop.leave(run)
    stop.set()
    assert not run.terminate
