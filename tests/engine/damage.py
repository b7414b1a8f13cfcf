"""Changes to a copy of an artifact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parents[1] / "goldens" / "artifact-v2"
"""The checked-in artifact; only to be read."""


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to a JSON file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to the manifest of an artifact."""
    edit_json(folder / "ortolan.json", change)


def rehash(folder: Path, name: str) -> None:
    """Write the hash that a file has now into the manifest, so that no check of hashes finds the change."""
    content = (folder / name).read_bytes()
    record = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(folder, lambda manifest: manifest["files"].update({name: record}))


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Apply `change` to config.json, hash included."""
    edit_json(folder / "config.json", change)
    rehash(folder, "config.json")


def mark_segments(folder: Path) -> Path:
    """Say in a tokenizer's settings, as BERT's class does, that the second text of a pair is marked."""
    names = ["input_ids", "token_type_ids", "attention_mask"]
    edit_json(folder / "tokenizer_config.json", lambda settings: settings.update(model_input_names=names))
    return folder


def as_hub_snapshot(folder: Path, repo: Path, commit: str) -> Path:
    """Lay an artifact out as the Hub's cache does: links in snapshots/<commit> to the files in blobs."""
    snapshot = repo / "snapshots" / commit
    (repo / "blobs").mkdir(parents=True)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        blob = repo / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        steps_up = [".."] * (len(link.relative_to(repo).parts) - 1)
        link.symlink_to(Path(*steps_up, "blobs", blob.name))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    return snapshot


def as_transformers_js(folder: Path) -> Path:
    """Take the manifest and the card away: what is left is as transformers.js has it."""
    (folder / "ortolan.json").unlink()
    (folder / "README.md").unlink()
    return folder


def as_optimum(folder: Path) -> Path:
    """Take the manifest and the card away, and lay the graphs beside config.json, as optimum does."""
    for graph in sorted((folder / "onnx").iterdir()):
        graph.rename(folder / graph.name)
    (folder / "onnx").rmdir()
    return as_transformers_js(folder)


def as_sentence_transformers(folder: Path) -> Path:
    """Add the files by which sentence-transformers knows its models, and give the int8 graph two of its names."""
    as_transformers_js(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    int8 = folder / "onnx" / "model_quantized.onnx"
    (folder / "onnx" / "model_quint8_avx2.onnx").write_bytes(int8.read_bytes())
    int8.rename(folder / "onnx" / "model_qint8_avx512_vnni.onnx")
    return folder
