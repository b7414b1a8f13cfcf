from pathlib import Path

import numpy as np
import pytest

from ortolan.bench import ceilings
from ortolan.bench.ceilings import least_seconds, limits, measure_ceilings, product_of
from ortolan.bench.product_graph import FP32, INT8, product_graph
from ortolan.bench.records import Ceiling, Work
from ortolan.config import SessionConfig
from ortolan.graph_file import read_graph_file
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS


def load(folder: Path, data: bytes) -> OrtSession:
    path = folder / "product.onnx"
    path.write_bytes(data)
    return OrtSession(path, PROVIDERS["cpu"], SessionConfig(provider="cpu", num_threads=1), ())


@pytest.mark.parity
def test_the_graph_of_a_product_multiplies(tmp_path: Path):
    draw = np.random.default_rng(0)
    rows, weights = draw.standard_normal((3, 200), np.float32), draw.standard_normal((200, 5), np.float32)
    found = load(tmp_path, product_graph(FP32, weights, 3)).run({"x": rows})["y"]
    np.testing.assert_allclose(found, rows @ weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parity
def test_the_graph_of_an_int8_product_multiplies(tmp_path: Path):
    draw = np.random.default_rng(0)
    rows, weights = draw.integers(0, 100, (3, 200), np.uint8), draw.integers(-60, 60, (200, 5), np.int8)
    found = load(tmp_path, product_graph(INT8, weights, 3)).run({"x": rows})["y"]
    np.testing.assert_array_equal(found, rows.astype(np.int32) @ weights.astype(np.int32))


def test_the_graph_reader_reads_what_is_written_here(tmp_path: Path):
    path = tmp_path / "product.onnx"
    path.write_bytes(product_graph(INT8, np.zeros((300, 4), np.int8), 2))
    found = read_graph_file(path)
    assert found.operators == {"MatMulInteger"}
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.signature.inputs] == [("x", "uint8", (2, 300))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in found.signature.outputs] == [("y", "int32", (2, 4))]


def test_every_ceiling_is_measured_or_missing_with_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ceilings, "READ_BYTES", 1 << 20)
    found, missing = measure_ceilings(1, samples=3)
    named = {one.name for one in found} | {one.contender for one in missing}
    assert named == {"fp32 product", "bf16 product", "int8 product", "memory"}
    assert {one.name for one in found} >= {"fp32 product", "int8 product", "memory"}
    assert all(len(one.samples) == 3 and min(one.samples) > 0 for one in found)
    assert all(one.reason for one in missing)


def test_the_limit_is_the_most_that_was_ever_reached():
    found = limits(
        [
            Ceiling(name="memory", unit="GB/s", samples=(8.0, 10.0)),
            Ceiling(name="memory", unit="GB/s", samples=(9.0, 12.0)),
            Ceiling(name="fp32 product", unit="GFLOP/s", samples=(100.0,)),
        ]
    )
    assert found == {"memory": 12.0, "fp32 product": 100.0}


@pytest.mark.parametrize(
    ("flops", "read", "seconds"),
    [
        pytest.param(2e9, 1e8, 0.02, id="computing takes longer"),
        pytest.param(1e6, 1e9, 0.1, id="reading takes longer"),
        pytest.param(0.0, 1e9, 0.1, id="nothing to compute"),
    ],
)
def test_work_takes_as_long_as_the_longer_of_computing_and_reading(flops: float, read: float, seconds: float):
    limit = {"fp32 product": 100.0, "memory": 10.0}
    assert least_seconds(Work(flops=flops, bytes=read), "fp32 product", limit) == pytest.approx(seconds)


def test_without_its_ceiling_nobody_knows_what_work_takes():
    assert least_seconds(Work(flops=1.0, bytes=1.0), "bf16 product", {"fp32 product": 100.0, "memory": 10.0}) is None


@pytest.mark.parametrize(
    ("contender", "product"),
    [
        ("Ortolan int8", "int8 product"),
        ("optimum ORT, int8-static", "int8 product"),
        ("eager bf16", "bf16 product"),
        ("eager fp32", "fp32 product"),
        ("Ortolan", "fp32 product"),
    ],
)
def test_a_contender_is_held_against_the_product_of_its_precision(contender: str, product: str):
    assert product_of(contender) == product
