"""Frozen options of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ortolan.config import PRECISIONS, Precision
from ortolan.errors import ConfigError
from ortolan.manifest import LAYOUTS

DEFAULT_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

OUTPUTS = ("hidden_states", "attentions")
"""What may be asked for besides the outputs of a head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What to export, and how good it has to be.

    Attributes:
        task: Name of the task; None to read it from the checkpoint's head.
        precisions: Which to make, at least one. fp32 is always traced, since int8 is made of it.
        revision: Branch, tag or commit on the Hub.
        num_labels: Give a base checkpoint a new head with this many classes.
        overrides: Values of config.json to change.
        from_scratch: Build the model from its config with random weights; only the vocabulary is kept.
        seed: Seeds new heads and random weights.
        allow_pickle: Read pytorch_model.bin where there are no safetensors (with weights_only=True all the same).
        trust_remote_code: Run the Python code that comes with a checkpoint, for models that transformers does not know.
        overwrite: Replace an artifact that is there already.
        eval_data: Labelled texts, jsonl as the head reads it; decides about a precision by `max_drop`.
        max_drop: Most the metric may fall below torch's, as a share: 0.01 is one text in a hundred.
        calibration: Texts on which precisions are compared with torch, jsonl with `text`; None for the
            checkpoint's own calibration.jsonl, else a built-in set.
        outputs: Of `OUTPUTS`, one for each layer, besides those of the head.
        layout: One of `LAYOUTS`.
    """

    task: str | None = None
    precisions: tuple[Precision, ...] = DEFAULT_PRECISIONS
    revision: str | None = None
    num_labels: int | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    from_scratch: bool = False
    seed: int = 0
    allow_pickle: bool = False
    trust_remote_code: bool = False
    overwrite: bool = False
    eval_data: Path | None = None
    max_drop: float = 0.01
    calibration: Path | None = None
    outputs: tuple[str, ...] = ()
    layout: str = "fused"

    def __post_init__(self) -> None:
        unknown = [name for name in self.precisions if name not in PRECISIONS]
        if unknown or not self.precisions or len(set(self.precisions)) != len(self.precisions):
            raise ConfigError(
                f"precisions {list(self.precisions)} requested",
                f"{unknown} are unknown" if unknown else "each may stand once, and one must",
                f"use some of {', '.join(PRECISIONS)}",
            )
        if unknown_outputs := [name for name in self.outputs if name not in OUTPUTS]:
            raise ConfigError(
                f"outputs {list(self.outputs)} requested", f"{unknown_outputs} are unknown", f"use {', '.join(OUTPUTS)}"
            )
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout {self.layout!r} requested", "no such layout", f"use {' or '.join(LAYOUTS)}")
        if self.layout == "portable" and "int4" in self.precisions:
            raise ConfigError(
                "int4 with layout 'portable' requested",
                "its products are com.microsoft::MatMulNBits, which only ONNX Runtime has",
                "use int8, or layout 'fused'",
            )
        if not 0.0 <= self.max_drop < 1.0:
            raise ConfigError("max_drop requested", f"got {self.max_drop}", "use a share from 0 up to 1, such as 0.01")
        if self.num_labels is not None and self.num_labels < 1:
            raise ConfigError("num_labels requested", f"got {self.num_labels}", "use 1 or more")
        if self.overrides and not self.from_scratch and "num_labels" in self.overrides:
            raise ConfigError("config num_labels requested", "it makes a new head", "pass num_labels instead")
