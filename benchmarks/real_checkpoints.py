"""What a real checkpoint is, how it is written and read, and how its answers are held against known ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from ortolan.pipeline import Pipeline
from ortolan_exporters.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class RealModel:
    """A checkpoint that can be made anywhere pip works.

    Attributes:
        package: Name and version of the package that brings the weights, `name==version`.
        inside: Folder within the package.
        build: Makes the checkpoint: from the folder of the package, into an empty one.
        check: Compares its answers with known ones, and returns them in words; raises CheckpointError if one is off.
        task: What `ortolan.pipeline` serves with it.
        ask: As `check`, of the answers of that pipeline.
    """

    package: str
    inside: str
    build: Callable[[Path, Path], None]
    check: Callable[[Path], str]
    task: str
    ask: Callable[[Pipeline, Path], str]


def save_module(head: Any, config: Any, state: Mapping[str, torch.Tensor], target: Path) -> None:
    """Put weights into a module and save it.

    Args:
        head: Class of transformers.
        config: Its config.
        state: Weights, by the names that the module has for them.
        target: Folder.

    Raises:
        CheckpointError: A weight is missing or left over.
    """
    module, report = head.from_pretrained(None, config=config, state_dict=dict(state), output_loading_info=True)
    _expect_complete(target, report)
    module.save_pretrained(target)


def load_module(head: Any, folder: Path) -> Any:
    """Load a checkpoint in float32.

    Raises:
        CheckpointError: A weight is missing or left over.
    """
    transformers.utils.logging.disable_progress_bar()
    module, report = head.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    _expect_complete(folder, report)
    return module.eval()


def load_tokenizer(folder: Path, texts: Sequence[str]) -> Any:
    """Load the tokenizer as transformers does.

    Raises:
        CheckpointError: The ids of a text are not those of tokenizer.json alone.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    alone = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.no_padding()
    alone.no_truncation()
    for text in texts:
        expect(folder, f"ids of {text!r}", tokenizer(text)["input_ids"], alone.encode(text).ids)
    return tokenizer


def expect(folder: Path, what: str, found: Any, expected: Any, *, tolerance: float = 0.001) -> None:
    """Hold what a checkpoint gives against what is known.

    Raises:
        CheckpointError: They differ, floats by more than the tolerance.
    """
    same = abs(found - expected) <= tolerance if isinstance(expected, float) else found == expected
    if not same:
        raise CheckpointError(
            f"{what} of '{folder.name}' checked",
            f"got {found} where {expected} is known",
            f"remove {folder}, run again",
        )


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file that people may read."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _expect_complete(folder: Path, report: Mapping[str, Any]) -> None:
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        expect(folder, kind.replace("_", " "), sorted(report[kind]), [])
