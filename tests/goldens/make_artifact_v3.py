"""Make artifact-v3, the artifact of format version 3 that every later release must read: several graphs, and a cache.

    python -m tests.goldens.make_artifact_v3

Not to be run once format 3 has been released: its bytes are the test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import zoo
from ortolan_exporters import export


def main() -> None:
    """Export a tiny BART that writes, in fp32 and int8."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = zoo.save(Path(folder) / "tiny-bart", "bart", "text2text-generation")
        export(checkpoint, Path(__file__).parent / "artifact-v3", precisions=("fp32", "int8"), overwrite=True)


if __name__ == "__main__":
    main()
