"""A pipeline ready for an engine: its model loaded for each number of threads that a run may have, and timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ortolan.batch.calibrate import derive_limits, derive_max_queue, measure
from ortolan.batch.costs import CostTable, Shape
from ortolan.batch.counters import Counters
from ortolan.batch.group import Group
from ortolan.batch.policy import Limits
from ortolan.batch.slots import Slots
from ortolan.config import BatchingConfig
from ortolan.errors import ConfigError
from ortolan.forward import run_batch
from ortolan.model import Model
from ortolan.pipeline import Pipeline
from ortolan.request import TextInput
from ortolan.session.base import Array, Stop
from ortolan.tokenize import Encoding

MOST_ROWS = 64
"""Most texts of a batch, where nothing else is said: on CPUs nothing is gained beyond half of it."""

TYPICAL_LENGTH = 64
"""Tokens of a text, where one has to be assumed."""

WORTH = 0.97
"""Narrow runs, side by side, are kept if they answer texts of some length in at most this share of the time."""


class Replicas:
    """A pipeline with its model loaded for wide and for narrow runs, or on several devices.

    Attributes:
        pipe: What encodes and decodes.
        group: Its waiting line, with what runs cost.
    """

    def __init__(
        self,
        name: str,
        pipes: Sequence[Pipeline],
        batching: BatchingConfig,
        cpu: Slots,
        counters: Counters | None = None,
    ) -> None:
        """Load the replicas, and measure what runs cost.

        Args:
            name: Of the model.
            pipes: One pipeline; or for providers other than the CPU several, of the same artifact on other devices.
            batching: How batches are formed.
            cpu: The threads of the engine.
            counters: Those of the version before.

        Raises:
            ConfigError: Several pipelines that are not the same, or share the CPU.
        """
        self.pipe = pipes[0]
        _check(name, pipes)
        self._devices = [pipe.model for pipe in pipes]
        self._free = list(range(len(pipes)))
        self._by_width: dict[int, Model] = {}
        if self.pipe.model.on_cpu:
            slots = cpu
            self._by_width = self.pipe.model.replicas(_widths(cpu.total, self.pipe.model.num_threads))
        else:
            slots = Slots(len(pipes))
        costs = self._measure(batching, slots)
        limits = derive_limits(list(costs.values()))
        limits = Limits(
            batching.max_batch_size or limits.max_rows,
            batching.max_batch_tokens or limits.max_tokens,
            batching.max_wait_ms / 1e3,
        )
        self.group = Group(name, costs, limits, 1, slots, counters, self)
        self.group.max_queue = batching.max_queue or derive_max_queue(self.group.price(TYPICAL_LENGTH))

    def run(self, encodings: Sequence[Encoding], num_threads: int, stop: Stop | None = None) -> list[dict[str, Array]]:
        """Run rows together.

        Args:
            encodings: The rows.
            num_threads: Which replica runs them; on devices any that is free.
            stop: Ends the run early when it is set.

        Returns:
            The outputs for each row, as in `Row`.

        Raises:
            SessionError: ONNX Runtime failed.
        """
        if self._by_width:
            return run_batch(self._by_width[num_threads], self.pipe.tokenizer, encodings, stop)
        device = self._free.pop()  # there is one: no more runs go on than there are slots
        try:
            return run_batch(self._devices[device], self.pipe.tokenizer, encodings, stop)
        finally:
            self._free.append(device)

    def _measure(self, batching: BatchingConfig, slots: Slots) -> dict[int, CostTable]:
        """Time all replicas, and let go of those that are not worth their memory."""
        [filler, *_] = self.pipe.tokenizer.encode([TextInput("a")])[0].ids
        max_rows, max_length = batching.max_batch_size or MOST_ROWS, self.pipe.model.artifact.manifest.max_length

        def run(width: int, rows: int, length: int) -> None:
            row = Encoding([filler] * length, [0] * length)
            self.run([row] * rows, width)

        widths = list(self._by_width) or [1]
        tables = {}
        measured: Mapping[Shape, float]
        for width in widths:
            model, side_by_side = self.pipe.model, slots.total // width
            if width == model.num_threads and side_by_side == 1 and model.tuned_seconds:
                measured = model.tuned_seconds
            else:
                measured = measure(
                    partial(run, width),
                    side_by_side=side_by_side,
                    budget_seconds=batching.calibration_ms / 1e3 / len(widths),
                    max_rows=max_rows,
                    max_length=max_length,
                )
            tables[width] = CostTable(measured, max_rows=max_rows, max_length=max_length)
        return {width: table for width, table in tables.items() if self._is_worth(width, tables, slots)}

    def _is_worth(self, width: int, tables: Mapping[int, CostTable], slots: Slots) -> bool:
        widest = max(tables)
        if width == widest:
            return True
        share = width / slots.total
        if any(tables[width].price(length) * share <= WORTH * tables[widest].price(length) for length in (16, 64, 256)):
            return True
        del self._by_width[width]
        return False


def _check(name: str, pipes: Sequence[Pipeline]) -> None:
    kinds = {(pipe.task, pipe.model.precision, str(pipe.model.artifact.folder)) for pipe in pipes}
    if len(kinds) > 1 or (len(pipes) > 1 and any(pipe.model.on_cpu for pipe in pipes)):
        raise ConfigError(
            f"{len(pipes)} replicas of '{name}' requested",
            "they are on the CPU, which one replica fills, or of several artifacts, precisions or tasks",
            "pass one pipeline, or load the same artifact on several devices",
        )


def _widths(num_threads: int, usual: int) -> list[int]:
    """How many threads a run may have: all, and a quarter of that as often as it goes, down to one.

    Args:
        num_threads: All.
        usual: How many the model has had so far; in the place of all if it is fewer, for that was somebody's choice.
    """
    widths = [min(num_threads, usual)]
    while widths[-1] > 1:
        widths.append(max(1, widths[-1] // 4))
    return widths
