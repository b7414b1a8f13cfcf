"""Standing guards: what the runtime imports, and when it looks at the outside world."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ortolan
from tests.engine.damage import GOLDEN, as_optimum

ROOT = Path(ortolan.__file__).parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
EXPORT_SIDE = ("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "optimum", "ortolan_exporters")

LAYERS = (
    # Each imports from the lines below it, and within its own folder. __init__.py gathers them all.
    {"cli"},
    {"commands"},
    {"tune", "bench", "mapping", "engine"},
    {"replicas", "writing"},
    {"delivery"},
    {"pipeline", "verify"},
    {"tasks"},
    {"generation"},
    {"forward"},
    {"model"},
    {"choice", "growing"},
    {"artifact", "tokenize", "locate"},
    {"foreign", "hub", "machine"},
    {"manifest", "graph_file", "layouts", "chat", "tensors", "teacher_forcing"},
    {"positions"},
    {"session", "batch", "postprocess", "timing"},
    {"request", "response", "config", "progress", "inputs", "svg"},
    {"errors", "version"},
)


def imports(module: str) -> Iterator[str]:
    """Every module that a file imports, in functions and under `if TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def packages(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def unit(module: str) -> str:
    """The line of `LAYERS` that a file belongs to is found by its first folder, or its own name."""
    return module.partition("/")[0].removesuffix(".py")


def layer(name: str) -> int:
    [number] = [number for number, names in enumerate(LAYERS) if name in names]
    return number


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXPORT_SIDE!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
"""


def test_ortolan_imports_with_the_export_side_blocked():
    assert run_python(f"{BLOCK}\nimport ortolan\nprint(ortolan.__version__)") == ortolan.__version__


@pytest.mark.integration
def test_a_pipeline_answers_with_the_export_side_blocked():
    code = f"{BLOCK}\nimport ortolan\nprint(ortolan.pipeline('sentiment-analysis', sys.argv[1])('rain')[0]['label'])"
    assert run_python(code, str(GOLDEN)) == "POSITIVE"


@pytest.mark.integration
def test_a_folder_of_another_tool_answers_with_the_export_side_blocked(artifact: Path):
    code = (
        f"{BLOCK}\nimport ortolan, warnings\nwarnings.simplefilter('ignore', ortolan.UnverifiedWarning)\n"
        "print(ortolan.pipeline('sentiment-analysis', sys.argv[1])('rain')[0]['label'])"
    )
    assert run_python(code, str(as_optimum(artifact))) == "POSITIVE"


def test_importing_ortolan_does_not_import_onnxruntime():
    assert run_python("import ortolan, sys; print('onnxruntime' in sys.modules)") == "False"


def test_importing_ortolan_does_not_import_the_hub_client():
    assert run_python("import ortolan, sys; print('huggingface_hub' in sys.modules)") == "False"


def test_the_command_line_does_not_load_what_measures():
    assert run_python("import ortolan.cli, sys; print('ortolan.tune.run' in sys.modules)") == "False"


@pytest.mark.integration
def test_answering_imports_nothing_of_the_export_side():
    code = (
        "import ortolan, sys; ortolan.pipeline('sentiment-analysis', sys.argv[1])('rain'); "
        f"print(sorted({set(EXPORT_SIDE)!r} & set(sys.modules)))"
    )
    assert run_python(code, str(GOLDEN)) == "[]"


ENVIRONMENT_SPY = """
import importlib, json, os, pathlib, sys
import argparse, asyncio, concurrent.futures, ctypes, importlib.metadata, importlib.util, platform, re, subprocess
import numpy, tokenizers

read = []

class Spy(dict):
    def __getitem__(self, key):
        read.append(key)
        return super().__getitem__(key)
    def get(self, key, default=None):
        read.append(key)
        return super().get(key, default)
    def __contains__(self, key):
        read.append(key)
        return super().__contains__(key)

os.environ = Spy(os.environ)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(read)
"""


def test_importing_every_module_reads_no_environment():
    names = [f"ortolan.{module.removesuffix('.py').replace('/', '.')}" for module in MODULES]
    names = [name.removesuffix(".__init__") for name in names]
    assert run_python(ENVIRONMENT_SPY, str(names).replace("'", '"')) == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_of_the_export_side(module: str):
    # by name alone: `ortolan export` and contenders are the other package's; who asks for tensors of torch has torch
    allowed = {
        "cli.py": {"ortolan_exporters"},
        "commands/bench.py": {"ortolan_exporters"},
        "tensors.py": {"torch"},
    }
    assert packages(module) & set(EXPORT_SIDE) <= allowed.get(module, set())


@pytest.mark.parametrize(
    ("package", "importers"),
    [
        pytest.param("tokenizers", {"tokenize.py"}, id="tokenizers"),
        pytest.param("onnxruntime", {"session/runtime.py"}, id="onnxruntime"),
        pytest.param("huggingface_hub", {"hub.py"}, id="huggingface_hub"),
        pytest.param("llguidance", {"generation/constraint.py"}, id="llguidance"),
    ],
)
def test_a_package_is_imported_in_one_place(package: str, importers: set[str]):
    assert {module for module in MODULES if package in packages(module)} == importers


def test_every_module_has_its_layer():
    assert {unit(module) for module in MODULES if module != "__init__.py"} == set().union(*LAYERS)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__.py"])
def test_imports_point_downwards(module: str):
    own = unit(module)
    used = {name.split(".")[1] for name in imports(module) if name.startswith("ortolan.")}
    upwards = {name for name in used - {own} if layer(name) <= layer(own)}
    assert upwards == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__.py"])
def test_no_module_imports_from_the_package_as_a_whole(module: str):
    assert "ortolan" not in set(imports(module))
