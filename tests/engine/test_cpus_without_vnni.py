"""int8 on an x86 CPU with AVX2 and without VNNI: emulated by QEMU, and with the same kernels on the CPU at hand."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import ortolan
from ortolan.config import SessionConfig
from ortolan.errors import SessionError
from ortolan.session import providers
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS
from tests.engine.damage import GOLDEN

Array = NDArray[Any]

ROWS, INNER, HEADS = 5, 64, 4
COLUMNS = 3 * INNER  # what a packed attention needs
MICROSOFT = "com.microsoft"

TEXTS = ["the film was good", "i hate the awful plot and the worst music ever !", "rain"]


def numbers() -> tuple[Array, Array, Array]:
    """Activations [ROWS, INNER] in 0 to 1, integer weights [INNER, COLUMNS] and a scale for each of their columns.

    Both lie near the ends of their ranges, so that two neighbouring products rarely fit into 16 bits.
    """
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1, (ROWS, INNER)).astype(np.float32)
    x[0, 0] = 1  # is 255
    weights = rng.choice(np.array([-127, -90, 90, 127], np.int8), (INNER, COLUMNS))
    return x, weights, np.linspace(0.0005, 0.001, COLUMNS, dtype=np.float32)


X, WEIGHTS, SCALES = numbers()


def constant(name: str, array: Any) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    return ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=tensor)


def save(path: Path, nodes: list[ir.Node], x: ir.Value, y: ir.Value) -> Path:
    """Write a graph from `x` to `y`, with the constants that its nodes read."""
    x.name, x.type, x.shape = "x", ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", "rows", INNER])
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(["batch", "rows", None])
    constants = {value.name: value for node in nodes for value in node.inputs if value and value.const_value}
    graph = ir.Graph(
        [x], [y], nodes=nodes, initializers=list(constants.values()), opset_imports={"": 17, MICROSOFT: 1}, name="graph"
    )
    ir.save(ir.Model(graph, ir_version=8), path)
    return path


def product(quantized: ir.Node, weights: ir.Value) -> list[ir.Node]:
    """What becomes a DynamicQuantizeMatMul, or a MatMulIntegerToFloat where two products share `quantized`."""
    integers, scale, zero_point = quantized.outputs
    multiply = ir.node("MatMulInteger", [integers, weights, zero_point])
    cast = ir.node("Cast", [multiply.outputs[0]], {"to": ir.DataType.FLOAT})
    both = ir.node("Mul", [scale, constant("scales", SCALES)])
    return [multiply, cast, both, ir.node("Mul", [cast.outputs[0], both.outputs[0]])]


def one_product(path: Path) -> Path:
    x = ir.Value()
    quantized = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
    nodes = product(quantized, constant("weights", WEIGHTS))
    return save(path, [quantized, *nodes], x, nodes[-1].outputs[0])


def two_products(path: Path) -> Path:
    """The mean of two equal products of one activation."""
    x = ir.Value()
    quantized = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
    first = product(quantized, constant("weights", WEIGHTS))
    second = product(quantized, constant("other_weights", WEIGHTS))
    add = ir.node("Add", [first[-1].outputs[0], second[-1].outputs[0]])
    half = ir.node("Mul", [add.outputs[0], constant("half", np.float32(0.5))])
    return save(path, [quantized, *first, *second, add, half], x, half.outputs[0])


def shared_weights(path: Path) -> Path:
    """Two activations that are multiplied with the same constant, as in ALBERT."""
    x, weights = ir.Value(), constant("weights", WEIGHTS)
    opposite = ir.node("Neg", [x])
    both = [ir.node("DynamicQuantizeLinear", [value], num_outputs=3) for value in (x, opposite.outputs[0])]
    first, second = (product(quantized, weights) for quantized in both)
    add = ir.node("Add", [first[-1].outputs[0], second[-1].outputs[0]])
    return save(path, [opposite, *both, *first, *second, add], x, add.outputs[0])


def static_product(path: Path) -> Path:
    x = ir.Value()
    scale, zero_point = constant("scale", np.float32(1 / 255)), constant("zero_point", np.uint8(0))
    quantize = ir.node("QuantizeLinear", [x, scale, zero_point])
    activation = ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero_point])
    weight = ir.node("DequantizeLinear", [constant("weights", WEIGHTS), constant("scales", SCALES)], {"axis": 1})
    multiply = ir.node("MatMul", [activation.outputs[0], weight.outputs[0]])
    return save(path, [quantize, activation, weight, multiply], x, multiply.outputs[0])


def packed_attention(path: Path) -> Path:
    x = ir.Value()
    quantized = ir.node("DynamicQuantizeLinear", [x], num_outputs=3)
    integers, scale, zero_point = quantized.outputs
    bias, zeros = constant("bias", np.zeros(COLUMNS, np.float32)), constant("zeros", np.zeros(COLUMNS, np.int8))
    attention = ir.node(
        "QAttention",
        [integers, constant("weights", WEIGHTS), bias, scale, constant("scales", SCALES), None, zero_point, zeros],
        {"num_heads": HEADS},
        domain=MICROSOFT,
    )
    return save(path, [quantized, attention], x, attention.outputs[0])


def exact_product() -> Array:
    """The product in integers that nothing cuts off, times its scales; [1, ROWS, COLUMNS]."""
    integers = np.rint(X.astype(np.float64) * 255).astype(np.int64)
    return (integers @ WEIGHTS.astype(np.int64) * (SCALES.astype(np.float64) / 255))[None]


def exact_attention() -> Array:
    """Attention over the three parts of the product; [1, ROWS, INNER]."""
    query, key, value = exact_product()[0].reshape(ROWS, 3, HEADS, INNER // HEADS).transpose(1, 2, 0, 3)
    scores = query @ key.swapaxes(1, 2) / np.sqrt(INNER // HEADS)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = weights / weights.sum(axis=-1, keepdims=True) @ value
    return mixed.swapaxes(0, 1).reshape(1, ROWS, INNER)


FORMS: dict[str, tuple[Callable[[Path], Path], Callable[[], Array]]] = {
    "one-product": (one_product, exact_product),
    "two-products-of-one-activation": (two_products, exact_product),
    "static-product": (static_product, exact_product),
    "packed-attention": (packed_attention, exact_attention),
}
every_form = pytest.mark.parametrize("form", FORMS)


def worst(result: Array, form: str) -> float:
    """Largest difference from the exact result, as a share of the largest number in that."""
    exact = FORMS[form][1]()
    assert result.shape == exact.shape
    return float(np.abs(result - exact).max() / np.abs(exact).max())


# On the CPU at hand


@pytest.fixture
def _without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "int8_saturates", lambda: True)


def load(path: Path) -> OrtSession:
    return OrtSession(path, PROVIDERS["cpu"], SessionConfig(num_threads=1), ())


@every_form
@pytest.mark.usefixtures("_without_vnni")
def test_the_safe_kernels_are_exact(tmp_path: Path, form: str):
    graph = FORMS[form][0](tmp_path / "graph.onnx")
    assert worst(load(graph).run({"x": X[None]})["y"], form) < 1e-6


@pytest.mark.usefixtures("_without_vnni")
def test_layers_that_share_int8_weights_are_refused_there_and_told_what_to_use(tmp_path: Path):
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("ONNX Runtime has other kernels only on x86")
    with pytest.raises(SessionError, match="use precision 'fp32'") as caught:
        load(shared_weights(tmp_path / "graph.onnx"))
    assert "share int8 weights" in caught.value.found


@pytest.mark.usefixtures("_without_vnni")
def test_an_int8_model_that_was_asked_for_says_so_there():
    pipe = ortolan.pipeline("sentiment-analysis", GOLDEN, provider="cpu", precision="int8")
    assert pipe.model.reason == (
        "asked for; the CPU is without VNNI, where int8 takes ONNX Runtime's slower, saturation-safe kernels"
    )


# Emulated

CPU = "Haswell"
"""AVX2 and no VNNI; QEMU emulates no AVX-512."""

RUN_EVERY_GRAPH = """
import sys
from pathlib import Path

import numpy
import onnxruntime

from ortolan.config import SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.providers import PROVIDERS

folder = Path(sys.argv[1])
x = numpy.load(folder / "x.npy")
for graph in sorted(folder.glob("*.onnx")):
    plain = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    numpy.save(graph.with_suffix(".plain.npy"), plain.run(["y"], {"x": x})[0])
    ours = OrtSession(graph, PROVIDERS["cpu"], SessionConfig(num_threads=1), ())
    numpy.save(graph.with_suffix(".ours.npy"), ours.run({"x": x})["y"])
"""

CLASSIFY = """
import json
import sys

import ortolan

pipe = ortolan.pipeline("sentiment-analysis", sys.argv[1], provider="cpu", precision=sys.argv[2])
print(json.dumps([pipe.model.precision, pipe.model.reason, pipe(json.loads(sys.argv[3]))]))
"""


def qemu() -> str:
    """Path of QEMU's emulator of x86 programs; skips the test where there is none that knows AVX2."""
    found = shutil.which("qemu-x86_64")
    if found is None:
        pytest.skip("qemu-x86_64 is not on PATH (Debian and Ubuntu: apt-get install qemu-user)")
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("this Python is no x86 Linux program, so qemu-x86_64 cannot run it")
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", answer)
    if version is None or tuple(map(int, version.groups())) < (7, 2):
        pytest.skip("qemu-x86_64 emulates AVX2 from version 7.2 on")
    return found


def emulate(code: str, *arguments: str) -> str:
    command = [qemu(), "-cpu", CPU, sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Array]:
    """What each graph gave under emulation, by its name and by who set the session's options."""
    folder = tmp_path_factory.mktemp("graphs")
    np.save(folder / "x.npy", X[None])
    for name, (build, _) in FORMS.items():
        build(folder / f"{name}.onnx")
    emulate(RUN_EVERY_GRAPH, str(folder))
    return lambda form, who: np.load(folder / f"{form}.{who}.npy")


@pytest.mark.slow
@every_form
def test_onnxruntime_left_alone_is_wrong_by_more_than_a_tenth_there(emulated: Callable[[str, str], Array], form: str):
    # not wrong any more? Then ONNX Runtime has mended its kernels, and our option can go
    assert worst(emulated(form, "plain"), form) > 0.1


@pytest.mark.slow
@every_form
def test_a_session_of_ours_is_exact_there(emulated: Callable[[str, str], Array], form: str):
    assert worst(emulated(form, "ours"), form) < 1e-6


@pytest.mark.slow
def test_the_checked_in_model_answers_there_as_it_does_here():
    precision, reason, answers = json.loads(emulate(CLASSIFY, str(GOLDEN), "int8", json.dumps(TEXTS)))
    assert precision == "int8"
    assert reason.startswith("asked for; the CPU is without VNNI")
    here = ortolan.pipeline("sentiment-analysis", GOLDEN, provider="cpu", precision="int8")(TEXTS)
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in here]
    # not to the bit: the kernels for floats differ, and a rounding to integers may then fall the other way
    assert [answer["score"] for answer in answers] == pytest.approx([answer["score"] for answer in here], abs=2e-3)


@pytest.mark.slow
def test_auto_takes_fp32_there_though_proc_cpuinfo_shows_another_cpu():
    precision, reason, _ = json.loads(emulate(CLASSIFY, str(GOLDEN), "auto", json.dumps(TEXTS[:1])))
    assert precision == "fp32"
    assert reason.startswith("the CPU is without VNNI")
