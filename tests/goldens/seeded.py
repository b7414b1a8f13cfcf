"""Weights and tokenizers that every version of transformers makes alike: goldens of one are compared with another."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers

ROOT = Path(__file__).parents[2]


def seed_weights(module: torch.nn.Module, seed: int = 0, spread: float = 0.2) -> None:
    """Give a module random weights that depend on their names, their shapes and a seed alone.

    Args:
        module: Changed.
        seed: Of the weights.
        spread: Their standard deviation, wide enough that answers differ from text to text. Norms scale by about 1.
    """
    with torch.no_grad():
        for name, value in _own_weights(module).items():
            # the stream of RandomState is frozen, that of a Generator may change
            drawn = np.random.RandomState([seed, zlib.crc32(name.encode())]).standard_normal(tuple(value.shape))
            is_scale = "norm" in name.lower() and name.endswith("weight")
            value.copy_(torch.from_numpy((drawn * spread + is_scale).astype(np.float32)))


def fingerprint(module: torch.nn.Module) -> str:
    """Hash names and values of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(_own_weights(module).items()):
        digest.update(name.encode())
        digest.update(value.detach().numpy().tobytes())
    return digest.hexdigest()


def _own_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Each weight once, by one of its names: weights that are shared have several."""
    return dict(module.named_parameters(remove_duplicate=True))


def read_tokenizer(kind: str) -> tokenizers.Tokenizer:
    """Read a tokenizer of real size: "wordpiece-uncased", "wordpiece-cased", "byte-level" or "unigram"."""
    if kind == "wordpiece-uncased":
        return tokenizers.Tokenizer.from_file(str(ROOT / "models" / "sentiment-minilm" / "tokenizer.json"))
    packed = ROOT / "tests" / "goldens" / "tokenizers" / kind / "tokenizer.json.gz"
    return tokenizers.Tokenizer.from_str(gzip.decompress(packed.read_bytes()).decode())


def fast_tokenizer(backend: tokenizers.Tokenizer, *, max_length: int, segments: bool, **roles: str) -> Any:
    """Wrap a tokenizer for transformers.

    Args:
        backend: The tokenizer.
        max_length: Most tokens of a text.
        segments: Whether the second text of a pair is marked.
        roles: Special tokens, such as `pad_token="[PAD]"`.
    """
    names = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=max_length, model_input_names=names, **roles
    )
