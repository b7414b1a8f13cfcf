"""Opening an exported folder: its manifest, its files, their hashes. Folders of other tools are opened without.

config.json, tokenizer.json, ...   as transformers writes them
onnx/model.onnx, onnx/model_quantized.onnx
ortolan.json                       the manifest, see `ortolan.manifest`
README.md                          a model card made from the manifest
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortolan.chat import CHAT_TEMPLATE, MORE_TEMPLATES
from ortolan.errors import ArtifactError, FormatVersionError, HashMismatchError, MissingFileError
from ortolan.foreign import read_foreign, read_pooling
from ortolan.manifest import EXPORT_AGAIN, MANIFEST_NAME, FileRecord, Graph, Manifest
from ortolan.postprocess.pooling import Pooling

GENERATION_CONFIG = "generation_config.json"


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened folder.

    Attributes:
        folder: Where it is.
        manifest: What it says of itself.
        config: config.json of the model.
        is_foreign: Whether another tool made it: then its manifest is made up here, without hashes or evidence.
    """

    folder: Path
    manifest: Manifest
    config: Mapping[str, Any]
    is_foreign: bool = False

    @classmethod
    def open(cls, folder: str | Path) -> Artifact:
        """Read manifest and config; the large files are not touched.

        A folder without manifest is taken for one that another tool exported, if there are graphs in it.

        Raises:
            MissingFileError: No such folder, neither manifest nor graph in it, or no config.
            FormatVersionError: A manifest that this release can't read.
            ArtifactError: A manifest that names files outside its folder, or a folder of another tool that can't be
                used; see `ortolan.foreign.read_foreign`.
        """
        folder = Path(folder)
        asked = f"artifact '{folder}' requested"
        if not folder.is_dir():
            raise MissingFileError(asked, "there is no such folder", "check the path, or export the model first")
        if not (folder / MANIFEST_NAME).is_file():
            return cls(folder, *read_foreign(folder), is_foreign=True)
        manifest = Manifest.from_json(_read_json(folder / MANIFEST_NAME, asked), str(folder))
        artifact = cls(folder, manifest, {})
        artifact.check(["config.json"])
        config = _read_json(folder / "config.json", asked)
        return cls(folder, manifest, config if isinstance(config, dict) else {})

    def check(self, names: Iterable[str] | None = None) -> None:
        """Compare files with the hashes in the manifest; of a foreign folder, look whether they are there.

        Args:
            names: Files to check, by their path in the artifact; all of them by default.

        Raises:
            MissingFileError: One of them is not there, or not in the manifest.
            HashMismatchError: One of them differs; the message names every such file.
        """
        wanted = list(self.manifest.files if names is None else names)
        asked = f"artifact '{self.folder}' requested"
        missing = [name for name in wanted if name not in self.manifest.files or not (self.folder / name).is_file()]
        if missing:
            raise MissingFileError(asked, f"it lacks {', '.join(missing)}", EXPORT_AGAIN)
        if self.is_foreign:
            return
        damaged = [name for name in wanted if hash_file(self.folder / name) != self.manifest.files[name]]
        if damaged:
            raise HashMismatchError(
                asked, f"{', '.join(damaged)} differs from what was exported", f"copy it again, or {EXPORT_AGAIN}"
            )

    def files_of(self, graph: Graph) -> list[str]:
        """Name the files of a graph: the graph itself, and its weights where they are kept apart."""
        return [name for name in self.manifest.files if name.startswith(graph.file)]

    def tokenizer_files(self) -> list[str]:
        """Names of the tokenizer's files that the runtime reads."""
        names = ("tokenizer.json", "tokenizer_config.json", CHAT_TEMPLATE)
        return [name for name in self.manifest.files if name in names or name.startswith(f"{MORE_TEMPLATES}/")]

    @property
    def generation_config(self) -> Mapping[str, Any]:
        """How the model writes: generation_config.json, without it config.json, where older checkpoints say it.

        Raises:
            HashMismatchError: It differs from what was exported.
            FormatVersionError: It can't be read.
        """
        if GENERATION_CONFIG not in self.manifest.files:
            return self.config
        self.check([GENERATION_CONFIG])
        found = _read_json(self.folder / GENERATION_CONFIG, f"artifact '{self.folder}' requested")
        return found if isinstance(found, dict) else {}

    @property
    def pooling(self) -> Pooling:
        """How hidden states become an embedding, where the graph does not do it: the mean, unless the folder says more.

        Raises:
            ArtifactError: The folder asks for something that is not known here.
        """
        return read_pooling(self.folder) if self.is_foreign else Pooling()

    @property
    def id2label(self) -> dict[int, str]:
        """Name of each class, from config.json; LABEL_0 and so on where it leaves them out, as transformers does.

        Raises:
            ArtifactError: The labels are not numbered from 0 on.
        """
        labels = self.config.get("id2label")
        if labels is None:  # save_pretrained writes no labels that are the default
            return {number: f"LABEL_{number}" for number in range(int(self.config.get("num_labels") or 2))}
        try:
            named = {int(key): str(label) for key, label in labels.items()}
            if sorted(named) != list(range(len(named))):  # a score would find no name
                raise ValueError("not numbered from 0 on")
            return named
        except (AttributeError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"labels of '{self.folder}' requested", f"id2label in config.json is {labels!r}", EXPORT_AGAIN
            ) from error


def hash_file(path: Path) -> FileRecord:
    """Read a file in pieces and return its SHA-256 and size."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
        return FileRecord(digest.hexdigest(), stream.tell())


def _read_json(path: Path, asked: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise FormatVersionError(asked, f"{path.name} cannot be read ({error})", EXPORT_AGAIN) from error
