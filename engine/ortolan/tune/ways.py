"""What can be tried: precisions, attention forms, rewrites left out, threads; and on which shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ortolan.choice import Way, attention_forms
from ortolan.config import Precision
from ortolan.manifest import Manifest
from ortolan.session.base import Array, Signature, conform
from ortolan.session.processors import usable_threads
from ortolan.session.providers import Provider, choose_precision

DISABLED_OPTIMIZERS: tuple[tuple[str, ...], ...] = (
    (),
    # ONNX Runtime's CPU SkipLayerNormalization has been slower than the Add and LayerNormalization it replaces, by
    # 6 to 22 % of a run. The other fusions that it finds in our graphs (BiasGelu, DynamicQuantizeMatMul,
    # GemmActivation) moved a run by less than 3 % either way, so they are not worth the time to try.
    ("SkipLayerNormFusion",),
)

SINGLE_SHAPES = ((1, 16), (1, 128))
"""B x S of a short and a longer text alone: latency."""

BATCH_SHAPE = (8, 32)
"""B x S of a batch: throughput."""


def possible_ways(manifest: Manifest, provider: Provider) -> list[Way]:
    """List the ways to run an artifact on a provider.

    Args:
        manifest: Of the artifact.
        provider: Where it will run.

    Returns:
        The ways; first what runs untuned, then the other precisions in the same manner, and so on to what is
        least like it.

    Raises:
        ConfigError: The provider runs none of the precisions.
    """
    best = choose_precision(provider, tuple(manifest.precisions))[0]
    precisions = [best, *(name for name in provider.precisions if name in manifest.precisions and name != best)]
    ranked = [
        ((threads_rank, form_rank, disabled_rank, precision_rank), Way(precision, form, disabled, threads))
        for precision_rank, precision in enumerate(precisions)
        for form_rank, form in enumerate(attention_forms(manifest.precisions[precision]))
        for disabled_rank, disabled in enumerate(_disabled(manifest, precision, provider))
        for threads_rank, threads in enumerate(_threads(provider))
    ]
    return [way for _, way in sorted(ranked, key=lambda pair: pair[0])]


def shapes(max_length: int) -> list[tuple[int, int]]:
    """B x S of what is timed, texts alone first, none longer than the model reads."""
    clipped = [(rows, min(length, max_length)) for rows, length in (*SINGLE_SHAPES, BATCH_SHAPE)]
    return list(dict.fromkeys(clipped))


def make_feed(signature: Signature, ids: Sequence[int], rows: int, length: int) -> dict[str, Array]:
    """Make a batch without padding.

    Args:
        signature: Says which inputs the graph reads.
        ids: Token ids, repeated as often as it takes.
        rows: B.
        length: S.

    Returns:
        One array [B, S] for each input: ids, a mask of ones, and zeros for all else.
    """
    zeros = np.zeros((rows, length), np.int64)
    known: Mapping[str, Array] = {"input_ids": np.resize(np.array(ids), zeros.shape), "attention_mask": zeros + 1}
    return {spec.name: conform(known.get(spec.name, zeros), spec) for spec in signature.inputs}


def _disabled(manifest: Manifest, precision: Precision, provider: Provider) -> list[tuple[str, ...]]:
    recorded = manifest.precisions[precision].disabled_optimizers(provider.name)
    return list(dict.fromkeys((recorded, *DISABLED_OPTIMIZERS)))


def _threads(provider: Provider) -> list[int]:
    """The most first. Where the CPU doesn't do the work, its threads make no difference."""
    most = usable_threads()
    fewer = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [most, *reversed(fewer)] if provider.on_cpu else [most]
