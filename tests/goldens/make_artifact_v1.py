"""Make artifact-v1, the artifact of format version 1 that every later release must read.

    python -m tests.goldens.make_artifact_v1

Not to be run again once format 1 has been released: its bytes are the test.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ortolan_exporters import export
from tests import tiny


def main() -> None:
    """Export a tiny BERT."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = tiny.save_checkpoint(
            Path(folder) / "tiny-bert", tiny.bert(id2label={0: "NEGATIVE", 1: "POSITIVE"})
        )
        export(checkpoint, Path(__file__).parent / "artifact-v1", overwrite=True)


if __name__ == "__main__":
    main()
