"""`ortolan.json`: what an artifact says of itself. Written by the exporter, read here, in the same types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from ortolan.config import PRECISIONS, Precision
from ortolan.errors import ArtifactError, FormatVersionError
from ortolan.request import TextInput
from ortolan.session.base import Signature, TensorSpec

MANIFEST_NAME = "ortolan.json"
FORMAT_VERSION = 3
"""Raised when an older reader could no longer understand a manifest. Old formats are read for ever."""

EXPORT_AGAIN = "export the checkpoint again"

ROLES = ({"model"}, {"encoder", "decoder"}, {"encoder", "decoder", "decoder_with_past"})
"""Which graphs a precision may consist of."""

LAYOUTS = ("fused", "portable")
"""Fused operators of ONNX Runtime over a cache that is written in place; or optimum's layout and standard operators."""

QUALITY_NUMBERS = {
    "labels": ("label_agreement", "mean_probability_difference", "max_probability_difference"),
    "cosine": ("mean_cosine", "min_cosine"),
}
"""What a record of quality holds beside the number of texts, for each way to measure it."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file was when it was exported."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX file.

    Attributes:
        file: Path inside the artifact.
        signature: Its inputs and outputs.
    """

    file: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class GoldenOutputs:
    """What a precision answered to the golden inputs when it was exported.

    Attributes:
        values: For each golden input a sample of its outputs, as `golden_sample` takes it.
        tolerance: Largest difference that another machine may show.
    """

    values: list[list[float]]
    tolerance: float


@dataclass(frozen=True, slots=True)
class PrecisionRecord:
    """One precision of the model, with the evidence for it.

    Attributes:
        graphs: The graphs it needs, by role: "model", or "encoder" and "decoder", perhaps with "decoder_with_past".
        providers: For each provider measured: attention form, disabled optimizers and the times that decided.
        parity: Differences to torch.
        quality: How the answers differ from torch's: its `measure` says whether as labels or as directions of
            vectors ("cosine"). The metric on labelled data, if there was any.
        kept_fp32: Layers that were left in fp32 to pass the gate.
        cpu_features: Instruction sets of the machine that measured.
        golden: Replayed by `ortolan verify`.
        forms: Graphs with other forms of attention that were kept for `ortolan tune`, by name of the form.
    """

    graphs: Mapping[str, Graph]
    providers: Mapping[str, Mapping[str, Any]]
    parity: Mapping[str, Any]
    quality: Mapping[str, Any]
    kept_fp32: tuple[str, ...]
    cpu_features: tuple[str, ...]
    golden: GoldenOutputs
    forms: Mapping[str, Graph] = field(default_factory=dict)

    def disabled_optimizers(self, provider: str) -> tuple[str, ...]:
        """ONNX Runtime rewrites that slow this graph down on a provider; none where nothing was measured."""
        return tuple(self.providers.get(provider, {}).get("disabled_optimizers", ()))


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything known about an artifact.

    Attributes:
        task: Name of the task its head serves.
        architecture: `model_type` of its config.
        source: Where it came from: name, revision, parameters.
        max_length: Most tokens the model has positions for.
        versions: Versions of what made it.
        precisions: One record each.
        golden_inputs: Texts that every precision was run on, with their token ids.
        files: Hash and size of every other file.
        ortolan: Version of Ortolan that wrote it.
        layout: One of `LAYOUTS`; "" for a folder of another tool.
    """

    task: str
    architecture: str
    source: Mapping[str, Any]
    max_length: int
    versions: Mapping[str, str]
    precisions: Mapping[Precision, PrecisionRecord]
    golden_inputs: tuple[GoldenInput, ...]
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    ortolan: str = ""
    layout: str = ""

    def to_json(self) -> dict[str, Any]:
        """Turn the manifest into what `ortolan.json` holds."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Any, where: str) -> Manifest:
        """Read what `to_json` wrote.

        Args:
            document: Parsed JSON.
            where: Name of the artifact, for messages.

        Raises:
            FormatVersionError: Not a manifest, or one from a newer release.
            ArtifactError: A file name that leads out of the folder.
        """
        version = document.get("format_version") if isinstance(document, dict) else None
        asked = f"artifact '{where}' requested"
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise FormatVersionError(asked, f"{MANIFEST_NAME} is not a manifest of Ortolan", EXPORT_AGAIN)
        if version > FORMAT_VERSION:
            raise FormatVersionError(
                asked,
                f"its manifest has format {version} and this release reads up to {FORMAT_VERSION}",
                "upgrade ortolan",
            )
        try:
            manifest = cls._parse(_from_format_1(document) if version == 1 else document)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise FormatVersionError(asked, f"{MANIFEST_NAME} is damaged ({reason})", EXPORT_AGAIN) from error
        for name in manifest.files:
            _check_inside(name, where)
        return manifest

    @classmethod
    def _parse(cls, document: Mapping[str, Any]) -> Manifest:
        files = {str(name): FileRecord(str(f["sha256"]), int(f["bytes"])) for name, f in document["files"].items()}
        golden_inputs = tuple(_parse_golden_input(golden) for golden in document["golden_inputs"])
        precisions = {
            name: _parse_precision(document["precisions"][name], files, len(golden_inputs))
            for name in PRECISIONS
            if name in document["precisions"]
        }
        _expect(bool(golden_inputs), "it has no golden inputs")
        _expect(bool(precisions), f"it has none of the precisions {', '.join(PRECISIONS)}")
        _expect(isinstance(document["task"], str), "task is not text")
        _expect(int(document["max_length"]) > 0, "max_length is not positive")
        _expect(isinstance(document["source"]["name"], str), "source has no name")
        return cls(
            task=document["task"],
            architecture=str(document["architecture"]),
            source=dict(document["source"]),
            max_length=int(document["max_length"]),
            versions=dict(document["versions"]),
            precisions=precisions,
            golden_inputs=golden_inputs,
            files=files,
            ortolan=str(document["ortolan"]),
            layout=str(document.get("layout", "fused")),
        )


@dataclass(frozen=True, slots=True)
class GoldenInput:
    """A text that every precision was run on.

    Attributes:
        text: The text.
        text_pair: The second text of a pair, or None.
        input_ids: What the tokenizer made of it.
    """

    text: str
    text_pair: str | None
    input_ids: list[int]

    @property
    def input(self) -> TextInput:
        """The text as the runtime takes it."""
        return TextInput(self.text, self.text_pair)


def _expect(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)


def _parse_golden_input(entry: Mapping[str, Any]) -> GoldenInput:
    golden = GoldenInput(**entry)
    _expect(isinstance(golden.text, str), "a golden text is not text")
    _expect(golden.text_pair is None or isinstance(golden.text_pair, str), "a golden text_pair is not text")
    _expect(all(isinstance(number, int) for number in golden.input_ids), "golden input_ids are not whole numbers")
    return golden


def _from_format_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """Bring format 1, which knew classifiers alone, into the present one."""
    precisions = {
        name: {
            **entry,
            "quality": {"measure": "labels", **entry["quality"]},
            "golden": {"values": entry["golden"]["logits"], "tolerance": entry["golden"]["tolerance"]},
            "forms": {},
        }
        for name, entry in document["precisions"].items()
    }
    return {**document, "precisions": precisions}


def _parse_golden_outputs(entry: Mapping[str, Any], num_inputs: int) -> GoldenOutputs:
    values = [[float(value) for value in row] for row in entry["values"]]
    _expect(len(values) == num_inputs, f"{num_inputs} golden inputs have {len(values)} golden outputs")
    _expect(all(values), "a golden output is empty")
    return GoldenOutputs(values, float(entry["tolerance"]))


def _parse_numbers(entry: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Copy a record of measurements, of which these must be numbers."""
    wrong = [name for name in names if not isinstance(entry[name], (int, float))]
    _expect(not wrong, f"no numbers: {', '.join(wrong)}")
    return dict(entry)


def _parse_provider(entry: Mapping[str, Any]) -> dict[str, Any]:
    texts = [entry["attention"], *entry["disabled_optimizers"]]
    _expect(all(isinstance(text, str) for text in texts), "attention and disabled_optimizers are not text")
    return dict(entry)


def _parse_precision(
    entry: Mapping[str, Any], files: Mapping[str, FileRecord], num_golden_inputs: int
) -> PrecisionRecord:
    graphs, forms = _parse_graphs(entry["graphs"]), _parse_graphs(entry["forms"])
    _expect(set(graphs) in ROLES, f"its graphs are {', '.join(graphs) or 'none'}")
    unknown = [graph.file for graph in (*graphs.values(), *forms.values()) if graph.file not in files]
    if unknown:
        raise ValueError(f"no hash for {unknown}")
    return PrecisionRecord(
        graphs=graphs,
        providers={name: _parse_provider(record) for name, record in entry["providers"].items()},
        parity=_parse_numbers(entry["parity"], "max_difference", "batches"),
        quality=_parse_numbers(entry["quality"], "texts", *QUALITY_NUMBERS[entry["quality"]["measure"]]),
        kept_fp32=tuple(str(name) for name in entry["kept_fp32"]),
        cpu_features=tuple(str(name) for name in entry["cpu_features"]),
        golden=_parse_golden_outputs(entry["golden"], num_golden_inputs),
        forms=forms,
    )


def _parse_graphs(entry: Mapping[str, Any]) -> dict[str, Graph]:
    return {name: Graph(graph["file"], _parse_signature(graph["signature"])) for name, graph in entry.items()}


def _parse_signature(entry: Mapping[str, Any]) -> Signature:
    def specs(items: Iterable[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(item["name"], item["dtype"], tuple(item["shape"])) for item in items)

    return Signature(specs(entry["inputs"]), specs(entry["outputs"]))


def _check_inside(name: str, where: str) -> None:
    # A lexical check: in a Hub cache the files themselves are links to a folder of blobs beside this one.
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise ArtifactError(
            f"artifact '{where}' requested", f"its manifest names a file outside the folder: {name!r}", "do not use it"
        )
