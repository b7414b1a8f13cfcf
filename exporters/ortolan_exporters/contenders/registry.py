"""Who can be raced, by the name of the tool that `--against` takes. A new contender is a program and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ortolan.errors import ConfigError

READING = (
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "feature-extraction",
    "sentence-embedding",
)
PIPELINES = READING[:-1]
"""Tasks that transformers has pipelines for."""

WRITING = ("text-generation", "text2text-generation")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run a model.

    Attributes:
        name: As tables show it; "fp32", "int8" and the like in it say what its products compute in.
        program: One of this package.
        precision: One of the program's.
        kinds: What it is asked, of `serving.KINDS`, and for which tasks.
        providers: Where it runs.
        makers: Programs that make its files first, in one folder; none where it runs the checkpoint as it is.
    """

    name: str
    program: str
    precision: str
    kinds: Mapping[str, tuple[str, ...]]
    providers: tuple[str, ...] = ("cpu",)
    makers: tuple[str, ...] = ()


_BOTH = ("cpu", "cuda")
_EAGER = {"forward": READING, "write": WRITING}
_OPTIMUM = {"forward": READING, "texts": PIPELINES, "write": WRITING}
BARE = {"forward": READING}
_TEXTS = {"texts": PIPELINES}
_VECTORS = {"texts": ("sentence-embedding",)}
_HIDDEN = {"forward": ("feature-extraction", "sentence-embedding"), "write": WRITING}
_DECODER = {"write": ("text-generation",)}


def _made(name: str, program: str, precision: str, kinds: Mapping[str, tuple[str, ...]]) -> Contender:
    """One of a program that makes its own files."""
    return Contender(name, program, precision, kinds, makers=(program,))


AGAINST: dict[str, tuple[Contender, ...]] = {
    "torch": (Contender("eager fp32", "torch_eager", "fp32", _EAGER, _BOTH),),
    "torch-bf16": (Contender("eager bf16", "torch_eager", "bf16", _EAGER, _BOTH),),
    "torch-compile": (Contender("torch.compile fp32", "torch_eager", "compiled", BARE, _BOTH),),
    "pipeline": (
        Contender("transformers pipeline fp32", "torch_pipeline", "fp32", _TEXTS, _BOTH),
        Contender("transformers pipeline bf16", "torch_pipeline", "bf16", _TEXTS, _BOTH),
    ),
    "onnxruntime": (
        Contender("ONNX Runtime fp32", "onnxruntime_bare", "fp32", BARE, _BOTH, makers=("onnxruntime_bare",)),
    ),
    "optimum": (
        _made("optimum fp32", "optimum_onnx", "fp32", _OPTIMUM),
        _made("optimum int8, per channel", "optimum_onnx", "int8-per-channel", _OPTIMUM),
        _made("optimum int8, per tensor", "optimum_onnx", "int8-per-tensor", _OPTIMUM),
    ),
    "openvino": (
        _made("OpenVINO fp32", "openvino_nncf", "fp32", BARE),
        _made("OpenVINO bf16", "openvino_nncf", "bf16", BARE),
        _made("OpenVINO int8", "openvino_nncf", "int8", BARE),
    ),
    "ctranslate2": (
        _made("CTranslate2 fp32", "ctranslate2_model", "fp32", _HIDDEN),
        _made("CTranslate2 int8", "ctranslate2_model", "int8", _HIDDEN),
    ),
    "genai": (
        _made("onnxruntime-genai fp32", "onnxruntime_genai_model", "fp32", _DECODER),
        _made("onnxruntime-genai int4", "onnxruntime_genai_model", "int4", _DECODER),
    ),
    "sentence-transformers": (
        Contender("sentence-transformers fp32", "sentence_transformers_model", "fp32", _VECTORS),
    ),
    "fastembed": (
        Contender(
            "fastembed fp32", "fastembed_model", "fp32", _VECTORS, makers=("onnxruntime_bare", "fastembed_model")
        ),
    ),
}
"""Contenders by tool. Eager PyTorch comes first: it is the reference of all others."""

ALL = "all"

OWN_PROGRAM = "ortolan_artifact"

OWN = {"forward": READING, "texts": READING, "write": WRITING}


def asked_for(against: Sequence[str]) -> tuple[Contender, ...]:
    """Find the contenders of some tools, in the order of the registry.

    Args:
        against: Names of tools; "all" for all of them.

    Raises:
        ConfigError: No such tool.
    """
    unknown = [name for name in against if name not in AGAINST and name != ALL]
    if unknown:
        raise ConfigError(f"--against {unknown[0]} requested", "no such contender", f"use {', '.join([*AGAINST, ALL])}")
    return tuple(one for tool, found in AGAINST.items() if ALL in against or tool in against for one in found)


def own(precisions: Sequence[str]) -> tuple[Contender, ...]:
    """Make the contenders that an artifact is: one for each of its precisions."""
    return tuple(Contender(f"Ortolan {one}", OWN_PROGRAM, one, OWN, _BOTH) for one in precisions)
