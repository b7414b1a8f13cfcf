"""I/O binding: inputs and outputs that stay where they are on a device from run to run."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ortolan.session.base import Array
from ortolan.session.runtime import onnxruntime

MAX_SHAPES = 32
"""Shapes whose buffers are kept, and CUDA graphs that are captured, at most. A guess: nobody has measured it."""

_WITHOUT_GRAPH = "-1"
"""What ONNX Runtime takes as `gpu_graph_id` for a run that neither captures nor replays."""

_Key = tuple[object, ...]


@dataclass(slots=True)
class _Buffers:
    """What the runs of one shape read and write.

    Attributes:
        binding: ONNX Runtime's, with every input bound, and after the first run every output.
        inputs: Where the inputs are, by name.
        runs: How many there were.
        graph: Number of the CUDA graph that was captured over these addresses; 0 for none.
    """

    binding: Any
    inputs: dict[str, Any]
    runs: int = 0
    graph: int = 0


class Binding:
    """Runs a session over buffers that it keeps. Safe to call from several threads, one of which runs at a time.

    Each shape has buffers of its own, of which those used last are kept. With CUDA graphs, the second run of a shape
    captures one, later runs replay it, and shapes beyond `max_shapes` run without one. A graph belongs to the thread
    that captured it: ONNX Runtime allows no other to replay it.
    """

    def __init__(
        self,
        session: Any,
        output_names: Sequence[str],
        *,
        device: str,
        device_id: int = 0,
        cuda_graphs: bool = False,
        max_shapes: int = MAX_SHAPES,
    ) -> None:
        """Prepare; buffers are allocated by the runs.

        Args:
            session: An `onnxruntime.InferenceSession`.
            output_names: Outputs to compute.
            device: Where the buffers are: "cuda" or "cpu".
            device_id: Which of these devices.
            cuda_graphs: Whether the session was made with CUDA graphs on.
            max_shapes: Shapes to keep at most.
        """
        self._session = session
        self._output_names = list(output_names)
        self._device = (device, device_id)
        self._cuda_graphs = cuda_graphs
        self._max_shapes = max_shapes
        self._lock = threading.Lock()
        self._kept: dict[_Key, _Buffers] = {}  # the one used last at the end
        self._num_graphs = 0

    def run(self, feed: Mapping[str, Array], options: Any = None) -> list[Array]:
        """Run once.

        Args:
            feed: Contiguous arrays by name.
            options: ONNX Runtime's run options, or None.

        Returns:
            One array for each output, in main memory, the caller's own.

        Raises:
            Exception: What ONNX Runtime raises. The buffers of that shape are given up.
        """
        owner = threading.get_ident() if self._cuda_graphs else None
        key = (owner, *((name, array.dtype.str, array.shape) for name, array in feed.items()))
        with self._lock:
            buffers = self._kept.pop(key, None) or self._allocate(feed)
            if self._cuda_graphs:
                options = onnxruntime().RunOptions() if options is None else options
                options.add_run_config_entry("gpu_graph_id", self._graph_of(buffers))
            for name, array in feed.items():
                buffers.inputs[name].update_inplace(array)
            self._session.run_with_iobinding(buffers.binding, options)
            if not buffers.runs:
                self._bind_outputs(buffers)
            buffers.runs += 1
            outputs: list[Array] = buffers.binding.copy_outputs_to_cpu()
            self._keep(key, buffers)
        return outputs

    def _allocate(self, feed: Mapping[str, Array]) -> _Buffers:
        make = onnxruntime().OrtValue.ortvalue_from_shape_and_type
        inputs = {name: make(array.shape, array.dtype, *self._device) for name, array in feed.items()}
        binding = self._session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for name in self._output_names:
            binding.bind_output(name, *self._device)  # the first run tells the shape, and allocates
        return _Buffers(binding, inputs)

    def _bind_outputs(self, buffers: _Buffers) -> None:
        for name, value in zip(self._output_names, buffers.binding.get_outputs(), strict=True):
            buffers.binding.bind_ortvalue_output(name, value)

    def _graph_of(self, buffers: _Buffers) -> str:
        # not in the first run: its outputs have no fixed address yet
        if not buffers.graph and buffers.runs and self._num_graphs < self._max_shapes:
            self._num_graphs += 1  # never given out again: ONNX Runtime keeps a graph as long as the session
            buffers.graph = self._num_graphs
        return str(buffers.graph or _WITHOUT_GRAPH)

    def _keep(self, key: _Key, buffers: _Buffers) -> None:
        self._kept[key] = buffers
        if len(self._kept) > self._max_shapes:
            # those with a graph stay: they are as few as the graphs, and one without always came too many
            oldest = next(key for key, kept in self._kept.items() if not kept.graph)
            del self._kept[oldest]


class InPlace:
    """Runs a session over arrays of the caller's in main memory, which stay where they are from run to run."""

    def __init__(self, session: Any, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Tie the arrays to the graph.

        Args:
            session: An `onnxruntime.InferenceSession`.
            inputs: Contiguous arrays by name.
            outputs: Contiguous arrays by name; one that is an input too is written in place.
        """
        self._session = session
        self._binding = session.io_binding()
        self._arrays: dict[str, Array] = {}  # ONNX Runtime knows addresses, and keeps nothing alive
        for name, array in inputs.items():
            self.put(name, array)
        for name, array in outputs.items():
            self._arrays[name] = array
            self._binding.bind_output(name, *_place(array))

    def put(self, name: str, array: Array) -> None:
        """Let an input be read from another contiguous array from now on."""
        self._arrays[name] = array
        self._binding.bind_input(name, *_place(array))

    def run(self, options: Any = None) -> None:
        """Run once on what the arrays hold now.

        Args:
            options: ONNX Runtime's run options, or None.

        Raises:
            Exception: What ONNX Runtime raises. What the outputs hold then is not known.
        """
        self._session.run_with_iobinding(self._binding, options)


def _place(array: Array) -> tuple[str, int, Any, tuple[int, ...], int]:
    """Where an array is, as ONNX Runtime wants to be told: device, its number, dtype, shape, address."""
    assert array.flags.c_contiguous, "addresses are computed from the shape alone"
    return "cpu", 0, array.dtype.type, array.shape, array.__array_interface__["data"][0]
