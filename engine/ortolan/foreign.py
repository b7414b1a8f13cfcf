"""Folders that another tool exported: no manifest, so one is made up from what their files say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ortolan.config import PRECISIONS, Precision
from ortolan.errors import ArtifactError, MissingFileError, SignatureError
from ortolan.graph_file import GraphFile, read_graph_file
from ortolan.layouts import check_is_whole, files_in, graphs_among, graphs_of
from ortolan.manifest import MANIFEST_NAME, FileRecord, GoldenOutputs, Graph, Manifest, PrecisionRecord
from ortolan.postprocess.pooling import POOLINGS, Pooling
from ortolan.session.base import Signature, TensorSpec
from ortolan.teacher_forcing import MASK, PAST

EXPORT_IT = "run: ortolan export CHECKPOINT -o DIR"

DYNAMIC_INT8 = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"}
STATIC_INT8 = {"QuantizeLinear", "QLinearMatMul"}
"""Operators that only graphs of these precisions have."""

HEADS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
}
"""Tasks by the end of the class name in config.json."""

OUTPUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "text-classification": (("logits",),),
    "token-classification": (("logits",),),
    "question-answering": (("start_logits", "end_logits"),),
    "fill-mask": (("logits",),),
    "text-generation": (("logits",),),
    "feature-extraction": (("last_hidden_state",),),
    "text2text-generation": (("logits",), ("last_hidden_state",)),
    "sentence-embedding": (("sentence_embedding",), ("last_hidden_state",), ("token_embeddings",)),
}
"""Outputs that a task reads; one of the groups is enough."""

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")

WRITING_INPUTS = {"text-generation": (PAST,), "text2text-generation": (PAST, MASK, "encoder_hidden_states")}
"""What the names of further inputs begin with, of graphs that continue a text."""

POSITIONS_AFTER_PADDING = (
    *("camembert", "data2vec-text", "esm", "ibert", "layoutlmv3", "lilt", "longformer", "luke", "markuplm", "mpnet"),
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
"""Model types whose first position is the id of the padding plus 1: that many positions are never read."""

SLOW_TOKENIZERS = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)

DEFAULT_MAX_LENGTH = 512
MAX_JSON_BYTES = 1 << 24


def read_foreign(folder: Path) -> tuple[Manifest, dict[str, Any]]:
    """Make the manifest of a folder that has none.

    Args:
        folder: In the layout of optimum, transformers.js or sentence-transformers.

    Returns:
        The manifest, and config.json. The manifest holds no evidence: no golden inputs, no hashes, no measurements.
        `source["left_out"]` names the graphs that are not used, and their precision where they have one of ours.

    Raises:
        MissingFileError: No graph that is a whole model, or a file that is needed with it is not there.
        ArtifactError: A file that can't be read, one that leads out of the folder, or no graph of a known precision.
    """
    asked = f"artifact '{folder}' requested"
    names = files_in(folder)
    check_is_whole(names, asked)
    _check_files(folder, names, asked)
    models = [graphs_of(name) for name in graphs_among(names)]
    graphs = {name: read_graph_file(folder / name) for model in models for name in model.values()}
    config = _read_object(folder, "config.json", asked)
    precisions = {name: precision_of(graph) for name, graph in graphs.items()}
    # the precision of a model in pieces is that of its decoder
    of_model = [precisions[model.get("decoder") or model["model"]] for model in models]
    chosen = {one: model for one, model in reversed([*zip(of_model, models, strict=True)]) if one is not None}
    used = [name for model in chosen.values() for name in model.values()]
    if not chosen:
        raise ArtifactError(asked, f"none of {', '.join(graphs)} is {', '.join(PRECISIONS)}", EXPORT_IT)
    needed = [name for name in names if "/" not in name and name.endswith(".json")]
    needed += _module_configs(folder, names, asked)
    for name in used:
        needed += [name, *(_beside(name, file, asked) for file in graphs[name].external_files)]
    manifest = Manifest(
        task="text2text-generation"
        if "encoder" in models[0]
        else _task(config, next(iter(graphs.values())).signature, is_sentence_model="modules.json" in names),
        architecture=str(config.get("model_type") or "unknown"),
        source={
            "name": str(folder),
            "left_out": {name: precision for name, precision in precisions.items() if name not in used},
        },
        max_length=_max_length(folder, config, asked),
        versions={},
        precisions={one: _record(chosen[one], graphs) for one in PRECISIONS if one in chosen},
        golden_inputs=(),
        files=_file_records(folder, dict.fromkeys(needed), asked),
    )
    return manifest, config


def precision_of(graph: GraphFile) -> Precision | None:
    """Tell the precision of a graph from what is in it: a name may say anything.

    Returns:
        The precision; None for one that Ortolan doesn't know, such as weights alone in 8 bits.
    """
    if "MatMulNBits" in graph.operators:
        return "int4" if 4 in graph.weight_bits else None
    if graph.operators & DYNAMIC_INT8:
        return "int8"
    if graph.operators & STATIC_INT8:
        return "int8-static"
    if graph.operators & {"DequantizeLinear", "MatMulBnb4"}:
        return None
    halves, floats = (graph.weight_dtypes.get(dtype, 0) for dtype in ("float16", "float32"))
    return "fp16" if halves > floats else "fp32"


def check_graph(graph: Graph, manifest: Manifest) -> None:
    """Refuse a graph that tokenized texts are not enough for, or that lacks what its task reads.

    Raises:
        SignatureError: It has other inputs, inputs that are not whole numbers [B, S], or other outputs.
    """
    asked = f"graph '{graph.file}' requested"
    inputs, outputs = graph.signature.inputs, graph.signature.outputs
    # those would have to be counted from the padding on
    known = INPUTS[:3] if manifest.architecture in POSITIONS_AFTER_PADDING else INPUTS
    for spec in inputs:
        if spec.name.startswith(PAST) and [type(axis) for axis in spec.shape] != [str, int, str, int]:
            found = f"{spec.name} is {spec.dtype}{list(spec.shape)}"
            raise SignatureError(asked, found, "export it with [batch, heads, past, size], the second and last fixed")
    more = WRITING_INPUTS.get(manifest.task, ())
    inputs = tuple(spec for spec in inputs if not spec.name.startswith(more)) if more else inputs
    unknown = [spec.name for spec in inputs if spec.name not in known]
    if unknown or "input_ids" not in [spec.name for spec in inputs]:
        found = f"it reads {', '.join(spec.name for spec in inputs)}"
        raise SignatureError(asked, found, f"export it with inputs among {', '.join(known)}, input_ids at least")
    odd = [spec for spec in inputs if not _is_batch_of_tokens(spec)]
    if odd:
        found = ", ".join(f"{spec.name} is {spec.dtype}{list(spec.shape)}" for spec in odd)
        raise SignatureError(asked, found, "export it with int64 inputs of axes that vary: [batch, sequence]")
    if not _has_outputs(manifest.task, graph.signature):
        wanted = " or ".join(" and ".join(group) for group in OUTPUTS[manifest.task])
        found = f"it gives {', '.join(spec.name for spec in outputs)} and {manifest.task} reads {wanted}"
        raise SignatureError(asked, found, "export it with the head that config.json names, or correct architectures")


def _task(config: Mapping[str, Any], signature: Signature, *, is_sentence_model: bool) -> str:
    if is_sentence_model:
        return "sentence-embedding"
    classes = config.get("architectures")
    name = str(classes[0]) if isinstance(classes, list) and classes else ""
    task = next((task for head, task in HEADS.items() if name.endswith(head)), "feature-extraction")
    if task == "fill-mask" and not _has_outputs(task, signature):
        return "feature-extraction"  # embedding models are often published with the class that pre-trained them
    return task


def _check_files(folder: Path, names: Sequence[str], asked: str) -> None:
    if not graphs_among(names):
        raise MissingFileError(
            asked,
            f"the folder has neither {MANIFEST_NAME} nor model.onnx",
            f"run: ortolan export {folder} -o DIR, if it is a checkpoint",
        )
    if "tokenizer.json" not in names:
        slow = [name for name in SLOW_TOKENIZERS if name in names]
        found = "it lacks tokenizer.json" + (f", and has a slow tokenizer: {', '.join(slow)}" if slow else "")
        remedy = "convert it where transformers is installed: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        raise MissingFileError(asked, found, remedy)


def _record(names: Mapping[str, str], graphs: Mapping[str, GraphFile]) -> PrecisionRecord:
    return PrecisionRecord(
        graphs={role: Graph(name, graphs[name].signature) for role, name in names.items()},
        providers={},
        parity={},
        quality={},
        kept_fp32=(),
        cpu_features=(),
        golden=GoldenOutputs([], 0.0),
    )


def _file_records(folder: Path, names: Iterable[str], asked: str) -> dict[str, FileRecord]:
    names = list(names)
    missing = [name for name in names if not _is_file(folder / name)]
    if missing:
        raise MissingFileError(asked, f"it lacks {', '.join(missing)}", "copy or download it again")
    return {name: FileRecord("", (folder / name).stat().st_size) for name in names}


def _max_length(folder: Path, config: Mapping[str, Any], asked: str) -> int:
    """Most tokens that the model has positions for, or fewer where its tokenizer or its makers say so."""
    limits = [_length(config.get("max_position_embeddings") or config.get("n_positions"))]
    if config.get("model_type") in POSITIONS_AFTER_PADDING:
        padding = config.get("pad_token_id")
        limits = [limit - 1 - (padding if isinstance(padding, int) else 1) for limit in limits]
    for name, key in (("tokenizer_config.json", "model_max_length"), ("sentence_bert_config.json", "max_seq_length")):
        if (folder / name).is_file():
            limits.append(_length(_read_object(folder, name, asked).get(key)))
    return min((limit for limit in limits if limit > 0), default=DEFAULT_MAX_LENGTH)


def _length(value: object) -> int:
    """Read a length; 0 where nothing sensible is said, as where transformers writes 1e30 for a tokenizer."""
    return int(value) if isinstance(value, (int, float)) and 0 < value < 1e9 else 0


def _has_outputs(task: str, signature: Signature) -> bool:
    names = {spec.name for spec in signature.outputs}
    return any(names.issuperset(group) for group in OUTPUTS[task])


def _is_batch_of_tokens(spec: TensorSpec) -> bool:
    is_free = len(spec.shape) == 2 and not any(isinstance(axis, int) for axis in spec.shape)
    return is_free and spec.dtype in ("int64", "int32")


def _module_configs(folder: Path, names: Sequence[str], asked: str) -> list[str]:
    """Name the settings that the modules of sentence-transformers have."""
    modules = _read_json(folder, "modules.json", asked) if "modules.json" in names else []
    try:
        paths = [str(module["path"]) for module in modules]
    except (TypeError, KeyError) as error:
        raise ArtifactError(asked, "modules.json is no list of modules", EXPORT_IT) from error
    for path in paths:
        if not _is_inside(path):
            raise ArtifactError(asked, f"modules.json names a folder outside: {path!r}", "do not use it")
    configs = [(PurePosixPath(path) / "config.json").as_posix() for path in paths if path]
    return [name for name in configs if _is_file(folder / name)]


def _read_object(folder: Path, name: str, asked: str) -> dict[str, Any]:
    document = _read_json(folder, name, asked)
    if not isinstance(document, dict):
        raise ArtifactError(asked, f"{name} is no JSON object", EXPORT_IT)
    return document


def _read_json(folder: Path, name: str, asked: str) -> Any:
    try:
        with (folder / name).open("rb") as stream:
            content = stream.read(MAX_JSON_BYTES + 1)
        if len(content) > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES} bytes")
        return json.loads(content)
    except FileNotFoundError as error:
        raise MissingFileError(asked, f"it lacks {name}", "copy or download it again") from error
    except (ValueError, OSError, RecursionError) as error:
        raise ArtifactError(asked, f"{name} cannot be read ({error})", "copy or download it again") from error


def _beside(graph: str, name: str, asked: str) -> str:
    """Path of a file that a graph names, within the folder."""
    if not _is_inside(name):
        raise ArtifactError(asked, f"'{graph}' reads weights outside the folder: {name!r}", "do not use it")
    return (PurePosixPath(graph).parent / name).as_posix()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long or too odd
        return False


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name)


def read_pooling(folder: Path) -> Pooling:
    """Read how sentence-transformers makes an embedding of hidden states.

    Args:
        folder: With modules.json; without it the mean is taken, as sentence-transformers does.

    Raises:
        ArtifactError: Files that cannot be read, or a step other than one of `POOLINGS` and normalization.
    """
    if not (folder / "modules.json").is_file():
        return Pooling()
    asked = f"embeddings of '{folder}' requested"
    modules = _read_json(folder, "modules.json", asked)
    steps = [module for module in modules if isinstance(module, dict)] if isinstance(modules, list) else []
    kinds = [str(step.get("type", "")).rpartition(".")[2] for step in steps]
    if not kinds or set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise ArtifactError(asked, f"modules.json lists {', '.join(kinds) or 'nothing'}", EXPORT_IT)
    if "Pooling" not in kinds:
        return Pooling(normalizes="Normalize" in kinds)
    place = str(steps[kinds.index("Pooling")].get("path", ""))
    if not _is_inside(place):
        raise ArtifactError(asked, f"modules.json names a path outside the folder: {place!r}", "do not use it")
    found = _read_object(folder, f"{place}/config.json", asked)
    marked = [name.removeprefix(_MODE) for name, value in found.items() if name.startswith(_MODE) and value is True]
    modes = [_MODES.get(mode, mode) for mode in marked or [str(found.get("pooling_mode", "mean"))]]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ArtifactError(asked, f"they are pooled as {modes}", EXPORT_IT)
    return Pooling(modes[0], "Normalize" in kinds)


_MODE = "pooling_mode_"
_MODES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "lasttoken": "last"}
"""Names in a pooling module's config.json to those of `POOLINGS`."""
