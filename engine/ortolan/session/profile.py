"""What ONNX Runtime's profiler writes down of runs, read as far as it says where the time went."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortolan.errors import SessionError

MAX_BYTES = 1 << 30
"""Size of a profile that is read: a run writes about a kilobyte for each of its nodes."""

_KERNEL = "_kernel_time"
"""How the name of the event ends that tells how long a node ran."""


@dataclass(frozen=True, slots=True)
class NodeRun:
    """One run of one node of a graph.

    Attributes:
        index: Tells the node from others of the graph.
        operator: Its type.
        milliseconds: How long it ran.
        inputs: Shapes of its inputs, without those that the kernel has packed beforehand: mostly weights.
        outputs: Shapes of its outputs.
    """

    index: int
    operator: str
    milliseconds: float
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]


def read_profile(path: Path) -> list[NodeRun]:
    """Read the runs of nodes, in the order in which they ended.

    Args:
        path: What `OrtSession.end_profile` returned.

    Raises:
        SessionError: It is too large, or not what ONNX Runtime writes today.
    """
    asked = f"profile '{path}' requested"
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise SessionError(asked, f"it has {size:,} bytes, {MAX_BYTES:,} are read", "profile fewer runs")
        events = json.loads(path.read_text(encoding="utf-8"))
        nodes = [one for one in events if one.get("cat") == "Node" and str(one.get("name")).endswith(_KERNEL)]
        return [_read(event) for event in nodes]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SessionError(
            asked, f"it is none that can be read ({type(error).__name__}: {error})", "please report this"
        ) from error


def _read(event: Mapping[str, Any]) -> NodeRun:
    found = event["args"]
    return NodeRun(
        index=int(found["node_index"]),
        operator=str(found["op_name"]),
        milliseconds=float(event["dur"]) / 1e3,
        inputs=_shapes(found.get("input_type_shape", [])),
        outputs=_shapes(found.get("output_type_shape", [])),
    )


def _shapes(values: list[dict[str, list[int]]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, shape)) for value in values for shape in value.values())
