"""From what a user names to a torch module in float32 with its tokenizer."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from ortolan.errors import ConfigError, MissingFileError
from ortolan.hub import CHECKPOINT_FILES, download, is_hub_id
from ortolan.locate import is_folder
from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.architectures.registry import architecture_of, task_of
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.errors import CheckpointError, UnsupportedArchitectureError, brief
from ortolan_exporters.weights import check_finite, make_module

VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model ready to be traced.

    Attributes:
        module: In float32, in evaluation mode.
        tokenizer: A fast tokenizer of transformers.
        architecture: What the exporter knows of it.
        task: The task its head serves.
        source: Where it came from, for the manifest.
        folder: Its files, or None for a module that was handed in.
    """

    module: Any
    tokenizer: Any
    architecture: Architecture
    task: str
    source: dict[str, Any]
    folder: Path | None

    @property
    def max_length(self) -> int:
        """Most tokens: the positions of the model, or fewer if the tokenizer says so."""
        positions = self.architecture.positions(self.module.config)
        return int(min(positions, self.tokenizer.model_max_length))


def resolve(model: Any, tokenizer: Any, config: ExportConfig) -> Checkpoint:
    """Load a checkpoint.

    Args:
        model: A folder, a Hub id, or a torch module of transformers.
        tokenizer: A tokenizer, or the folder or Hub id of one; by default that of the checkpoint.
        config: Task, head, overrides, and what may be read.

    Raises:
        MissingFileError: No such folder, and none on the Hub.
        CheckpointError: No config, no weights, only pickles, weights that don't fit, or no tokenizer.
        UnsupportedArchitectureError: No exporter for it.
        ConfigError: An override that the config doesn't have.
    """
    if isinstance(model, torch.nn.Module):
        return _from_module(model, tokenizer, config)
    folder, name, revision = _folder_of(model, config)
    model_config = _read_config(folder, name)
    architecture = architecture_of(model_config)
    task = task_of(architecture, model_config, config.task, config.num_labels is not None or config.from_scratch)
    _override(model_config, config)
    head = getattr(transformers, architecture.heads[task])
    module, new = make_module(head, folder, name, model_config, config)
    source = _source(module, _public_name(name), revision, new)
    return Checkpoint(module, _tokenizer(tokenizer, folder, name), architecture, task, source, folder)


def _from_module(module: Any, tokenizer: Any, config: ExportConfig) -> Checkpoint:
    if not isinstance(module, transformers.PreTrainedModel):
        raise UnsupportedArchitectureError(
            f"export of {type(module).__name__} requested",
            "only models of transformers carry the config that export needs",
            "pass a PreTrainedModel, such as BertForSequenceClassification",
        )
    if tokenizer is None:
        raise CheckpointError("export of a module requested", "it came without a tokenizer", "pass tokenizer=")
    if config.num_labels is not None or config.overrides or config.from_scratch:
        raise ConfigError(
            "changes to a module requested",
            "num_labels, config and from_scratch need a checkpoint",
            "change the module",
        )
    architecture = architecture_of(module.config)
    task = config.task
    if task is None:
        heads = {head: task for task, head in architecture.heads.items()}
        task = heads.get(type(module).__name__)
    task = task_of(architecture, module.config, task, new_head=False)
    check_finite(module, type(module).__name__)
    # a copy: tracing changes the module's attention, and the caller's module may be in use
    copied: Any = copy.deepcopy(module)
    source = _source(module, type(module).__name__, None, [])
    return Checkpoint(
        copied.to(torch.float32).eval(), _tokenizer(tokenizer, None, ""), architecture, task, source, None
    )


def _folder_of(model: Any, config: ExportConfig) -> tuple[Path, str, str | None]:
    folder = Path(model)
    if is_folder(folder):
        if config.revision is not None:
            raise ConfigError(
                f"revision '{config.revision}' requested", f"'{model}' is a folder, which has none", "leave it out"
            )
        return folder, str(model), None
    name = str(model)
    if not is_hub_id(name):
        raise MissingFileError(f"checkpoint '{name}' requested", "there is no such folder", "check the path")
    patterns = (*CHECKPOINT_FILES, "pytorch_model*.bin") if config.allow_pickle else CHECKPOINT_FILES
    folder = download(name, revision=config.revision, patterns=patterns)
    return folder, name, folder.name


def _read_config(folder: Path, name: str) -> Any:
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"checkpoint '{name}' requested",
            "the folder has no config.json",
            "pass a folder that save_pretrained wrote",
        )
    try:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a wrong type raises an error of the Hub's client, no ValueError
        kind = _model_type(folder / "config.json")
        if kind is not None and kind not in transformers.CONFIG_MAPPING:
            architecture_of(SimpleNamespace(model_type=kind))  # says which there are
        raise CheckpointError(
            f"checkpoint '{name}' requested", f"config.json cannot be read ({brief(error)})", "check the file"
        ) from error


def _model_type(path: Path) -> str | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    kind = document.get("model_type") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else None


def _override(model_config: Any, config: ExportConfig) -> None:
    known = model_config.to_dict()
    unknown = sorted(key for key in config.overrides if key not in known)
    if unknown:
        raise ConfigError(
            f"config {', '.join(unknown)} requested",
            f"the config of {model_config.model_type} has no such entry",
            f"use some of {', '.join(sorted(known))}",
        )
    for key, value in config.overrides.items():
        try:
            setattr(model_config, key, value)
        except Exception as error:  # as above
            raise ConfigError(f"config {key}={value!r} requested", brief(error), "use a value of its type") from error
    if config.num_labels is not None:
        model_config.num_labels = config.num_labels


def _tokenizer(tokenizer: Any, folder: Path | None, name: str) -> Any:
    if tokenizer is None or isinstance(tokenizer, (str, Path)):
        place = folder if tokenizer is None else tokenizer
        # transformers makes a tokenizer without words, and says nothing, where there are no files
        if (
            place is not None
            and Path(place).is_dir()
            and not any((Path(place) / file).is_file() for file in VOCABULARIES)
        ):
            raise CheckpointError(
                f"tokenizer of '{name or place}' requested",
                f"the folder has none of {', '.join(VOCABULARIES)}",
                "add tokenizer.json to the folder, or pass tokenizer=",
            )
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        except Exception as error:  # as with weights: many kinds
            raise CheckpointError(
                f"tokenizer of '{name or place}' requested",
                f"it cannot be loaded ({brief(error)})",
                "add tokenizer.json to the folder, or pass tokenizer=",
            ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise CheckpointError(
            f"tokenizer of '{name or type(tokenizer).__name__}' requested",
            "it is not a fast one, and only those run without transformers",
            "pass a PreTrainedTokenizerFast",
        )
    return tokenizer


def _public_name(name: str) -> str:
    # a folder's own name, not where it lies: the manifest goes to other machines
    return Path(name).resolve().name if Path(name).is_dir() else name


def _source(module: Any, name: str, revision: str | None, new_weights: list[str]) -> dict[str, Any]:
    """What the manifest says of where a model came from; `new_weights` are those that nobody trained."""
    parameters = sum(value.numel() for value in module.parameters())
    return {"name": name, "revision": revision, "new_weights": new_weights, "parameters": parameters}
