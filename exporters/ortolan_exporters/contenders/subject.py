"""What is raced: an artifact, the checkpoint that it was made of, and what both are asked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ortolan.artifact import Artifact
from ortolan.bench.records import Group, Work
from ortolan.errors import ConfigError
from ortolan.hub import CHECKPOINT_FILES, download, is_hub_id
from ortolan.layouts import files_in, has_weights
from ortolan.locate import is_folder
from ortolan.model import DECODER_IDS
from ortolan.request import TextInput
from ortolan.tokenize import Encoding, Tokenizer
from ortolan_exporters.contenders.registry import WRITING
from ortolan_exporters.contenders.serving import Feed, Texts

MAX_SHAPES, MAX_ROWS, MAX_TEXTS = 32, 1024, 4096
READ_SHAPES, WRITE_SHAPES = ((1, 16), (1, 128), (8, 128)), ((1, 32), (8, 32))
CHECKED_ROWS = 8
"""Rows of a batch in which answers are compared."""

MODELS = Path(__file__).resolve().parents[3] / "models"
"""Of a checkout."""

BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "int8-static": 1.0, "int4": 0.5}
"""Bytes of a weight."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact and what it is asked.

    Attributes:
        artifact: The opened folder.
        texts: What pipelines answer.
        encodings: The same, tokenized, and cut to what the model reads.
        inputs: Inputs of the checkpoint's architecture.
        shapes: B x S of what is timed.
        checkpoint: What it was made of; None where nobody else is raced.
    """

    artifact: Artifact
    tokenizer: Tokenizer
    texts: Texts
    encodings: list[Encoding]
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    checkpoint: Path | None

    @property
    def name(self) -> str:
        """The model's own name."""
        return str(self.artifact.manifest.source["name"])

    @property
    def task(self) -> str:
        """The task that it was exported for."""
        return self.artifact.manifest.task

    @property
    def writes(self) -> bool:
        """Whether it writes texts."""
        return self.task in WRITING

    @property
    def has_encoder(self) -> bool:
        """Whether it writes to what an encoder has read."""
        return self.task == "text2text-generation"

    def feed(self, rows: int, length: int) -> Feed:
        """Make what is timed: tokens of the texts, no padding."""
        zeros = np.zeros((rows, length), np.int64)
        known = {"input_ids": self._ids(zeros.shape), "attention_mask": zeros + 1}
        return {name: known.get(name, zeros) for name in self.inputs}

    def prompts(self, rows: int, length: int) -> list[list[int]]:
        """Make prompts: tokens of the texts, no two alike."""
        found: list[list[int]] = self._ids((rows, length)).tolist()
        return found

    def sentences(self, rows: int = CHECKED_ROWS) -> list[Feed]:
        """Make feeds of the texts, padded to the longest of a batch; the same texts in each architecture's inputs."""
        batches = [self.encodings[at : at + rows] for at in range(0, len(self.encodings), rows)]
        return [self._only_inputs(self.tokenizer.pad(batch)) for batch in batches]

    def feeds(self, texts: Sequence[TextInput], rows: int) -> list[Feed]:
        """Make feeds of other texts."""
        encodings = self.tokenizer.encode(texts, self.tokenizer.truncation(True, None))
        return replace(self, encodings=encodings).sentences(rows)

    def work(self, precision: str, rows: int, length: int) -> Work | None:
        """Say what a bare call has to do at least: products with all weights but those that are looked up.

        Attention's own products are left out, and layers that work on one token of a text are counted for all.
        """
        config = self.artifact.config
        width = config.get("hidden_size") or config.get("dim")
        parameters = self.artifact.manifest.source.get("parameters")
        if not isinstance(width, int) or not isinstance(parameters, int) or precision not in BYTES:
            return None
        looked_up = (int(config.get("vocab_size", 0)) + int(config.get("max_position_embeddings", 0))) * width
        if self.task == "fill-mask":  # its embeddings are multiplied with too
            looked_up = 0
        multiplied = max(0, parameters - looked_up)
        return Work(flops=2.0 * multiplied * rows * length, bytes=BYTES[precision] * multiplied)

    def _ids(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        ids = list(itertools.chain.from_iterable(one.ids for one in self.encodings))
        return np.resize(np.array(ids, np.int64), shape)

    def _only_inputs(self, padded: Any) -> Feed:
        zeros = np.zeros(padded["input_ids"].shape, np.int64)
        return {name: np.asarray(padded.get(name, zeros), np.int64) for name in self.inputs}


def open_subject(
    folder: Path,
    *,
    texts: Sequence[TextInput] = (),
    shapes: Sequence[tuple[int, int]] = (),
    checkpoint: Path | None = None,
) -> Subject:
    """Open an artifact, and prepare what it is asked.

    Args:
        folder: The artifact.
        texts: The user's own; without them, texts that come with Ortolan.
        shapes: B x S; by default some that are usual. Longer ones than the model reads are cut.
        checkpoint: What it was made of.

    Raises:
        ArtifactError: It can't be opened, or another tool made it.
        ConfigError: Too many shapes, rows or texts, or texts that are no questions for a task that answers some.
    """
    artifact = Artifact.open(folder)
    asked = f"a benchmark of '{folder}' requested"
    if artifact.is_foreign:
        raise ConfigError(asked, "another tool made it, and nothing says of what", "export the checkpoint with ortolan")
    manifest = artifact.manifest
    artifact.check(artifact.tokenizer_files())
    tokenizer = Tokenizer.load(artifact.folder, max_length=manifest.max_length)
    own = [(one.text, one.text_pair) for one in texts] or _default_texts(artifact, tokenizer)
    if len(own) > MAX_TEXTS:
        raise ConfigError(asked, f"there are {len(own)} texts, at most {MAX_TEXTS} are used", "pass fewer")
    if manifest.task == "question-answering" and any(pair is None for _, pair in own):
        raise ConfigError(asked, "a question lacks its context", 'write {"text": ..., "text_pair": ...} a line')
    encodings = tokenizer.encode([TextInput(*one) for one in own], tokenizer.truncation(True, None))
    writes = manifest.task in WRITING
    return Subject(
        artifact,
        tokenizer,
        own,
        encodings,
        _inputs(artifact),
        _checked(shapes or (WRITE_SHAPES if writes else READ_SHAPES), manifest.max_length, asked),
        checkpoint,
    )


def find_checkpoint(artifact: Artifact, given: str | None) -> Path:
    """Find what an artifact was made of: what is named, or else what its manifest names.

    Args:
        artifact: The artifact.
        given: A folder or a Hub id.

    Raises:
        ConfigError: It is not to be found.
        MissingFileError: The Hub does not have it.
    """
    source = artifact.manifest.source
    name = given or str(source["name"])
    revision = None if given else source.get("revision")
    beside = [] if given else [artifact.folder.resolve().parent / name, MODELS / name]
    for folder in (Path(name), *beside):
        if is_folder(folder) and folder.resolve() != artifact.folder.resolve() and has_weights(files_in(folder)):
            return folder.resolve()
    if is_hub_id(name) and (given or revision):
        return download(name, revision=revision, patterns=CHECKPOINT_FILES).resolve()
    raise ConfigError(
        f"a race of '{artifact.folder}' against other tools requested",
        f"they run the checkpoint that it was made of, and there is no '{name}' with weights here",
        "pass --checkpoint DIR, or leave --against out",
    )


def group_of(rows: int) -> Group:
    """The question that a bare call of so many rows belongs to."""
    return "latency" if rows == 1 else "throughput"


def parse_shapes(words: str) -> list[tuple[int, int]]:
    """Read shapes such as "1x16,8x128".

    Raises:
        ConfigError: It is no such list.
    """
    found = []
    for word in words.split(","):
        rows, is_shape, length = word.strip().partition("x")
        if not is_shape or not rows.isdecimal() or not length.isdecimal() or int(rows) < 1 or int(length) < 1:
            raise ConfigError(f"--shapes {words} requested", f"'{word}' is no shape", "write rows x tokens: 1x16,8x128")
        found.append((int(rows), int(length)))
    return found


def _checked(shapes: Sequence[tuple[int, int]], longest: int, asked: str) -> tuple[tuple[int, int], ...]:
    most = max(rows for rows, _ in shapes)
    if len(shapes) > MAX_SHAPES or most > MAX_ROWS:
        raise ConfigError(
            asked, f"there are {len(shapes)} shapes of up to {most} rows", f"at most {MAX_SHAPES} of {MAX_ROWS}"
        )
    return tuple(dict.fromkeys((rows, min(length, longest)) for rows, length in shapes))


def _inputs(artifact: Artifact) -> tuple[str, ...]:
    graphs = next(iter(artifact.manifest.precisions.values())).graphs
    if "model" not in graphs or artifact.manifest.task in WRITING:
        return ("input_ids", "attention_mask")
    return tuple(spec.name for spec in graphs["model"].signature.inputs if spec.name != DECODER_IDS)


def _default_texts(artifact: Artifact, tokenizer: Tokenizer) -> Texts:
    package = files("ortolan_exporters")
    if artifact.manifest.task == "question-answering":
        lines = package.joinpath("builtin_questions.jsonl").read_text(encoding="utf-8").splitlines()
        return [(one["question"], one["context"]) for one in map(json.loads, lines)]
    texts = [line for line in package.joinpath("builtin_texts.txt").read_text(encoding="utf-8").splitlines() if line]
    if artifact.manifest.task == "fill-mask":
        mask = tokenizer.special_token("mask")
        texts = [f"{text.rpartition(' ')[0]} {mask}." for text in texts]
    return [(text, None) for text in texts]
