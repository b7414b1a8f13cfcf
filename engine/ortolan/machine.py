"""Which machine this is, as far as it decides how quickly a graph runs."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from ortolan.session.processors import cpu_features, usable_threads
from ortolan.session.runtime import installed


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and the runtime on it.

    Attributes:
        processor: The name its maker gave it; on Arm under Linux the numbers that stand for it. Perhaps empty.
        features: Instruction sets that matter to the graphs.
        num_threads: Threads that one run should use.
        system: Operating system and architecture.
        onnxruntime: Distribution and version of ONNX Runtime.
    """

    processor: str
    features: tuple[str, ...]
    num_threads: int
    system: str
    onnxruntime: str

    @property
    def key(self) -> str:
        """The same for two machines exactly where all of the above is."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


def this_machine() -> Machine:
    """Look at the machine this runs on."""
    return Machine(
        processor=_processor(),
        features=tuple(sorted(cpu_features())),
        num_threads=usable_threads(),
        system=f"{platform.system()} {platform.machine()}",
        onnxruntime=", ".join(f"{name} {version}" for name, version in installed().items()),
    )


def parse_processor(text: str) -> str:
    """Pick the processor out of the text of /proc/cpuinfo: x86 gives its name, Arm the numbers of maker and part."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    if "model name" in found:
        return found["model name"]
    return " ".join(found[key] for key in ("CPU implementer", "CPU part", "CPU variant") if key in found)


@functools.cache
def _processor() -> str:
    if platform.system() == "Linux":
        try:
            return parse_processor(Path("/proc/cpuinfo").read_text())
        except OSError:
            return ""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor()
