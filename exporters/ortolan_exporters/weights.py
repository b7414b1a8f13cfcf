"""Weights into a torch module: read from a checkpoint, or made new from a seed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers

from ortolan.errors import ConfigError
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.errors import CheckpointError, ExportWarning, brief

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def make_module(head: Any, folder: Path, name: str, model_config: Any, config: ExportConfig) -> tuple[Any, list[str]]:
    """Make a module in float32, without touching the random numbers of the caller.

    Args:
        head: Class of transformers.
        folder: Files of the checkpoint.
        name: What the user calls it, for messages.
        model_config: Its config, changes included.
        config: Whether weights are read, what may be read, and the seed of those that are new.

    Returns:
        The module, in evaluation mode, and the names of the weights that are new; "all" where every one is.

    Raises:
        CheckpointError: No weights, only pickles, weights that don't fit, are missing, or hold NaN.
        ConfigError: Entries of a config that don't go together.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.from_scratch:
            return _from_scratch(head, name, model_config, config).to(torch.float32).eval(), ["all"]
        module, new = _load(head, folder, name, model_config, config)
    check_finite(module, name)
    if new:
        message = f"{name}: {', '.join(new)} are new, from seed {config.seed}; the head needs training"
        warnings.warn(message, ExportWarning, stacklevel=4)
    elif config.overrides:
        message = f"{name}: weights trained with another config are read into a changed one"
        warnings.warn(message, ExportWarning, stacklevel=4)
    return module.to(torch.float32).eval(), new


def check_finite(module: Any, name: str) -> None:
    """Look for NaN and infinity.

    Raises:
        CheckpointError: Some weights hold them; the message names the first.
    """
    broken = [key for key, value in module.named_parameters() if not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"weights of '{name}' requested", f"{', '.join(broken[:3])} hold NaN or infinity", "train or copy it again"
        )


def _from_scratch(head: Any, name: str, model_config: Any, config: ExportConfig) -> Any:
    message = f"{name}: built from its config with random weights; it needs training"
    warnings.warn(message, ExportWarning, stacklevel=5)
    try:
        return head(model_config)
    except Exception as error:  # whatever the module's own checks raise: heads that do not divide the size
        raise ConfigError(
            f"a model of '{name}' with {dict(config.overrides)} requested",
            f"there is no such model ({brief(error)})",
            "choose entries that fit together",
        ) from error


def _load(head: Any, folder: Path, name: str, model_config: Any, config: ExportConfig) -> tuple[Any, list[str]]:
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
            f"weights of '{name}' requested", f"they cannot be loaded ({brief(error)})", hint
        ) from error
    finally:
        if had_bar:
            progress.enable_progress_bar()
    new = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if module.base_model is module:  # no head: its outputs are the hidden states, which no pooler has touched
        new = [key for key in new if not key.startswith("pooler.")]
        body = new
    else:
        body = [key for key in new if key.startswith(f"{module.base_model_prefix}.") and ".pooler." not in key]
    if body:
        raise CheckpointError(
            f"weights of '{name}' requested", f"{len(body)} are missing, such as {body[0]}", "check that it is complete"
        )
    return module, new


def _check_pickle(folder: Path, name: str, allowed: bool) -> None:
    pickles = [file for file in PICKLES if (folder / file).is_file()]
    if not pickles:
        raise CheckpointError(
            f"weights of '{name}' requested",
            "the folder has no *.safetensors" + (" and no pytorch_model.bin" if allowed else ""),
            # from the Hub, pickles are downloaded only when they may be read
            "check the folder" if allowed else "pass --allow-pickle if it has a pytorch_model.bin that you trust",
        )
    if not allowed:
        raise CheckpointError(
            f"weights of '{name}' requested",
            f"there are only pickles ({pickles[0]}), which can run code",
            "pass --allow-pickle (allow_pickle=True) if you trust them, or save them as safetensors",
        )
