"""What a measurement was made with, and where its record goes."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ortolan.session.processors import cpu_features, usable_threads
from ortolan_exporters.manifest import installed_versions

OUT = Path(__file__).parent / "out"


def environment() -> dict[str, Any]:
    """Hardware, versions and commit, as far as they can be told."""
    return {
        "commit": _commit(),
        "processor": _processor(),
        "cpu_features": sorted(cpu_features()),
        "threads": usable_threads(),
        "system": platform.system(),
        "versions": installed_versions(),
    }


def write_record(name: str, settings: Mapping[str, Any], cases: Mapping[str, Any]) -> None:
    """Write one record, and say where.

    Args:
        name: Of the benchmark; the file is called after it.
        settings: What was chosen: seeds, rounds, models.
        cases: Results, raw times among them.
    """
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{name}.json"
    # every call is kept, to six digits
    document = {"benchmark": name, "environment": environment(), "settings": dict(settings), "cases": dict(cases)}
    rounded = json.loads(json.dumps(document), parse_float=lambda text: float(f"{float(text):.6g}"))
    path.write_text(json.dumps(rounded) + "\n", encoding="utf-8")
    print(f"record: {path.relative_to(OUT.parent.parent)}")


def print_environment() -> None:
    """Say under a table what it was measured with."""
    found = environment()
    print(f"\n{found['processor']}, {found['threads']} threads, commit {found['commit']}")
    print(", ".join(f"{name} {number}" for name, number in found["versions"].items()))


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=OUT.parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git: the demo needs only Python, make and pip
        return "unknown"
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
