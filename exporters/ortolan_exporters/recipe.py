"""The recipe: resolve, trace, rewrite, quantize, validate, publish. Start reading here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ortolan.artifact import Artifact
from ortolan.config import Precision
from ortolan.progress import say
from ortolan.session.runtime import onnxruntime
from ortolan_exporters.card import model_card
from ortolan_exporters.config import DEFAULT_PRECISIONS, ExportConfig
from ortolan_exporters.errors import PublishError
from ortolan_exporters.evidence import Evidence
from ortolan_exporters.manifest import write_manifest
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.registry import CLEAN_UP
from ortolan_exporters.precisions import Workshop
from ortolan_exporters.publish import publishing
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace


def export(
    model: Any,
    output: str | Path,
    task: str | None = None,
    tokenizer: Any = None,
    precisions: Sequence[Precision] = DEFAULT_PRECISIONS,
    overwrite: bool = False,
    *,
    revision: str | None = None,
    num_labels: int | None = None,
    config: Mapping[str, object] | None = None,
    from_scratch: bool = False,
    seed: int = 0,
    allow_pickle: bool = False,
    eval_data: str | Path | None = None,
    max_drop: float = 0.01,
    calibration: str | Path | None = None,
    outputs: Sequence[str] = (),
    keep_forms: bool = False,
) -> Artifact:
    """Export a checkpoint to a verified ONNX artifact.

    Args:
        model: A checkpoint folder, a Hub id, or a torch module of transformers.
        output: Folder to make. It appears whole or not at all.
        task: "text-classification", "token-classification", "question-answering", "fill-mask",
            "feature-extraction" or "sentence-embedding"; by default what the checkpoint's head is for.
        tokenizer: A fast tokenizer of transformers, or its folder; needed with a module.
        precisions: Which to make, of "fp32", "int8", "int8-static", "int4" and "fp16".
        overwrite: Replace an artifact that is at `output`.
        revision: Branch, tag or commit on the Hub.
        num_labels: Give a base checkpoint a new head with so many classes, which then needs training.
        config: Entries of config.json to change.
        from_scratch: Random weights in the shape of the config; only the vocabulary is kept.
        seed: Seeds new heads and random weights.
        allow_pickle: Read pytorch_model.bin if there are no safetensors.
        eval_data: Labelled examples (jsonl; what stands in a line depends on the task, see docs/exporting.md) whose
            score decides about every precision but fp32.
        max_drop: Most that score may fall, as a share.
        calibration: Texts (jsonl: text) on which precisions are compared with torch; by default the checkpoint's
            calibration.jsonl, else a built-in set. At most 512 are used, spread over the file.
        outputs: "hidden_states" or "attentions" of every layer, besides the outputs of the head.
        keep_forms: Keep every form of attention, for `ortolan tune` to choose among.

    Returns:
        The opened artifact.

    Raises:
        MissingFileError: The checkpoint, or a data file, is not there.
        CheckpointError: It can't be read, or not safely.
        UnsupportedArchitectureError: No exporter for it; the message lists those there are.
        TraceError: torch's exporter failed.
        ToleranceError: The gate; nothing was published.
        PublishError: `output` is taken, or can't be written.
        ProviderError: No ONNX Runtime to measure with, or two.
        ConfigError: An option with a value that is not allowed.
    """
    options = ExportConfig(
        task=task,
        precisions=tuple(precisions),
        revision=revision,
        num_labels=num_labels,
        overrides=dict(config or {}),
        from_scratch=from_scratch,
        seed=seed,
        allow_pickle=allow_pickle,
        overwrite=overwrite,
        eval_data=None if eval_data is None else Path(eval_data),
        max_drop=max_drop,
        calibration=None if calibration is None else Path(calibration),
        outputs=tuple(outputs),
    )
    output = Path(output)
    onnxruntime()  # none or two installed: told before minutes of work
    with publishing(output, overwrite=overwrite) as work:
        checkpoint = resolve(model, tokenizer, options)
        _save_settings(checkpoint, work)
        evidence = Evidence(checkpoint, work, options)
        say(f"tracing {checkpoint.source['name']} ({checkpoint.architecture.model_type}, {checkpoint.task})")
        graph = trace(checkpoint)
        run_passes(graph, CLEAN_UP)
        workshop = Workshop(graph, evidence, work, keeps_forms=keep_forms)
        records = {precision: workshop.make(precision) for precision in options.precisions}
        workshop.close()
        (work / "README.md").write_text(model_card(checkpoint, records), encoding="utf-8")
        write_manifest(work, checkpoint, records, evidence.golden)
    say(f"published {output}")
    return Artifact.open(output)


def _save_settings(checkpoint: Checkpoint, work: Path) -> None:
    """Write config and tokenizer as transformers does, for the runtime and for whoever else reads the folder."""
    checkpoint.config.save_pretrained(work)
    try:
        checkpoint.tokenizer.save_pretrained(work)
    except Exception as error:  # tokenizers raises plain Exception where a disk is full
        raise PublishError(
            "tokenizer.json requested", f"writing it failed ({error})", "make room, or choose another place"
        ) from error
    # transformers 5 keeps the special tokens in tokenizer_config.json alone; readers of the older layout look here
    _write_json(work / "special_tokens_map.json", checkpoint.tokenizer.special_tokens_map)
    # which inputs a tokenizer makes is a matter of its class in transformers; the runtime has only the files
    path = work / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    _write_json(path, {**settings, "model_input_names": list(checkpoint.tokenizer.model_input_names)})


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
