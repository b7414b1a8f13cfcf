"""From what a user names to a torch module in float32 with its tokenizer."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from ortolan.errors import ConfigError, MissingFileError
from ortolan.hub import CHECKPOINT_FILES, download
from ortolan_exporters.architectures.base import Architecture
from ortolan_exporters.architectures.registry import architecture_of, task_of
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.errors import CheckpointError, ExportWarning, UnsupportedArchitectureError

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
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
        return min(positions, int(min(self.tokenizer.model_max_length, positions)))


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
    folder, name, revision = _folder_of(model, config.revision)
    model_config = _read_config(folder, name)
    architecture = architecture_of(model_config)
    task = task_of(architecture, model_config, config.task, config.num_labels is not None or config.from_scratch)
    _override(model_config, config)
    head = getattr(transformers, architecture.heads[task])
    torch.manual_seed(config.seed)
    if config.from_scratch:
        warnings.warn(
            f"{name}: built from its config with random weights; it needs training", ExportWarning, stacklevel=3
        )
        module = head(model_config)
    else:
        module = _load(head, folder, name, model_config, config)
    source = {"name": _public_name(name), "revision": revision, "from_scratch": config.from_scratch}
    return Checkpoint(
        module.to(torch.float32).eval(),
        _tokenizer(tokenizer, folder, name),
        architecture,
        task,
        _count(source, module),
        folder,
    )


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
    # a copy: tracing changes the module's attention, and the caller's module may be in use
    copied: Any = copy.deepcopy(module)
    source = {"name": type(module).__name__, "revision": None, "from_scratch": False}
    return Checkpoint(
        copied.to(torch.float32).eval(),
        _tokenizer(tokenizer, None, ""),
        architecture,
        task,
        _count(source, module),
        None,
    )


def _folder_of(model: Any, revision: str | None) -> tuple[Path, str, str | None]:
    folder = Path(model)
    if folder.is_dir():
        return folder, str(model), None
    name = str(model)
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or folder.exists():
        raise MissingFileError(f"checkpoint '{name}' requested", "there is no such folder", "check the path")
    folder = download(name, revision=revision, patterns=CHECKPOINT_FILES)
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
    except (ValueError, KeyError, OSError) as error:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind not in transformers.CONFIG_MAPPING:
            architecture_of(type("Config", (), {"model_type": kind}))  # says which there are
        raise CheckpointError(
            f"checkpoint '{name}' requested", f"config.json cannot be read ({error})", "check the file"
        ) from error


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
        setattr(model_config, key, value)
    if config.num_labels is not None:
        model_config.num_labels = config.num_labels


def _load(head: Any, folder: Path, name: str, model_config: Any, config: ExportConfig) -> Any:
    has_safetensors = any(folder.glob("*.safetensors"))
    if not has_safetensors:
        _check_pickle(folder, name, config.allow_pickle)
    progress: Any = transformers.utils.logging
    had_bar = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()  # its bar goes to logs too, and loading takes a moment
    try:
        module, report = head.from_pretrained(
            folder,
            config=model_config,
            dtype=torch.float32,
            use_safetensors=has_safetensors,
            ignore_mismatched_sizes=config.num_labels is not None,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors raise many kinds on a damaged or misfit file
        hint = "pass from_scratch to keep only the vocabulary" if config.overrides else "check its files"
        raise CheckpointError(
            f"weights of '{name}' requested", f"they cannot be loaded ({_brief(error)})", hint
        ) from error
    finally:
        if had_bar:
            progress.enable_progress_bar()
    new = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    body = [key for key in new if key.startswith(f"{module.base_model_prefix}.") and ".pooler." not in key]
    if body:
        raise CheckpointError(
            f"weights of '{name}' requested", f"{len(body)} are missing, such as {body[0]}", "check that it is complete"
        )
    if new:
        warnings.warn(
            f"{name}: {', '.join(new)} are new, from seed {config.seed}; the head needs training",
            ExportWarning,
            stacklevel=4,
        )
    broken = [key for key, value in module.named_parameters() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"weights of '{name}' requested", f"{', '.join(broken[:3])} hold NaN or infinity", "train or copy it again"
        )
    return module


def _check_pickle(folder: Path, name: str, allowed: bool) -> None:
    pickles = [file for file in PICKLES if (folder / file).is_file()]
    if not pickles:
        raise CheckpointError(f"weights of '{name}' requested", "the folder has no *.safetensors", "check the folder")
    if not allowed:
        raise CheckpointError(
            f"weights of '{name}' requested",
            f"there are only pickles ({pickles[0]}), which can run code",
            "pass --allow-pickle (allow_pickle=True) if you trust them, or save them as safetensors",
        )


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
                f"it cannot be loaded ({_brief(error)})",
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


def _count(source: dict[str, Any], module: Any) -> dict[str, Any]:
    return {**source, "parameters": sum(value.numel() for value in module.parameters())}


def _brief(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
