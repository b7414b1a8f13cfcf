"""Recipes: a folder whose recipe.json says what to export, how, and how good it has to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortolan.errors import ConfigError, MissingFileError
from ortolan.hub import is_hub_id
from ortolan.locate import is_folder

RECIPE_NAME = "recipe.json"

KEYS: Mapping[str, type | tuple[type, ...]] = {
    "source": str,
    "revision": str,
    "task": str,
    "precisions": list,
    "evaluation": dict,
    "calibration": str,
    "max_drop": (int, float),
    "limits": (str, list),
    "license": str,
    "notes": str,
}
"""What may stand in a recipe, and as what; only `source` must."""

EVALUATION_KEYS: Mapping[str, type] = {"file": str, "metric": str}
"""What may stand in its `evaluation`: labelled texts, and in words what is measured on them."""


CONVERTERS: Mapping[str, Callable[[Any], Any]] = {"precisions": tuple, "eval_data": Path, "calibration": Path}
"""Options that an export keeps as another type than they are written in."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to export, and what is said of it.

    Attributes:
        model: The checkpoint: a Hub id, a folder, or a module.
        options: Options of an export by the names they have in `ExportConfig`; those left open are not in it.
        statements: What is said to who uses the artifact, for the manifest: `limits` (a list of sentences), `license`,
            `notes` and `evaluation` (what is measured, in words), as far as it is said.
    """

    model: Any
    options: Mapping[str, Any]
    statements: Mapping[str, Any]

    def completed(self, **said: Any) -> dict[str, Any]:
        """Complete what a caller says, None standing for nothing, by what the recipe says."""
        options = {**self.options, **{key: value for key, value in said.items() if value is not None}}
        return {key: CONVERTERS[key](value) if key in CONVERTERS else value for key, value in options.items()}


def recipe_of(model: Any) -> Recipe:
    """Read the recipe of a folder; any other model is one by itself, which leaves everything open.

    Args:
        model: What a user names as the model.

    Raises:
        ConfigError: A recipe that can't be read, with keys that no recipe has, or with a value that can't be; the
            message names them.
        MissingFileError: A file or a source that it names is not there.
    """
    if not isinstance(model, (str, Path)) or not is_folder(Path(model)) or not (Path(model) / RECIPE_NAME).is_file():
        return Recipe(model, {}, {})
    folder = Path(model)
    asked = f"recipe '{folder / RECIPE_NAME}' requested"
    document = _document(folder / RECIPE_NAME, asked)
    _check(document, KEYS, asked, "")
    evaluation = document.get("evaluation", {})
    _check(evaluation, EVALUATION_KEYS, asked, "evaluation.")
    limits = document.get("limits", [])
    if not all(isinstance(one, str) for one in (*limits, *document.get("precisions", ()))):
        raise ConfigError(asked, "limits or precisions hold something else than text", "write a list of texts")
    options: dict[str, Any] = {
        key: document[key] for key in ("revision", "task", "precisions", "max_drop") if key in document
    }
    if "file" in evaluation:
        options["eval_data"] = _file(folder, evaluation["file"], asked)
    if "calibration" in document:
        options["calibration"] = _file(folder, document["calibration"], asked)
    statements: dict[str, Any] = {key: document[key] for key in ("license", "notes") if key in document}
    if limits:
        statements["limits"] = [limits] if isinstance(limits, str) else limits
    if "metric" in evaluation:
        statements["evaluation"] = evaluation["metric"]
    return Recipe(_source(folder, document, asked), options, statements)


def _document(path: Path, asked: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(asked, f"it cannot be read ({error})", "check the file") from error
    if not isinstance(document, dict):
        raise ConfigError(asked, "it is no JSON object", 'write {"source": ...}')
    return document


def _check(document: Mapping[str, Any], known: Mapping[str, Any], asked: str, prefix: str) -> None:
    if unknown := [f"{prefix}{key}" for key in document if key not in known]:
        raise ConfigError(asked, f"no recipe has {', '.join(unknown)}", f"use some of {', '.join(known)}")
    # bool is an int to Python, and no number to whoever wrote it
    wrong = [key for key, value in document.items() if not isinstance(value, known[key]) or isinstance(value, bool)]
    if wrong:
        found = ", ".join(f"{prefix}{key} is {document[key]!r}" for key in wrong)
        raise ConfigError(asked, found, "see docs/exporting.md for what may stand there")


def _file(folder: Path, name: str, asked: str) -> Path:
    """Find a file of the recipe, within its folder: a recipe that came from elsewhere reads nothing else."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(asked, f"'{name}' leads out of its folder", "copy the file into the folder")
    if not (folder / name).is_file():
        raise MissingFileError(asked, f"there is no file '{name}' in its folder", "check the name")
    return folder / name


def _source(folder: Path, document: Mapping[str, Any], asked: str) -> str | Path:
    if "source" not in document:
        raise ConfigError(asked, "it has no source", "name a Hub id, or a folder as seen from the recipe's")
    source = str(document["source"])
    if source and is_folder(folder / source):
        return folder / source
    if not is_hub_id(source):
        raise MissingFileError(asked, f"its source '{source}' is not there", "name a Hub id, or a folder")
    return source
