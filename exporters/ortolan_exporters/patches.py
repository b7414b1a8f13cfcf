"""Reversible edits of what is traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Put something in the place of an attribute of a module or object while the block runs."""
    own = vars(owner)
    was_own, before = name in own, own.get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if was_own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)


@contextmanager
def short_layers(module: torch.nn.Module, *, is_portable: bool = False) -> Iterator[None]:
    """Let layers of a module that are spelled out be one operator each while the block runs.

    A step of a decoder is so short that the number of its operators counts.

    Args:
        module: The model.
        is_portable: Leave those spelled out whose operator ONNX itself does not have.
    """
    with ExitStack() as stack:
        for kind in {type(one) for one in module.modules()}:
            if (forward := _short(kind)) is not None and not (is_portable and forward is _rms_norm):
                stack.enter_context(replaced(kind, "forward", forward))
        yield


def _short(kind: type[torch.nn.Module]) -> Callable[..., torch.Tensor] | None:
    if kind is Conv1D:
        return _multiply
    if kind is NewGELUActivation:
        return _gelu
    # each architecture of transformers has a class of its own for it
    return _rms_norm if kind.__name__.endswith(("RMSNorm", "T5LayerNorm")) else None


def _multiply(self: Any, x: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = torch.matmul(x, self.weight) + self.bias
    return product


def _gelu(self: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x, approximate="tanh")


def _rms_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
    # ONNX has it as an operator from opset 23 on, ONNX Runtime under this name since long before
    return torch.onnx.ops.symbolic(
        "SimplifiedLayerNormalization",
        [x, self.weight],
        {"axis": -1, "epsilon": float(self.variance_epsilon), "stash_type": 1},
        dtype=x.dtype,
        shape=x.shape,
        version=1,
    )
