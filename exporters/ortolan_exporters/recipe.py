"""The recipe: resolve, trace, rewrite, quantize, validate, publish. Start reading here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ortolan.artifact import GENERATION_CONFIG, Artifact
from ortolan.config import Precision
from ortolan.locate import is_folder
from ortolan.progress import say
from ortolan.session.runtime import onnxruntime
from ortolan_exporters.card import model_card
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.errors import PublishError
from ortolan_exporters.evidence import Evidence
from ortolan_exporters.manifest import write_manifest
from ortolan_exporters.passes.base import run_passes
from ortolan_exporters.passes.registry import CLEAN_UP
from ortolan_exporters.portable import check_standard
from ortolan_exporters.precisions import Workshop
from ortolan_exporters.publish import is_artifact, publishing, sole_export
from ortolan_exporters.recipes import Recipe, recipe_of
from ortolan_exporters.resolve import Checkpoint, resolve
from ortolan_exporters.trace import trace


def export(
    model: Any,
    output: str | Path | None = None,
    task: str | None = None,
    tokenizer: Any = None,
    precisions: Sequence[Precision] | None = None,
    overwrite: bool = False,
    *,
    revision: str | None = None,
    num_labels: int | None = None,
    config: Mapping[str, object] | None = None,
    from_scratch: bool = False,
    seed: int = 0,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    eval_data: str | Path | None = None,
    max_drop: float | None = None,
    calibration: str | Path | None = None,
    outputs: Sequence[str] = (),
    layout: str = "fused",
    keep_forms: bool = False,
    wait: bool = False,
) -> Artifact:
    """Export a checkpoint to a verified ONNX artifact.

    Args:
        model: A checkpoint folder, a Hub id, a torch module of transformers, or a folder with a recipe, which then
            says what is not said here of `task`, `precisions`, `revision`, `eval_data`, `max_drop` and `calibration`.
        output: Folder to make; by default one with the name of the model, in the current folder. It appears whole or
            not at all.
        task: "text-classification", "token-classification", "question-answering", "text-generation",
            "text2text-generation", "fill-mask", "feature-extraction" or "sentence-embedding"; by default what the
            checkpoint's head is for.
        tokenizer: A fast tokenizer of transformers, or its folder; needed with a module.
        precisions: Which to make, of "fp32", "int8", "int8-static", "int4" and "fp16"; by default the first
            two.
        overwrite: Replace an artifact that is at `output`.
        revision: Branch, tag or commit on the Hub.
        num_labels: Give a base checkpoint a new head with so many classes, which then needs training.
        config: Entries of config.json to change.
        from_scratch: Random weights in the shape of the config; only the vocabulary is kept.
        seed: Seeds new heads and random weights.
        allow_pickle: Read pytorch_model.bin if there are no safetensors.
        trust_remote_code: Run the Python code that comes with the checkpoint. Without it a model that transformers
            does not know is refused.
        eval_data: Labelled examples (jsonl; what stands in a line depends on the task, see docs/exporting.md) whose
            score decides about every precision but fp32.
        max_drop: Most that score may fall, as a share; by default 0.01.
        calibration: Texts (jsonl: text) on which precisions are compared with torch; by default the checkpoint's
            calibration.jsonl, else a built-in set. At most 512 are used, spread over the file.
        outputs: "hidden_states" or "attentions" of every layer, besides the outputs of the head.
        layout: "fused" for operators of ONNX Runtime, and decoders over a cache that they write in place; "portable"
            for standard operators alone and the files and names of optimum.
        keep_forms: Keep every form of attention, for `ortolan tune` to choose among.
        wait: If another process is exporting to `output`, wait for it, and take what it makes (with `overwrite`,
            export once more).

    Returns:
        The opened artifact.

    Raises:
        MissingFileError: The checkpoint, or a data file, is not there.
        CheckpointError: It can't be read, or not safely.
        UnsupportedArchitectureError: No exporter for it; the message lists those there are.
        TraceError: torch's exporter failed.
        ToleranceError: The gate; nothing was published.
        PublishError: `output` is taken, another process is exporting to it, or it can't be written.
        ProviderError: No ONNX Runtime to measure with, or two.
        ConfigError: An option with a value that is not allowed, or a recipe that can't be used.
    """
    recipe = recipe_of(model)
    options = ExportConfig(
        **recipe.completed(
            task=task,
            precisions=precisions,
            revision=revision,
            eval_data=eval_data,
            max_drop=max_drop,
            calibration=calibration,
        ),
        num_labels=num_labels,
        overrides=dict(config or {}),
        from_scratch=from_scratch,
        seed=seed,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        overwrite=overwrite,
        outputs=tuple(outputs),
        layout=layout,
    )
    folder = Path(_name(model) if output is None else output)
    onnxruntime()  # none or two installed: told before minutes of work
    with sole_export(folder, wait=wait) as waited:
        if waited and is_artifact(folder) and not overwrite:
            say(f"{folder} is there now")
        else:
            _publish(recipe, tokenizer, options, folder, keep_forms)
    return Artifact.open(folder)


def _publish(recipe: Recipe, tokenizer: Any, options: ExportConfig, output: Path, keep_forms: bool) -> None:
    with publishing(output, overwrite=options.overwrite) as work:
        checkpoint = resolve(recipe.model, tokenizer, options)
        checkpoint.source.update(recipe.statements)
        _save_settings(checkpoint, work)
        evidence = Evidence(checkpoint, work, options)
        say(f"tracing {checkpoint.source['name']} ({checkpoint.architecture.model_type}, {checkpoint.task})")
        graphs = trace(checkpoint)
        for graph in graphs.values():
            run_passes(graph, CLEAN_UP)
        if checkpoint.layout == "portable":
            check_standard(graphs.values())
        workshop = Workshop(graphs, evidence, work, keeps_forms=keep_forms)
        records = {precision: workshop.make(precision) for precision in options.precisions}
        workshop.close()
        (work / "README.md").write_text(model_card(checkpoint, records), encoding="utf-8")
        write_manifest(work, checkpoint, records, evidence.golden)
    say(f"published {output}")


def _name(model: Any) -> str:
    """What a model is called: the last part of a path or Hub id, or the class of a module."""
    if not isinstance(model, (str, Path)):
        return type(model).__name__
    return Path(model).resolve().name if is_folder(Path(model)) else Path(model).name


def _save_settings(checkpoint: Checkpoint, work: Path) -> None:
    """Write config and tokenizer as transformers does, for the runtime and for whoever else reads the folder.

    Code of the checkpoint, which transformers would write too, stays behind: an artifact runs without any.
    """
    checkpoint.config.save_pretrained(work)
    try:
        checkpoint.tokenizer.save_pretrained(work)
    except Exception as error:  # tokenizers raises plain Exception where a disk is full
        raise PublishError(
            "tokenizer.json requested", f"writing it failed ({error})", "make room, or choose another place"
        ) from error
    for code in work.rglob("*.py"):
        code.unlink()
    generation = getattr(checkpoint.transformer, "generation_config", None)
    if checkpoint.head.writes and generation is not None:
        _write_json(work / GENERATION_CONFIG, json.loads(generation.to_json_string()))
    # transformers 5 keeps the special tokens in tokenizer_config.json alone; readers of the older layout look here
    _write_json(work / "special_tokens_map.json", checkpoint.tokenizer.special_tokens_map)
    # which inputs a tokenizer makes is a matter of its class in transformers; the runtime has only the files
    inputs = {"model_input_names": list(checkpoint.tokenizer.model_input_names)}
    _change_json(work / "tokenizer_config.json", inputs)
    _change_json(work / "config.json", {})


def _change_json(path: Path, more: Mapping[str, Any]) -> None:
    """Add entries to a file of settings, and take away the one that names code."""
    before = json.loads(path.read_text(encoding="utf-8"))
    after = {key: value for key, value in {**before, **more}.items() if key != "auto_map"}
    if after != before:
        _write_json(path, after)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
