"""What this machine can do at most: matrix products in fp32, bf16 and int8, and reading memory.

They are measured in the run whose results are held against them, since the same machine is not always as quick: a
shared one has slow minutes, and clocks fall as it warms. A result is then a share of a limit, and says how much there
is left to gain.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortolan.bench.product_graph import BF16, FP32, INT8, Product, product_graph
from ortolan.bench.records import Ceiling, CeilingName, Missing, Work
from ortolan.config import SessionConfig
from ortolan.errors import SessionError
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS

ROWS, INNER, COLUMNS = 512, 1024, 1024
"""Of the products: about those of a large batch in an encoder, and small enough for a core's cache to hold a part."""

READ_BYTES = 256 << 20
"""Read for the bandwidth: several times the caches of most processors, which must not answer instead of memory."""

SAMPLES = 15
"""Tries of each ceiling, a round each: they take turns."""

_PRODUCTS: dict[CeilingName, Product] = {"fp32 product": FP32, "bf16 product": BF16, "int8 product": INT8}


@dataclass(frozen=True, slots=True)
class _Try:
    """One way to reach a ceiling: what to call, and how many billions (of operations, of bytes) a call does."""

    name: CeilingName
    unit: str
    call: Callable[[], object]
    giga: float


def measure_ceilings(threads: int, samples: int = SAMPLES) -> tuple[tuple[Ceiling, ...], tuple[Missing, ...]]:
    """Measure the ceilings of this machine's processors.

    Products run in ONNX Runtime, with weights that it may lay out beforehand, as in a model. Memory is read by numpy,
    each thread its own part. It takes some hundred milliseconds, and can be repeated within a run: ceilings of the same
    name in a record count as one.

    Args:
        threads: As many as the contenders have.
        samples: Tries of each.

    Returns:
        What was reached, and the products that this ONNX Runtime has no kernel for: on x86 it has none for bf16.
    """
    missing: list[Missing] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tries = [_memory(threads, stack.enter_context(ThreadPoolExecutor(threads)))]
        for name, product in _PRODUCTS.items():
            try:
                tries.append(_product(name, product, threads, folder))
            except SessionError as error:
                missing.append(Missing(subject="", contender=name, reason=error.found))
        reached: dict[str, list[float]] = {one.name: [] for one in tries}
        for one in tries:
            one.call()
        for _ in range(samples):
            for one in tries:
                start = time.perf_counter()
                one.call()
                reached[one.name].append(one.giga / (time.perf_counter() - start))
    found = tuple(Ceiling(name=one.name, unit=one.unit, samples=tuple(reached[one.name])) for one in tries)
    return found, tuple(missing)


def limits(ceilings: Iterable[Ceiling]) -> dict[CeilingName, float]:
    """Take the most that was ever reached of each ceiling, in its unit.

    The largest sample and not the middle one: whatever else happens on a machine only makes it slower.
    """
    found: dict[CeilingName, float] = {}
    for ceiling in ceilings:
        found[ceiling.name] = max(found.get(ceiling.name, 0.0), *ceiling.samples)
    return found


def product_of(contender: str) -> CeilingName:
    """Which product a contender's matrix products are held against, by the precision that its name tells."""
    words = contender.lower().replace("-", " ").replace(",", " ").split()
    if "int8" in words:
        return "int8 product"
    return "bf16 product" if "bf16" in words else "fp32 product"


def least_seconds(work: Work, product: CeilingName, limit: Mapping[CeilingName, float]) -> float | None:
    """Say in what time the machine's limits allow a piece of work; None where one that counts was not measured.

    It is the longer one of computing and of reading, as if one hid the other entirely.

    Args:
        work: What has to be done.
        product: Which product computes it.
        limit: What the machine reaches, in 1e9 operations or bytes a second.

    Source:
        Williams, Waterman and Patterson (2009), "Roofline: an insightful visual performance model for multicore
        architectures", Communications of the ACM 52 (4).
    """
    needed: tuple[tuple[CeilingName, float], ...] = ((product, work.flops), ("memory", work.bytes))
    if any(amount > 0 and not limit.get(name) for name, amount in needed):
        return None
    return max(amount / (limit[name] * 1e9) if amount > 0 else 0.0 for name, amount in needed)


def _product(name: CeilingName, product: Product, threads: int, folder: Path) -> _Try:
    weights, rows = _operands(product)
    path = folder / f"{product.operator}{product.left}.onnx"
    path.write_bytes(product_graph(product, weights, ROWS))
    session = OrtSession(path, PROVIDERS["cpu"], SessionConfig(provider="cpu", num_threads=threads), ())
    unit = "GOP/s" if product is INT8 else "GFLOP/s"
    return _Try(name, unit, lambda: session.run({"x": rows}), 2 * ROWS * INNER * COLUMNS / 1e9)


def _operands(product: Product) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights [INNER, COLUMNS] and what they multiply [ROWS, INNER]."""
    draw = np.random.default_rng(0)
    if product is INT8:
        weights = draw.integers(-127, 128, (INNER, COLUMNS), np.int8)
        return weights, draw.integers(0, 256, (ROWS, INNER), np.uint8)
    wide = (draw.standard_normal((INNER, COLUMNS), np.float32), draw.standard_normal((ROWS, INNER), np.float32))
    if product is BF16:  # the upper half of a float32; numpy has no such type
        weights, rows = ((one.view(np.uint32) >> 16).astype(np.uint16) for one in wide)
        return weights, rows
    return wide


def _memory(threads: int, pool: ThreadPoolExecutor) -> _Try:
    # ones, not zeros: a system may keep one page for all zeros that nobody wrote
    parts = np.array_split(np.ones(READ_BYTES // 4, np.float32), threads)
    return _Try("memory", "GB/s", lambda: list(pool.map(np.max, parts)), READ_BYTES / 1e9)
