"""Frozen settings, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ortolan.errors import ConfigError

Precision = Literal["fp32", "int8", "int8-static", "int4", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""fp32 as trained; int8 with activations quantized as they come; int8-static with their ranges fixed at export;
int4 weights alone, in blocks of 32; fp16 for GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How a graph is run.

    Attributes:
        provider: A name from the provider table, or "auto".
        num_threads: Threads of one run; None for the processors this process may use.
        device_id: Which device of that provider.
        cache_dir: Where providers that compile keep what they compiled; None for no cache.
        provider_options: What the provider's row of the table takes beside these (docs/providers.md). Needs a provider
            that is named; its row checks them.
        profile_to: How the names of files begin in which ONNX Runtime writes what each operator took; None for none.
            For `ortolan.bench.profile`: runs are slower for it.
    """

    provider: str = "auto"
    num_threads: int | None = None
    device_id: int = 0
    cache_dir: Path | None = None
    provider_options: Mapping[str, object] = field(default_factory=dict)
    profile_to: Path | None = None

    def __post_init__(self) -> None:
        if self.num_threads is not None and not _is_whole(self.num_threads, 1):
            raise ConfigError("num_threads requested", f"got {self.num_threads!r}", "use 1 or more, or leave it out")
        if not _is_whole(self.device_id, 0):
            raise ConfigError("device_id requested", f"got {self.device_id!r}", "use 0 or more")
        if self.provider_options and self.provider == "auto":
            raise ConfigError(
                f"provider_options {dict(self.provider_options)} requested",
                "provider is 'auto', and each provider has options of its own",
                "name the provider",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """How a list of texts is split into batches.

    Attributes:
        max_batch_size: Most rows of a batch.
        max_batch_tokens: Most tokens of a batch, padding counted.
    """

    max_batch_size: int = 32
    # On CPUs throughput stops growing between 128 and 256 tokens (docs/decisions/0004-batching-lists.md)
    max_batch_tokens: int = 256

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_batch_tokens"):
            value = getattr(self, name)
            if not _is_whole(value, 1):
                raise ConfigError(f"{name} requested", f"got {value!r}", "use a whole number from 1 on")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingConfig:
    """How an engine forms batches of the requests that wait. What is None follows from what runs cost on this machine.

    Attributes:
        max_batch_size: Most texts of a batch; None for 64.
        max_batch_tokens: Most tokens of a batch, padding counted; a longer text runs alone. None for as many as make a
            text cheaper, 256 at least.
        max_queue: Most texts that wait; None for what is answered in about two seconds.
        max_wait_ms: How long a text may wait for company, milliseconds. 0 starts it as soon as a thread is free: under
            load company comes by itself, while the runs before are under way.
        run_timeout_ms: A run that takes longer, and twenty times as long as expected, hangs: its requests fail.
        calibration_ms: How long to measure what runs cost when a model is loaded, milliseconds.
    """

    max_batch_size: int | None = None
    max_batch_tokens: int | None = None
    max_queue: int | None = None
    max_wait_ms: float = 0.0
    run_timeout_ms: float = 10_000.0
    calibration_ms: float = 200.0

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_batch_tokens", "max_queue"):
            value = getattr(self, name)
            if value is not None and not _is_whole(value, 1):
                raise ConfigError(
                    f"{name} requested", f"got {value!r}", "use a whole number from 1 on, or leave it out"
                )
        for name, lowest in (("max_wait_ms", 0.0), ("run_timeout_ms", 1.0), ("calibration_ms", 0.0)):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and value >= lowest):
                raise ConfigError(f"{name} requested", f"got {value!r}", f"use milliseconds, {lowest:g} or more")


def _is_whole(value: object, lowest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= lowest
