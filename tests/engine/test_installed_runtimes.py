"""No ONNX Runtime, the GPU one on a machine without a GPU, and two at once: each in a real environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "tests" / "goldens" / "artifact-v2"
HAS_NVIDIA = Path("/proc/driver/nvidia/version").exists()

pytestmark = [pytest.mark.slow, pytest.mark.integration]

SCRIPT = f"""
import sys, ortolan
try:
    model = ortolan.Model.load({str(ARTIFACT)!r}, provider=sys.argv[1])
    encoded = model.tokenizer("the film was good")
    print(model.provider, model(**encoded).logits.shape, model.reason, sep=" | ")
except ortolan.OrtolanError as error:
    print(type(error).__name__, error, sep=" | ")
"""


def pip(python: Path, *words: str) -> None:
    done = subprocess.run([python, "-m", "pip", "-q", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """Python of a fresh environment with what the base of ortolan needs, and no ONNX Runtime."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip(python, "install", "-c", str(ROOT / "constraints.txt"), "numpy", "tokenizers")
    return python


def load(python: Path, provider: str) -> tuple[str, str]:
    """Load the golden artifact there; returns what it printed and what went to stderr."""
    done = subprocess.run(
        [python, "-c", SCRIPT, provider],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "engine")},
    )
    return done.stdout.strip(), done.stderr


def test_without_any_onnxruntime_the_error_says_what_to_install(environment: Path) -> None:
    printed, _ = load(environment, "auto")
    assert printed == (
        "ProviderError | ONNX Runtime requested, none is installed; "
        "run: pip install 'ortolan[cpu]' (or [gpu] for NVIDIA, [openvino] for Intel)"
    )


@pytest.mark.skipif(HAS_NVIDIA, reason="needs a machine without an NVIDIA driver")
def test_gpu_wheel_without_a_gpu_refuses_cuda_and_runs_on_the_cpu_when_free_to(environment: Path) -> None:
    pip(environment, "install", "onnxruntime-gpu")
    refused, log = load(environment, "cuda")
    assert refused.startswith(
        "ProviderError | provider 'CUDAExecutionProvider' requested, it does not come up here: lib"
    )
    assert "cannot open shared object file" in refused, "ONNX Runtime's own reason"
    assert log == "", "ONNX Runtime's log adds nothing to that"
    chosen, _ = load(environment, "auto")
    provider, shape, reason = chosen.split(" | ")
    assert (provider, shape) == ("cpu", "(1, 2)")
    assert reason.startswith("cuda: it does not come up here: lib")


def test_two_runtimes_over_each_other_are_refused_with_the_commands_that_mend_it(environment: Path) -> None:
    pip(environment, "install", "onnxruntime-gpu", "onnxruntime")
    printed, _ = load(environment, "cpu")
    assert printed.startswith(
        "ProviderError | ONNX Runtime requested, several are installed over each other: onnxruntime "
    )
    assert printed.endswith("run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu")
