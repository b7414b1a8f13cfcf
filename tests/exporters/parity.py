"""A traced graph beside the torch module that it was traced from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ortolan.config import SessionConfig
from ortolan.session.ort import OrtSession
from ortolan.session.providers import provider_named
from ortolan_exporters.example_inputs import example_batch
from ortolan_exporters.graph_files import save_graph
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.registry import CLEAN_UP, attention_forms
from ortolan_exporters.reference import torch_run
from ortolan_exporters.resolve import Checkpoint
from ortolan_exporters.validate import check_interface

TOLERANCE = 1e-4
"""As a share of the largest output of torch."""

SHAPES = ((1, 7), (1, 64), (5, 7), (5, 64))
"""Batches are padded to so many tokens, all rows but the first."""


def load(path: Path) -> OrtSession:
    """Load a graph on the CPU."""
    return OrtSession(path, provider_named("cpu"), SessionConfig(provider="cpu"), ())


def check_forms(
    checkpoint: Checkpoint, traced: ir.Model, folder: Path, shapes: Iterable[tuple[int, int]] = SHAPES
) -> dict[str, ir.Model]:
    """Clean a graph up as an export does; each attention form of it must answer as torch does.

    Returns:
        The forms.
    """
    cleaned = traced.clone()
    run_passes(cleaned, CLEAN_UP)
    forms = {form: graphs["model"] for form, graphs in attention_forms({"model": cleaned}).items()}
    feeds = [
        example_batch(checkpoint.inputs, *shape, vocabulary=checkpoint.vocabulary, seed=seed)
        for seed, shape in enumerate(shapes)
    ]
    expected = [torch_run(checkpoint)(feed) for feed in feeds]
    for form, graph in forms.items():
        session = load(save_graph(graph, folder / f"{form}.onnx"))
        check_interface(session.signature, checkpoint)
        for feed, outputs in zip(feeds, expected, strict=True):
            got = session.run(feed)
            for name, axes in checkpoint.outputs.items():
                check_output(f"{form} {name}", got[name], outputs[name], feed, axes)
    return forms


def check_output(
    what: str, got: np.ndarray, wanted: np.ndarray, feed: Mapping[str, np.ndarray], axes: tuple[int | str, ...]
) -> None:
    """Compare what stands at real tokens, or all of it where the second axis is not that of the tokens."""
    assert got.shape == wanted.shape, what
    if axes[1:2] == ("sequence",):
        real = feed["attention_mask"].astype(bool)
        got, wanted = got[real], wanted[real]
    allowed = TOLERANCE * max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(got, wanted, atol=allowed, rtol=0, err_msg=f"{what}, {feed['input_ids'].shape}")
