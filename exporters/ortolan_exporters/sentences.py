"""Module lists of sentence-transformers: pooling, projections and normalization become part of the graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ortolan_exporters.errors import CheckpointError, brief

MODULES = "modules.json"

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class SentenceEmbedder(torch.nn.Module):
    """A transformer with what comes after it.

    Attributes:
        transformer: The model of transformers, whose config is this module's.
    """

    def __init__(self, transformer: Any, pooling: Pooling, steps: list[torch.nn.Module]) -> None:
        super().__init__()
        self.transformer = transformer
        self.config = transformer.config
        self.pooling = pooling
        self.steps = torch.nn.ModuleList(steps)

    def forward(self, inputs: Mapping[str, torch.Tensor], **options: Any) -> dict[str, Any]:
        """Embed texts.

        Args:
            inputs: int64 [B, S] each.
            options: What else to ask the transformer for.

        Returns:
            Its outputs, and `sentence_embedding`, float32 [B, D].
        """
        body = self.transformer.get_encoder() if self.config.is_encoder_decoder else self.transformer
        found = body(**inputs, **options)
        vector = self.pooling(found.last_hidden_state, inputs["attention_mask"])
        for step in self.steps:
            vector = step(vector)
        return {**found, "sentence_embedding": vector}


class Pooling(torch.nn.Module):
    """One vector of the vectors of all tokens, as sentence-transformers makes it.

    Args:
        modes: Some of `POOLINGS`, whose results stand side by side.
    """

    def __init__(self, modes: tuple[str, ...]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool.

        Args:
            hidden: float32 [B, S, H].
            mask: int64 [B, S].

        Returns:
            float32 [B, H for each mode].
        """
        pooled = [POOLINGS[mode](hidden, mask) for mode in self.modes]
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=-1)


class Normalize(torch.nn.Module):
    """Vectors of length 1."""

    def forward(self, vector: torch.Tensor) -> torch.Tensor:
        """Divide by the length, at least 1e-12."""
        return vector / vector.pow(2).sum(-1, keepdim=True).sqrt().clamp(min=1e-12)


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _sum(hidden, mask) / mask.sum(1, keepdim=True).clamp(min=1).to(hidden.dtype)


def _sum(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    # a product with the mask instead of Mul and ReduceSum: one pass over the states
    return torch.matmul(mask.unsqueeze(1).to(hidden.dtype), hidden).squeeze(1)


def _mean_sqrt(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return _sum(hidden, mask) / mask.sum(1, keepdim=True).clamp(min=1).to(hidden.dtype).sqrt()


def _weighted_mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = torch.arange(1, hidden.shape[1] + 1, device=hidden.device) * mask
    return _sum(hidden, weights) / weights.sum(1, keepdim=True).clamp(min=1).to(hidden.dtype)


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, -1e9).amax(1)


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    places = torch.arange(hidden.shape[1], device=hidden.device) * mask
    index = places.argmax(-1, keepdim=True).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    return hidden.gather(1, index).squeeze(1)


POOLINGS: dict[str, Step] = {
    "cls_token": lambda hidden, _: hidden[:, 0],
    "max_tokens": _max,
    "mean_tokens": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean_tokens": _weighted_mean,
    "lasttoken": _last,
}
"""Names as after `pooling_mode_` in a pooling module's config.json, in the order in which results are joined."""

_SHORT = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "weightedmean": "weightedmean_tokens"}
"""Names as newer releases of sentence-transformers write them in `pooling_mode`."""


def has_modules(folder: Path | None) -> bool:
    """Whether a checkpoint carries a module list."""
    return folder is not None and (folder / MODULES).is_file()


def with_modules(transformer: Any, folder: Path | None, name: str) -> SentenceEmbedder:
    """Put what a module list names behind a transformer.

    Args:
        transformer: Loaded.
        folder: The checkpoint.
        name: What the user calls it, for messages.

    Raises:
        CheckpointError: No module list, one with an unknown module, or one that leads out of the folder.
    """
    asked = f"sentence embeddings of '{name}' requested"
    if folder is None or not has_modules(folder):
        raise CheckpointError(
            asked,
            f"it carries no {MODULES}, which says how to pool",
            "export it for feature-extraction, or add the module list of sentence-transformers",
        )
    try:
        rows = json.loads((folder / MODULES).read_text(encoding="utf-8"))
        found = [_module(row, folder) for row in sorted(rows, key=lambda row: row["idx"])]
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, SafetensorError) as error:
        # AttributeError: JSON that is no object; RuntimeError: weights of another shape
        reason = f"{MODULES} cannot be used ({brief(error)})"
        raise CheckpointError(asked, reason, "check the files it names") from error
    modules = [one for one in found if one is not None]
    if not modules or not isinstance(modules[0], Pooling):
        raise CheckpointError(asked, f"{MODULES} names no pooling after the transformer", "check it")
    return SentenceEmbedder(transformer, modules[0], modules[1:])


def max_sequence_length(folder: Path | None) -> int | None:
    """Most tokens by sentence_bert_config.json; None where it says nothing.

    Raises:
        CheckpointError: The file is no JSON object.
    """
    path = None if folder is None else folder / "sentence_bert_config.json"
    if path is None or not path.is_file():
        return None
    try:
        length = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(
            f"the longest text of '{path.parent.name}' requested",
            f"{path.name} cannot be used ({error})",
            "check the file",
        ) from error
    return length if isinstance(length, int) and length > 0 else None


def _module(row: Mapping[str, Any], folder: Path) -> torch.nn.Module | None:
    kind = str(row["type"]).rsplit(".", 1)[-1]
    place = (folder / str(row.get("path", ""))).absolute()
    if not place.is_relative_to(folder.absolute()) or ".." in Path(str(row.get("path", ""))).parts:
        raise ValueError(f"{row['path']!r} leads out of the folder")
    if kind == "Transformer":
        return None
    if kind == "Normalize":
        return Normalize()
    if kind == "Pooling":
        return Pooling(_modes(json.loads((place / "config.json").read_text(encoding="utf-8"))))
    if kind == "Dense":
        return _dense(place)
    raise ValueError(f"a module of type {row['type']} is not known")


def _modes(settings: Mapping[str, Any]) -> tuple[str, ...]:
    named = settings.get("pooling_mode")
    modes = tuple(mode for mode in POOLINGS if settings.get(f"pooling_mode_{mode}"))
    if isinstance(named, str):
        modes = (_SHORT.get(named, named),)
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown or not modes:
        raise ValueError(f"pooling {unknown or dict(settings)} is not known")
    return modes


def _dense(place: Path) -> torch.nn.Module:
    settings = json.loads((place / "config.json").read_text(encoding="utf-8"))
    linear = torch.nn.Linear(settings["in_features"], settings["out_features"], bias=settings.get("bias", True))
    weights = load_file(place / "model.safetensors")
    linear.load_state_dict({name.removeprefix("linear."): value.float() for name, value in weights.items()})
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    known = {"Tanh": torch.nn.Tanh, "Identity": torch.nn.Identity, "ReLU": torch.nn.ReLU, "GELU": torch.nn.GELU}
    if activation not in known:
        raise ValueError(f"activation {activation} is not known")
    return torch.nn.Sequential(linear, known[activation]())
