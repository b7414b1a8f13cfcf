"""Make artifact-v2, the artifact of format version 2 that every later release must read.

    python -m tests.goldens.make_artifact_v2

Not to be run again once format 2 has been released: its bytes are the test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ortolan_exporters import export
from tests import tiny


def main() -> None:
    """Export a tiny BERT, in fp32 and int8."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny.bert(id2label={0: "NEGATIVE", 1: "POSITIVE"})
        checkpoint = tiny.save_checkpoint(Path(folder) / "tiny-bert", model)
        export(checkpoint, Path(__file__).parent / "artifact-v2", precisions=("fp32", "int8"), overwrite=True)


if __name__ == "__main__":
    main()
