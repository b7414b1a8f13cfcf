"""Is an artifact still what was exported, and does it still answer as it did?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ortolan.artifact import Artifact
from ortolan.config import Precision, SessionConfig
from ortolan.errors import ArtifactError, InferenceError, MissingFileError, ProviderError, RequestError
from ortolan.foreign import EXPORT_IT
from ortolan.manifest import MANIFEST_NAME, PrecisionRecord
from ortolan.model import Model, open_session
from ortolan.session.base import Array
from ortolan.session.processors import cpu_features
from ortolan.session.providers import provider_named
from ortolan.tokenize import Tokenizer


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was checked.
        passed: Whether it holds.
        detail: What was found.
    """

    name: str
    passed: bool
    detail: str


def verify(path: str | Path) -> list[Check]:
    """Check every hash of an artifact and replay its golden inputs on the CPU, at each precision.

    Args:
        path: An artifact folder.

    Returns:
        One check for the files, one for the tokenizer, and one for each precision. A failure is a result here.

    Raises:
        MissingFileError: No such folder, or no manifest in it.
        FormatVersionError: A manifest that this release can't read.
        ProviderError: No usable ONNX Runtime.
    """
    artifact = Artifact.open(path)
    manifest = artifact.manifest
    if artifact.is_foreign:
        raise MissingFileError(
            f"verification of '{path}' requested",
            f"the folder has no {MANIFEST_NAME}: there is nothing to verify it against",
            EXPORT_IT,
        )
    checks = []
    try:
        artifact.check()
        checks.append(Check("files", True, f"{len(manifest.files)} files match their SHA-256"))
    except ArtifactError as error:
        checks.append(Check("files", False, error.found))
    try:
        tokenizer = Tokenizer.load(artifact.folder, max_length=manifest.max_length)
        cut = tokenizer.truncation(True, None)  # as at export, where long texts are read up to the model's limit
        encodings = tokenizer.encode([golden.input for golden in manifest.golden_inputs], cut)
    except (ArtifactError, RequestError) as error:
        return [*checks, Check("tokenizer", False, str(error))]
    wrong = [g.text for g, e in zip(manifest.golden_inputs, encodings, strict=True) if g.input_ids != e.ids]
    checks.append(
        Check(
            "tokenizer",
            not wrong,
            f"other ids for {wrong}" if wrong else f"{len(encodings)} golden texts give their ids",
        )
    )
    for name, record in manifest.precisions.items():
        checks.append(_replay(artifact, tokenizer, name, record))
    return checks


def golden_sample(outputs: Mapping[str, Array], count: int) -> list[float]:
    """Take numbers out of the outputs for one text: evenly spread over all of them, all if there are no more.

    Args:
        outputs: Arrays of any shape, in the order of the signature.
        count: How many.
    """
    values = np.concatenate([output.reshape(-1) for output in outputs.values()])
    positions = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(np.int64)
    return [float(value) for value in values[positions]]


def _replay(artifact: Artifact, tokenizer: Tokenizer, precision: Precision, record: PrecisionRecord) -> Check:
    name = f"golden outputs, {precision}"
    cut = tokenizer.truncation(True, None)
    try:
        session = open_session(artifact, provider_named("cpu"), SessionConfig(provider="cpu"), precision)
        model = Model(artifact, tokenizer, session, precision, "verify")
        # one at a time, as they were recorded: int8 results depend on the neighbours in a batch
        rows = [
            golden_sample(model(**tokenizer.pad(tokenizer.encode([golden.input], cut))), len(values))
            for golden, values in zip(artifact.manifest.golden_inputs, record.golden.values, strict=True)
        ]
    except ProviderError:
        raise  # nothing can be said of the artifact
    except (ArtifactError, InferenceError) as error:
        return Check(name, False, str(error))
    lengths, recorded = [len(row) for row in rows], [len(row) for row in record.golden.values]
    if lengths != recorded:
        return Check(name, False, f"{lengths} values, recorded {recorded}")
    difference = float(np.abs(np.concatenate(rows) - np.concatenate(record.golden.values)).max())
    passed = difference <= record.golden.tolerance  # false for NaN
    detail = f"largest difference {difference:.2g}, allowed {record.golden.tolerance:.2g}"
    other = sorted(set(record.cpu_features) - cpu_features())
    if not passed and other:
        detail += f"; this CPU lacks {', '.join(other)} of the one that exported"
    return Check(name, passed, detail)
