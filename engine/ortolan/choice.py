"""The way to run an artifact that `ortolan tune` chose on this machine: kept in the cache, read by precision="auto"."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ortolan.artifact import Artifact, hash_file
from ortolan.config import PRECISIONS, Precision
from ortolan.errors import ConfigError
from ortolan.locate import cache_folder
from ortolan.machine import this_machine
from ortolan.manifest import MANIFEST_NAME, Graph, PrecisionRecord

FORMAT = 1
AS_EXPORTED = "as exported"
"""Name of the attention form of a graph whose manifest gives it none."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run an artifact on a provider.

    Attributes:
        precision: One that the artifact holds.
        attention: One of its attention forms.
        disabled_optimizers: ONNX Runtime's rewrites that are left out.
        num_threads: Threads of one run.
    """

    precision: Precision
    attention: str
    disabled_optimizers: tuple[str, ...]
    num_threads: int

    def __str__(self) -> str:
        threads = "1 thread" if self.num_threads == 1 else f"{self.num_threads} threads"
        without = f", without {', '.join(self.disabled_optimizers)}" if self.disabled_optimizers else ""
        return f"{self.precision}, attention {self.attention}, {threads}{without}"

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Way:
        """Read what `dataclasses.asdict` made of a way.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        precision, disabled, num_threads = entry["precision"], entry["disabled_optimizers"], int(entry["num_threads"])
        if precision not in PRECISIONS or not isinstance(disabled, (list, tuple)) or num_threads < 1:
            raise ValueError(f"no way to run a graph: {entry}")
        return cls(precision, str(entry["attention"]), tuple(str(name) for name in disabled), num_threads)


@dataclass(frozen=True, slots=True)
class Choice:
    """What `ortolan tune` found best on this machine.

    Attributes:
        way: How to run the artifact.
        reason: Why, fit to be shown.
        milliseconds: Median run, by shape "B x S"; what an engine begins to plan with.
    """

    way: Way
    reason: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[tuple[int, int], float]:
        """Median run, by rows and length of the batch."""
        return {
            (int(rows), int(length)): taken / 1e3
            for shape, taken in self.milliseconds.items()
            for rows, _, length in (shape.partition(" x "),)
        }


def attention_forms(record: PrecisionRecord) -> dict[str, Graph]:
    """Graphs of a precision by the name of their attention form: first the one chosen at export, then those kept.

    None where a precision has several graphs, each in the form that was chosen.
    """
    if "model" not in record.graphs:
        return {}
    chosen = next((str(measured["attention"]) for measured in record.providers.values()), AS_EXPORTED)
    return {chosen: record.graphs["model"]} | {name: graph for name, graph in record.forms.items() if name != chosen}


def tuned(artifact: Artifact, provider: str, cache_dir: Path | None = None) -> Choice | None:
    """Find what `ortolan tune` chose for an artifact on this machine.

    Args:
        artifact: The opened artifact.
        provider: Short name of the provider that will run it.
        cache_dir: The cache; by default ORTOLAN_CACHE, else the user's cache folder.

    Returns:
        The choice; None if there is none, or, with a warning, if it can't be used.
    """
    if artifact.is_foreign:  # another tool's, which `tune` refuses
        return None
    path = choice_file(artifact, provider, cache_dir)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _parse(document, artifact, provider)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        warnings.warn(
            f"the choice of 'ortolan tune' in '{path}' is left out ({error}): run it again, or remove the file",
            stacklevel=3,
        )
        return None


def keep_choice(choice: Choice, artifact: Artifact, provider: str, cache_dir: Path | None = None) -> Path:
    """Write a choice where `tuned` finds it.

    Returns:
        The file.

    Raises:
        ConfigError: The cache can't be written.
    """
    path = choice_file(artifact, provider, cache_dir)
    document = {**header(artifact, provider), "machine": asdict(this_machine()), **asdict(choice)}
    write_whole(path, document)
    return path


def choice_file(artifact: Artifact, provider: str, cache_dir: Path | None = None) -> Path:
    """Where the choice for an artifact on this machine is kept: `tune/<artifact>-<machine>-<provider>.json`."""
    names = header(artifact, provider)
    return cache_folder(cache_dir) / "tune" / f"{names['artifact']}-{names['machine_key']}-{names['provider']}.json"


def header(artifact: Artifact, provider: str) -> dict[str, Any]:
    """What a measurement holds for: the artifact's content, the machine and the provider."""
    # the manifest carries the hash of every other file, so its own hash stands for all of them
    content = hash_file(artifact.folder / MANIFEST_NAME).sha256[:16]
    return {"format": FORMAT, "artifact": content, "machine_key": this_machine().key, "provider": provider}


def write_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file so that a reader finds the old one or the new one, never a part.

    Raises:
        ConfigError: It can't be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"a file in the cache '{path.parent}' requested",
            f"it cannot be written ({error})",
            "set ORTOLAN_CACHE to a folder that can be",
        ) from error


def _parse(document: Any, artifact: Artifact, provider: str) -> Choice:
    expected = header(artifact, provider)
    others = [name for name, value in expected.items() if document[name] != value]
    if others:
        raise ValueError(f"it is for another {', '.join(others)}")
    way = Way.from_json(document["way"])
    record = artifact.manifest.precisions.get(way.precision)
    if record is None or way.attention not in attention_forms(record):
        raise ValueError(f"the artifact does not hold {way.precision} with attention {way.attention}")
    # choices that were kept before an engine read them have no times
    times = {str(shape): float(taken) for shape, taken in document.get("milliseconds", {}).items()}
    choice = Choice(way, str(document["reason"]), times)
    if not all(taken > 0 for taken in choice.seconds.values()):
        raise ValueError("it has times that are none")
    return choice
