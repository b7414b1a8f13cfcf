"""`ortolan inspect`: what an artifact holds, and the evidence for it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from ortolan.artifact import Artifact
from ortolan.commands.flags import folder_command
from ortolan.manifest import PrecisionRecord

MAX_LABELS_SHOWN = 20


def parser() -> argparse.ArgumentParser:
    """Make the parser of `ortolan inspect`."""
    return folder_command("inspect", "Show what an artifact holds and the evidence for it.")


def act(flags: argparse.Namespace) -> int:
    """Run `ortolan inspect`."""
    artifact = Artifact.open(flags.folder)
    manifest = artifact.manifest
    if flags.json:
        note = {"is_foreign": True} if artifact.is_foreign else {}
        print(json.dumps({**manifest.to_json(), **note}, ensure_ascii=False))
        return 0
    size = sum(record.bytes for record in manifest.files.values())
    print(f"{manifest.source['name']}: {manifest.architecture}, {manifest.task}, up to {manifest.max_length} tokens")
    maker = (
        "another tool: its quality is unverified"
        if artifact.is_foreign
        else f"ortolan {manifest.ortolan}, {manifest.layout} layout"
    )
    print(f"{len(manifest.files)} files, {size / 1e6:.1f} MB, exported by {maker}")
    if manifest.task.endswith("classification"):
        if len(labels := list(artifact.id2label.values())) > MAX_LABELS_SHOWN:
            labels = [*labels[:MAX_LABELS_SHOWN], f"and {len(labels) - MAX_LABELS_SHOWN} more"]
        print("labels: " + ", ".join(labels))
    for precision, record in manifest.precisions.items():
        for graph in record.graphs.values():
            size = sum(manifest.files[name].bytes for name in artifact.files_of(graph))
            print(f"\n{precision}: {graph.file}, {size / 1e6:.1f} MB")
            for spec in (*graph.signature.inputs, *graph.signature.outputs):
                print(f"  {spec.name}: {spec.dtype}[{', '.join(str(axis) for axis in spec.shape)}]")
        if not artifact.is_foreign:
            _print_evidence(precision, record)
    if left_out := manifest.source.get("left_out"):
        print(
            "\nnot used: "
            + ", ".join(f"{name} ({other or 'of no known precision'})" for name, other in left_out.items())
        )
    return 0


def _print_evidence(precision: str, record: PrecisionRecord) -> None:
    for provider, choice in record.providers.items():
        without = ", ".join(choice["disabled_optimizers"]) or "none"
        print(f"  {provider}: {choice['attention']} attention, disabled optimizers: {without}")
    print(f"  outputs within {record.parity['max_difference']:.2g} of torch in {record.parity['batches']} batches")
    print(f"  {_quality(record.quality)}")
    if metric := record.quality.get("metric"):
        print(
            f"  {metric['name']} on {metric['texts']} examples: torch {metric['torch']:.4f}, "
            f"{precision} {metric['this']:.4f}"
        )
    if record.kept_fp32:
        print(f"  kept in fp32: {', '.join(record.kept_fp32)}")


def _quality(quality: Mapping[str, Any]) -> str:
    if quality["measure"] == "cosine":
        return (
            f"cosine with torch's {quality['mean_cosine']:.5f} on average, {quality['min_cosine']:.5f} at least, "
            f"of {quality['texts']} texts"
        )
    return (
        f"same label {quality['label_agreement']:.2%} of {quality['texts']} texts, probabilities differ by "
        f"{quality['mean_probability_difference']:.2g} on average, {quality['max_probability_difference']:.2g} at most"
    )
