"""Rounding matrices to int8 and to blocks of 4 or 8 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ortolan_exporters import QuantizeError
from ortolan_exporters.quantize.weights import Blocks, quantize_blocks, quantize_weight

WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 9), st.integers(1, 70)),
    elements=st.floats(-100, 100, width=32),
)


@given(weight=WEIGHTS, axis=st.sampled_from([0, 1]))
def test_rounding_to_int8_moves_no_weight_by_more_than_half_a_step(weight: np.ndarray, axis: int) -> None:
    integers, scale = quantize_weight(weight, axis)
    assert integers.dtype == np.int8
    assert integers.min() >= -127
    restored = integers * np.expand_dims(scale, axis)
    assert (np.abs(restored - weight) <= np.expand_dims(scale, axis) * 0.501).all()


def test_column_of_zeros_has_scale_one() -> None:
    integers, scale = quantize_weight(np.array([[0.0, 2.54], [0.0, -1.28]], np.float32), axis=0)
    np.testing.assert_array_equal(integers, [[0, 127], [0, -64]])
    np.testing.assert_allclose(scale, [1.0, 0.02])


def unpack(packed: np.ndarray) -> np.ndarray:
    """Two integers of each byte, the low bits first, along the last axis."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def restore(blocks: Blocks, columns: int, bits: int = 4) -> np.ndarray:
    """The float matrix [N, K] that the blocks stand for."""
    integers, zero_points = blocks.packed, blocks.zero_points
    if bits == 4:
        integers, zero_points = unpack(integers), unpack(zero_points)[:, : blocks.scales.shape[1]]
    values = (integers - zero_points[..., None].astype(np.float32)) * blocks.scales[..., None]
    return values.reshape(len(values), -1)[:, :columns]


@given(weight=WEIGHTS, size=st.sampled_from([16, 32]))
def test_error_of_a_block_of_4_bits_is_at_most_a_step_of_its_range(weight: np.ndarray, size: int) -> None:
    rows, columns = weight.shape
    blocks = quantize_blocks(weight, size)
    count = -(-columns // size)
    assert blocks.packed.shape == (rows, count, size // 2)
    assert blocks.scales.shape == (rows, count)
    assert blocks.zero_points.shape == (rows, -(-count // 2))
    error = np.zeros((rows, count * size), np.float32)
    error[:, :columns] = restore(blocks, columns) - weight
    filled = np.zeros_like(error)
    filled[:, :columns] = weight
    filled = filled.reshape(rows, count, size)
    step = (np.maximum(filled.max(-1), 0) - np.minimum(filled.min(-1), 0)) / 15
    mean_square = np.square(error.reshape(rows, count, size)).mean(-1)
    assert (mean_square <= np.square(step) * 1.001 + 1e-30).all()


@given(weight=WEIGHTS, size=st.sampled_from([16, 32]))
def test_no_weight_of_a_block_of_8_bits_moves_by_more_than_a_step(weight: np.ndarray, size: int) -> None:
    rows, columns = weight.shape
    blocks = quantize_blocks(weight, size, 8)
    count = -(-columns // size)
    assert blocks.packed.shape == (rows, count, size)
    assert blocks.scales.shape == blocks.zero_points.shape == (rows, count)
    steps = np.repeat(blocks.scales, size, axis=1)[:, :columns]
    assert (np.abs(restore(blocks, columns, 8) - weight) <= steps * 1.001).all()


@given(weight=WEIGHTS)
def test_zero_stays_zero_in_4_bits(weight: np.ndarray) -> None:
    weight[:, ::3] = 0
    assert (restore(quantize_blocks(weight, 16), weight.shape[1])[:, ::3] == 0).all()


def test_sixteen_equal_steps_are_exact_in_4_bits() -> None:
    weight = np.arange(-5, 11, dtype=np.float32)[None] / 2
    blocks = quantize_blocks(weight, 16)
    np.testing.assert_array_equal(unpack(blocks.packed)[0, 0], np.arange(16))
    np.testing.assert_array_equal(blocks.scales, [[0.5]])
    np.testing.assert_array_equal(unpack(blocks.zero_points)[0], [5, 0])


def test_trying_smaller_ranges_lowers_the_error_of_normal_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)

    def error() -> float:
        return float(np.square(restore(quantize_blocks(weight, 32), 256) - weight).mean())

    chosen = error()
    monkeypatch.setattr("ortolan_exporters.quantize.weights.SHRINKS", ())
    assert chosen < 0.97 * error()


def test_tables_larger_than_what_is_rounded_at_once_come_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).normal(size=(10, 32)).astype(np.float32)
    whole = quantize_blocks(weight, 16)
    monkeypatch.setattr("ortolan_exporters.quantize.weights.ROWS_AT_ONCE", 4)
    np.testing.assert_array_equal(quantize_blocks(weight, 16).packed, whole.packed)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weight_that_is_not_finite_is_refused(bad: float) -> None:
    weight = np.array([[1.0, bad]], np.float32)
    with pytest.raises(QuantizeError, match="int8 requested, a weight holds NaN or infinity"):
        quantize_weight(weight, axis=0)
    with pytest.raises(QuantizeError, match="int4 requested, a weight holds NaN or infinity"):
        quantize_blocks(weight, 16)
