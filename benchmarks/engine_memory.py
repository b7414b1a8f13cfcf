"""Question: does an engine that runs for long take ever more memory?

Expected: no. After 200,000 requests of random length, 4 to 128 tokens, the resident memory of its process grows by less
than 10 bytes a request, by least squares over the second half: 2 MB in all, which is noise.

    python -m benchmarks.engine_memory [--quick] [--requests 200000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.engine_load import default_artifact
from benchmarks.engine_memory_worker import IN_FLIGHT, LONGEST, SAMPLE_EVERY, SHORTEST
from benchmarks.record import OUT, print_environment, write_record

PLOT = Path(__file__).parents[1] / "docs" / "engine-memory.svg"
AIM_BYTES = 10.0


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Does an engine that runs for long take ever more memory?")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="10,000 requests")
    options = parser.parse_args()
    count = 10_000 if options.quick else options.requests
    command = [sys.executable, "-m", "benchmarks.engine_memory_worker", str(default_artifact()), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    print(memory_line(count, found["samples"]))
    print(f"{count / found['seconds']:.0f} requests a second, {count / found['batches']:.1f} a run")
    print_environment()
    settings = {
        "requests": count,
        "in_flight": IN_FLIGHT,
        "tokens": [SHORTEST, LONGEST],
        "sample_every": SAMPLE_EVERY,
        "padding": found["padding"],
    }
    write_record("engine_memory", settings, {"resident_bytes": found["samples"], "seconds": found["seconds"]})
    plot(found["samples"], OUT / PLOT.name if options.quick else PLOT)
    return 0


def memory_line(count: int, samples: Sequence[int]) -> str:
    """Say in a sentence how memory grew."""
    half = len(samples) // 2
    return (
        f"{count:,} requests of random length: {samples[0] / 1e6:.0f} MB at the start, {samples[half] / 1e6:.0f} MB "
        f"after half of them, {samples[-1] / 1e6:.0f} MB at the end; slope over the second half "
        f"{slope(samples):.1f} bytes a request."
    )


def slope(samples: Sequence[int]) -> float:
    """Fit a line to the second half of the samples; bytes a request."""
    half = len(samples) // 2
    requests = np.arange(len(samples))[half:] * SAMPLE_EVERY
    return float(np.polyfit(requests, np.array(samples[half:], dtype=float), 1)[0])


def plot(samples: Sequence[int], path: Path) -> None:
    """Draw memory by the requests that were made."""
    import matplotlib as mpl  # here, not above: an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ortolan"  # the same picture for the same numbers
    from matplotlib import pyplot as plt

    requests = np.arange(len(samples)) * SAMPLE_EVERY
    figure, panel = plt.subplots(figsize=(7, 3), layout="constrained")
    panel.plot(requests / 1e3, np.array(samples) / 1e6, color="#0072B2", linewidth=1.2)
    panel.set(xlabel="thousand requests", ylabel="resident memory, MB", ylim=(0, None), xlim=(0, requests[-1] / 1e3))
    panel.grid(visible=True, color="0.9")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(f"plot: {path.name}")


if __name__ == "__main__":
    sys.exit(main())
