"""Question: what does a new process pay for its first answer, in time and in memory?

Expected: importing costs less than 0.15 s beyond numpy, the first int8 answer comes within 1 s, in less than 200 MB.

    python -m benchmarks.cold_start
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.record import print_environment, write_record
from ortolan.progress import track
from ortolan_exporters import export

CHECKPOINT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
PROCESSES = 10

SCRIPTS = {
    "import numpy": "import numpy",
    "import ortolan": "import ortolan",
    "first answer, ortolan int8": """\
import ortolan
answer = ortolan.pipeline("sentiment-analysis", sys.argv[1], precision="int8")("We are very happy.")
assert answer[0]["label"] == "POSITIVE"
assert not {"torch", "transformers", "onnx"} & set(sys.modules)
""",
    "first answer, transformers fp32": """\
import torch, transformers
answer = transformers.pipeline("sentiment-analysis", sys.argv[2], dtype=torch.float32)("We are very happy.")
assert answer[0]["label"] == "POSITIVE"
""",
}

MEASURED = """\
import sys, time
start = time.perf_counter()
{script}
seconds = time.perf_counter() - start
try:  # Linux; getrusage would tell the peak of the parent, which a child inherits
    peak = 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, peak)
"""


def main() -> int:
    """Run the benchmark."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SCRIPTS}
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "sentiment"
        export(CHECKPOINT, artifact)
        for _ in track(range(PROCESSES), "processes"):
            for name, script in SCRIPTS.items():
                found[name].append(measure(script, artifact))
    print(f"{PROCESSES} processes each, files in the page cache\n")
    print("| in a new process | median s | median peak MB |\n| --- | --- | --- |")
    for name, runs in found.items():
        seconds, peaks = zip(*runs, strict=True)
        print(f"| {name} | {statistics.median(seconds):.3f} | {statistics.median(peaks) / 1e6:.0f} |")
    print_environment()
    write_record(
        "cold_start", {"processes": PROCESSES}, {name: [list(run) for run in runs] for name, runs in found.items()}
    )
    return 0


def measure(script: str, artifact: Path) -> tuple[float, float]:
    """Run a script in a new process; returns its seconds, the interpreter's start left out, and its peak bytes."""
    command = [sys.executable, "-c", MEASURED.format(script=script), str(artifact), str(CHECKPOINT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


if __name__ == "__main__":
    sys.exit(main())
