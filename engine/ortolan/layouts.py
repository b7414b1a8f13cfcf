"""File names of optimum, transformers.js and sentence-transformers: which are graphs, which weights, which to prefer.

model.onnx, model_quantized.onnx, ...         optimum
onnx/model.onnx, onnx/model_q4.onnx, ...      transformers.js, sentence-transformers
encoder_model.onnx, decoder_model.onnx, decoder_with_past_model.onnx, ...   both, for models that generate
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ortolan.config import PRECISIONS, Precision
from ortolan.errors import ArtifactError
from ortolan.session.processors import INT8_FEATURES, cpu_features

GRAPHS: dict[Precision, tuple[str, ...]] = {
    "fp32": ("model", "model_optimized", "model_O2", "model_O1", "model_O3"),
    "int8": (
        "model_quantized",
        "model_int8",
        "model_qint8_arm64",
        "model_qint8_avx512_vnni",
        "model_qint8_avx512",
        "model_quint8_avx2",
        "model_uint8",
    ),
    "int4": ("model_q4", "model_q4f16"),
    "fp16": ("model_fp16", "model_O4"),
}
"""Names of graphs, best first: the one that the tool itself loads by default, then those nearer to the original."""

_ARM = frozenset({"asimddp", "i8mm"})
_VNNI = frozenset(INT8_FEATURES) - _ARM
_MADE_FOR = {"model_qint8_arm64": _ARM, "model_qint8_avx512_vnni": _VNNI, "model_qint8_avx512": _VNNI}
"""CPU features of which a graph needs one: without them, products with signed weights are slow or saturate."""


PIECES = {"encoder": "encoder_model", "decoder": "decoder_model", "decoder_with_past": "decoder_with_past_model"}
"""What the names of the graphs begin with that make a model with an encoder, by role."""


def files_in(folder: Path) -> list[str]:
    """List the files of a folder and of its subfolder `onnx`, by their paths within it."""
    found = (*folder.glob("*"), *folder.glob("onnx/*"))
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def graphs_among(names: Iterable[str]) -> list[str]:
    """Pick the graphs that are a whole model, in a folder or its subfolder `onnx`; the best of each precision first.

    Args:
        names: Paths within the folder.

    Returns:
        Their paths. Where there are none, those of decoders without a past; `graphs_of` names what belongs to them.
    """
    there = set(names)
    found = [name for name in there if re.fullmatch(r"(onnx/)?model(_[\w.-]+)?\.onnx", name)]
    if not found:
        decoders = [name for name in there if re.fullmatch(r"(onnx/)?decoder_model(_[\w.-]+)?\.onnx", name)]
        found = [name for name in decoders if there.issuperset(graphs_of(name).values())]
    order = [stem for stems in GRAPHS.values() for stem in sorted(stems, key=_is_for_another_cpu)]
    return sorted(found, key=lambda name: (order.index(stem) if (stem := _stem(name)) in order else len(order), name))


def graphs_of(name: str) -> dict[str, str]:
    """Name the graphs of a model by role.

    Args:
        name: As `graphs_among` gives it.
    """
    folder, _, file = name.rpartition("/")
    if not file.startswith(PIECES["decoder"]):
        return {"model": name}
    rest = file.removeprefix(PIECES["decoder"])
    return {role: (PurePosixPath(folder) / f"{stem}{rest}").as_posix() for role, stem in PIECES.items()}


def check_is_whole(names: Iterable[str], asked: str) -> None:
    """Refuse a model that generates and is laid out in pieces.

    Args:
        names: Paths within its folder.
        asked: What was wanted, for the message.

    Raises:
        ArtifactError: There are graphs of an encoder or a decoder, and not all that make a model.
    """
    pieces = [name for name in names if re.fullmatch(r"(onnx/)?(encoder|decoder)_[\w.-]+\.onnx", name)]
    if pieces and not graphs_among(names):
        found = f"its graphs are pieces of a model that generates: {', '.join(pieces)}"
        wanted = ", ".join(f"{stem}.onnx" for stem in PIECES.values())
        raise ArtifactError(asked, found, f"use a model that is one graph, model.onnx, or three: {wanted}")


def has_weights(names: Iterable[str]) -> bool:
    """Whether a folder holds weights that an artifact can be exported from. Pickles are not read unasked."""
    return any(re.fullmatch(r"[^/]+\.safetensors", name) for name in names)


def files_to_fetch(names: Sequence[str], precision: str) -> list[str]:
    """Say which files of a repository of graphs are needed.

    Args:
        names: Every file of it.
        precision: The one wanted; for "auto" fp32 and int8, one of which every provider runs.

    Returns:
        Settings, and of each precision wanted the best graph with its weights; every graph if none has a name that
        says it is of such a precision.
    """
    graphs = graphs_among(names)
    wanted = [one for one in PRECISIONS if one == precision] or ["fp32", "int8"]
    of_each = [[name for name in graphs if _stem(name) in GRAPHS.get(one, ())] for one in wanted]
    chosen = [file for name in [found[0] for found in of_each if found] or graphs for file in graphs_of(name).values()]
    # sentence-transformers numbers the folders of its modules
    is_setting = re.compile(r"(\d[^/]*/)?[^/]+\.(json|txt|model|jinja)").fullmatch
    return [name for name in names if is_setting(name) or name.startswith(tuple(chosen))]


def _stem(name: str) -> str:
    return PurePosixPath(name).stem.removeprefix("decoder_")


def _is_for_another_cpu(stem: str) -> bool:
    return stem in _MADE_FOR and not _MADE_FOR[stem] & cpu_features()
