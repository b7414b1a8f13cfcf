from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from ortolan import ConfigError
from ortolan.tensors import as_tensor

ARRAY = np.array([[1.5, 2.5]], np.float32)


def test_numpy_s_array_is_given_as_it_is():
    assert as_tensor(ARRAY, "np") is ARRAY


def test_a_tensor_has_the_dtype_and_the_numbers_of_the_array():
    found = as_tensor(ARRAY.copy(), "pt")
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.5, 2.5]]


def test_a_tensor_shares_the_memory_of_the_array():
    array = ARRAY.copy()
    as_tensor(array, "pt")[0, 0] = 9
    assert array.tolist() == [[9.0, 2.5]]


@pytest.mark.parametrize("kind", ["tf", "jax", "", None])
def test_other_kinds_are_refused(kind: str):
    with pytest.raises(ConfigError) as caught:
        as_tensor(ARRAY, kind)
    assert str(caught.value) == f"return_tensors requested, got {kind!r}; use one of np, pt"


def test_where_torch_is_absent_the_error_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError) as caught:
        as_tensor(ARRAY, "pt")
    assert str(caught.value) == "return_tensors='pt' requested, torch is not installed; install it, or use 'np'"
