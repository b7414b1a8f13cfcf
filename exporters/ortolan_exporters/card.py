"""A model card made from the manifest: what a person wants to know before using an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ortolan.config import Precision
from ortolan.manifest import PrecisionRecord
from ortolan_exporters.resolve import Checkpoint

MAX_LABELS = 20


def model_card(checkpoint: Checkpoint, precisions: Mapping[Precision, PrecisionRecord]) -> str:
    """Write README.md of an artifact, in Markdown with the front matter that the Hub reads."""
    source, task = checkpoint.source, checkpoint.task
    name = source["name"]
    lines = [
        "---",
        f"pipeline_tag: {task}",
        "library_name: ortolan",
        *([f"license: {source['license']}"] if "license" in source else []),
        "tags: [onnx, ortolan]",
        "---",
        "",
        f"# {name}, exported to ONNX",
        "",
        f"{checkpoint.architecture.model_type}, {checkpoint.source['parameters'] / 1e6:.1f} million parameters,",
        f"for {task}. Reads up to {checkpoint.max_length} tokens.{_labels(checkpoint)}",
        "",
        *_layout(checkpoint),
        *_untrained(checkpoint.source["new_weights"]),
        "```python",
        "import ortolan",
        "",
        'model = ortolan.Model.load("this folder")',
        'outputs = model(**model.tokenizer(["Some text."]))',
        "```",
        "",
        "## Evidence",
        "",
        "Every precision was compared with the torch model when it was exported.",
        "",
        "| precision | file | largest difference | agreement | score of torch | of this |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_row(precision, record) for precision, record in precisions.items()),
        "",
        *(_kept(precision, record) for precision, record in precisions.items() if record.kept_fp32),
        *_statements(source),
        "Details, hashes and golden inputs are in `ortolan.json`; `ortolan verify` replays them.",
        "",
    ]
    return "\n".join(lines)


def _statements(source: Mapping[str, Any]) -> list[str]:
    """What the recipe says beside: how it was scored, what the model can't do."""
    lines = [f"The score is {source['evaluation']}.", ""] if "evaluation" in source else []
    if "limits" in source:
        lines += ["## Limits", "", *(f"- {limit}" for limit in source["limits"]), ""]
    return lines + ([source["notes"], ""] if "notes" in source else [])


def _layout(checkpoint: Checkpoint) -> list[str]:
    if checkpoint.layout != "portable":
        return []
    return ["Its graphs have standard ONNX operators alone, and the files, inputs and outputs of optimum.", ""]


def _untrained(new_weights: list[str]) -> list[str]:
    if new_weights == ["all"]:
        return ["The weights are random: this is a shape to measure, not a model to use.", ""]
    return [f"Not trained: {', '.join(new_weights)} are random. Train them before use.", ""] if new_weights else []


def _labels(checkpoint: Checkpoint) -> str:
    if checkpoint.task not in ("text-classification", "token-classification"):
        return ""
    labels = [str(label) for label in checkpoint.config.id2label.values()]
    more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    return f" Labels: {', '.join(labels[:MAX_LABELS])}{more}."


def _row(precision: Precision, record: PrecisionRecord) -> str:
    quality, metric = record.quality, record.quality.get("metric")
    scores = f"{metric['torch']:.4f} | {metric['this']:.4f}" if metric else "- | -"
    agreement = (
        f"cosine {quality['mean_cosine']:.5f}"
        if quality["measure"] == "cosine"
        else f"same label {quality['label_agreement']:.2%}"
    )
    files = ", ".join(f"`{graph.file}`" for graph in record.graphs.values())
    return (
        f"| {precision} | {files} | {record.parity['max_difference']:.2g} "
        f"| {agreement} of {quality['texts']} texts | {scores} |"
    )


def _kept(precision: Precision, record: PrecisionRecord) -> str:
    return f"Kept in fp32 within {precision}, to pass the gate: {', '.join(record.kept_fp32)}.\n"
