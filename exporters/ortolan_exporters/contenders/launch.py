"""Runs a contender's program in an environment where Ortolan is not installed.

    python launch.py ortolan_exporters.contenders.optimum_onnx
    python launch.py package.program FOLDER_OF_PACKAGE

The programs lie in a package whose other modules need what these environments lack. Here the packages above them are
empty ones, of which nothing can be imported but this folder. Its parent can't go onto the path: in an installed Ortolan
that is site-packages, and all that is installed there would come along.
"""

from __future__ import annotations

import runpy
import sys
import types
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Run the module named by the first argument; the second is a folder to find it in."""
    sys.path[:] = [path for path in sys.path if not path or Path(path).resolve() != FOLDER] + sys.argv[2:]
    for name, folders in (("ortolan_exporters", []), ("ortolan_exporters.contenders", [str(FOLDER)])):
        package = types.ModuleType(name)
        package.__path__ = folders
        sys.modules[name] = package
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
