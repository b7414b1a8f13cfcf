"""The model card: what a person reads of an artifact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ortolan.manifest import GoldenOutputs, Graph, PrecisionRecord
from ortolan.session.base import Signature
from ortolan_exporters.card import model_card
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.heads.registry import HEADS
from ortolan_exporters.resolve import Checkpoint, resolve
from tests import tiny

LABELS = {"measure": "labels", "texts": 40, "label_agreement": 0.975}
VECTORS = {"measure": "cosine", "texts": 40, "mean_cosine": 0.98765, "min_cosine": 0.9}
METRIC = {"metric": {"name": "accuracy", "texts": 40, "torch": 0.9125, "this": 0.9, "drop": 0.0125}}


def record(file: str, quality: dict[str, Any], *kept: str) -> PrecisionRecord:
    return PrecisionRecord(
        graphs={"model": Graph(file, Signature((), ()))},
        providers={},
        parity={"max_difference": 0.00012345, "batches": 3},
        quality=quality,
        kept_fp32=kept,
        cpu_features=(),
        golden=GoldenOutputs([[0.0]], 0.1),
    )


def with_labels(**entries: object) -> Checkpoint:
    return resolve(tiny.bert(**entries), tiny.tokenizer(), ExportConfig())


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """A classifier with two labels."""
    return with_labels(id2label={0: "NEGATIVE", 1: "POSITIVE"})


def test_front_matter_says_what_the_model_is_for(checkpoint: Checkpoint) -> None:
    lines = model_card(checkpoint, {"fp32": record("onnx/model.onnx", LABELS)}).splitlines()
    matter = lines[1 : lines.index("---", 1)]
    assert lines[0] == "---"
    assert {"pipeline_tag: text-classification", "library_name: ortolan"} <= set(matter)


def test_each_precision_has_a_row_with_its_evidence(checkpoint: Checkpoint) -> None:
    records = {
        "fp32": record("onnx/model.onnx", LABELS),
        "int8": record("onnx/model_quantized.onnx", {**LABELS, **METRIC}),
    }
    card = model_card(checkpoint, records)
    rows = [line for line in card.splitlines() if line.startswith(("| fp32", "| int8"))]
    assert rows == [
        "| fp32 | `onnx/model.onnx` | 0.00012 | same label 97.50% of 40 texts | - | - |",
        "| int8 | `onnx/model_quantized.onnx` | 0.00012 | same label 97.50% of 40 texts | 0.9125 | 0.9000 |",
    ]


def test_vectors_are_told_by_their_cosine(checkpoint: Checkpoint) -> None:
    embedder = replace(checkpoint, head=HEADS["feature-extraction"])
    card = model_card(embedder, {"fp32": record("onnx/model.onnx", VECTORS)})
    assert "cosine 0.98765 of 40 texts" in card
    assert "NEGATIVE" not in card


def test_layers_that_stayed_in_fp32_are_named(checkpoint: Checkpoint) -> None:
    records = {"int8": record("onnx/model_quantized.onnx", LABELS, "bert.encoder.layer.0.output.dense")}
    card = model_card(checkpoint, records)
    assert "Kept in fp32 within int8, to pass the gate: bert.encoder.layer.0.output.dense." in card
    assert "Kept in fp32" not in model_card(checkpoint, {"int8": record("onnx/model_quantized.onnx", LABELS)})


def test_labels_are_named_and_many_are_counted(checkpoint: Checkpoint) -> None:
    records = {"fp32": record("onnx/model.onnx", LABELS)}
    assert "Labels: NEGATIVE, POSITIVE." in model_card(checkpoint, records)
    many = model_card(with_labels(num_labels=23), records)
    assert "LABEL_18, LABEL_19 and 3 more." in many
    assert "LABEL_20" not in many


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ([], None),
        (["all"], "The weights are random: this is a shape to measure, not a model to use."),
        (["classifier.weight"], "Not trained: classifier.weight are random. Train them before use."),
    ],
    ids=["trained", "from scratch", "new head"],
)
def test_what_nobody_trained_is_told(checkpoint: Checkpoint, new: list[str], told: str | None) -> None:
    untrained = replace(checkpoint, source={**checkpoint.source, "new_weights": new})
    card = model_card(untrained, {"fp32": record("onnx/model.onnx", LABELS)})
    assert ("random" in card) == (told is not None)
    assert told is None or told in card


def test_size_and_length_are_told(checkpoint: Checkpoint) -> None:
    large = replace(checkpoint, source={**checkpoint.source, "parameters": 66_955_010})
    card = model_card(large, {"fp32": record("onnx/model.onnx", LABELS)})
    assert "bert, 67.0 million parameters" in card
    assert "Reads up to 64 tokens." in card


def test_what_a_recipe_says_is_told(checkpoint: Checkpoint) -> None:
    said = {
        "license": "mit",
        "evaluation": "accuracy on 2000 reviews",
        "limits": ["English only."],
        "notes": "Made up.",
    }
    card = model_card(
        replace(checkpoint, source={**checkpoint.source, **said}), {"fp32": record("onnx/model.onnx", LABELS)}
    )
    lines = card.splitlines()
    assert "license: mit" in lines[1 : lines.index("---", 1)]
    assert {"The score is accuracy on 2000 reviews.", "- English only.", "Made up."} <= set(lines)
    silent = model_card(checkpoint, {"fp32": record("onnx/model.onnx", LABELS)})
    assert "license" not in silent
    assert "Limits" not in silent
