"""Question: do ten thousand texts leave the memory where it was, and is the cache as large as docs/generation.md says?

Expected: resident memory grows by less than 100 bytes a text, by least squares over the second half: 0.5 MB in all,
which is noise; and the buffers of the cache are what the formula gives.

A small GPT-2 (2 layers, 48 wide), prompts of 4 to 40 tokens and 1 to 24 tokens written, 64 at a time through the
engine, in a process without torch.

    python -m benchmarks.writing_memory [--quick] [--texts 10000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.record import OUT, print_environment, write_record
from benchmarks.writing_memory_worker import IN_FLIGHT, SAMPLE_EVERY

PLOT = Path(__file__).parents[1] / "docs" / "writing-memory.svg"


def main() -> int:
    """Run the benchmark."""
    from benchmarks import zoo
    from ortolan_exporters import export

    parser = argparse.ArgumentParser(description="Do texts leave the memory where it was?")
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="1,000 texts")
    options = parser.parse_args()
    count = 1000 if options.quick else options.texts
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = zoo.save(Path(folder) / "checkpoint", "gpt2", "text-generation")
        artifact = Path(folder) / "artifact"
        export(checkpoint, artifact, "text-generation", precisions=("fp32",))
        command = [sys.executable, "-m", "benchmarks.writing_memory_worker", str(artifact), str(count)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    print(memory_line(count, found["samples"]))
    print(formula_line(found["cache"]))
    print_environment()
    settings = {"texts": count, "in_flight": IN_FLIGHT, "sample_every": SAMPLE_EVERY}
    cases = {"resident_bytes": found["samples"], "cache": found["cache"], "seconds": found["seconds"]}
    write_record("writing_memory", settings, cases)
    plot(found["samples"], OUT / PLOT.name if options.quick else PLOT)
    return 0


def memory_line(count: int, samples: Sequence[int]) -> str:
    """Say in a sentence how memory grew."""
    half = len(samples) // 2
    return (
        f"{count:,} short texts: {samples[0] / 1e6:.0f} MB at the start, {samples[half] / 1e6:.1f} MB after half of "
        f"them, {samples[-1] / 1e6:.1f} MB at the end; slope over the second half {slope(samples):.0f} bytes a text."
    )


def formula_line(cache: Sequence[dict[str, int]]) -> str:
    """Say whether the buffers are as large as the formula says."""
    equal = sum(one["buffers"] == one["formula"] for one in cache)
    return f"The buffers of the cache are as large as the formula says in {equal} of {len(cache)} shapes."


def slope(samples: Sequence[int]) -> float:
    """Fit a line to the second half of the samples; bytes a text."""
    half = len(samples) // 2
    texts = np.arange(len(samples))[half:] * SAMPLE_EVERY
    return float(np.polyfit(texts, np.array(samples[half:], dtype=float), 1)[0])


def plot(samples: Sequence[int], path: Path) -> None:
    """Draw memory by the texts that were written."""
    import matplotlib as mpl  # here, not above: an extra

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ortolan"  # the same picture for the same numbers
    from matplotlib import pyplot as plt

    texts = np.arange(len(samples)) * SAMPLE_EVERY
    figure, panel = plt.subplots(figsize=(7, 3), layout="constrained")
    panel.plot(texts, np.array(samples) / 1e6, color="#0072B2", linewidth=1.2)
    panel.set(xlabel="texts written", ylabel="resident memory, MB", ylim=(0, None), xlim=(0, texts[-1]))
    panel.grid(visible=True, color="0.9")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(f"plot: {path.name}")


if __name__ == "__main__":
    sys.exit(main())
