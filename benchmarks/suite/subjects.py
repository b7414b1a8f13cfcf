"""Question: which models does the suite run, and where are their artifacts?

Checkpoints and artifacts are made once, in benchmarks/out, and an artifact again whenever Ortolan has changed since.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import transformers

from benchmarks import engine_load, writing_models, zoo
from benchmarks.peer_models import MINILM
from benchmarks.peer_models import SUBJECTS as PEERS
from benchmarks.pipeline_overhead import SIZES
from benchmarks.record import OUT
from benchmarks.suite.tools import PRECISIONS
from ortolan.progress import say
from ortolan_exporters import export

MADE = OUT / "suite"
ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "engine", ROOT / "exporters")

SHAPES = ((1, 16), (1, 128), (8, 128))
"""Texts x tokens of the bare calls of quick runs."""

RATES = (100, 400)
"""Requests a second that the engine is offered in quick runs."""

TASKS = ("token-classification", "question-answering", "fill-mask", "sentence-embedding")
"""Beyond text-classification."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the suite.

    Attributes:
        title: For tables: what it is, and whether its weights are real.
        task: What it is exported for.
        folder: Where it is kept, and what tools make of it.
        checkpoint: Makes the checkpoint, given a folder for it, or finds it.
    """

    title: str
    task: str
    folder: Path
    checkpoint: Callable[[Path], Path]

    @property
    def source(self) -> Path:
        """The checkpoint, made if need be."""
        folder = self.folder / "checkpoint"
        if (folder / "tokenizer_config.json").is_file():  # written last
            return folder
        return self.checkpoint(folder)

    @property
    def artifact(self) -> Path:
        """The artifact, made if need be."""

        def make(folder: Path) -> None:
            say(f"exporting {self.title}")
            export(self.source, folder, self.task, precisions=PRECISIONS)

        return kept(self.folder / "artifact", make)


def kept(folder: Path, make: Callable[[Path], object]) -> Path:
    """Make what comes of this checkout, unless it is there and nothing has changed since.

    Args:
        folder: Where it is; removed if it is older than a source file.
        make: Makes it there.
    """
    if folder.exists():
        newest = max(path.stat().st_mtime for root in SOURCES for path in root.rglob("*.py"))
        if folder.stat().st_mtime < newest:
            shutil.rmtree(folder)
    if not folder.exists():
        make(folder)
    return folder


def served() -> Path:
    """Find the artifact that the engine serves under load, and make it if need be."""
    maker = engine_load.MADE / "minilm" / "ortolan_artifact"
    return kept(maker, lambda _: engine_load.default_artifact()) / "int8"


def _writer(name: str, _: Path) -> Path:
    return writing_models.checkpoint_of(name)


def _bert(task: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        sizes = {**SIZES, "num_hidden_layers": 6, "max_position_embeddings": 512, "initializer_range": 0.02}
        zoo.save(folder, "bert", task, **sizes)
        transformers.AutoTokenizer.from_pretrained(MINILM).save_pretrained(folder)
        return folder

    return make


CLASSIFIERS = {
    name: Model(peer.title, "text-classification", MADE / name, peer.checkpoint) for name, peer in PEERS.items()
}
"""One with real weights, and one of real size."""

BY_TASK = {
    task: Model(f"BERT of MiniLM-L6's size, random weights, {task}", task, MADE / task, _bert(task)) for task in TASKS
}
"""The other tasks of models that read."""

WRITERS = {
    name: Model(
        f"{one.title}, random weights, real size",
        one.task,
        writing_models.MADE / name,
        partial(_writer, name),
    )
    for name, one in writing_models.SUBJECTS.items()
}
"""Models that write."""
