"""Ortolan runs transformers models on ONNX Runtime, without torch.

import ortolan

pipe = ortolan.pipeline("sentiment-analysis")
pipe("We are very happy to show you this.")
"""

import typing

from ortolan.artifact import Artifact
from ortolan.choice import Choice, Way
from ortolan.config import BatchingConfig
from ortolan.errors import (
    ArtifactError,
    CapacityError,
    ClosedError,
    ConfigError,
    DeadlineError,
    EngineError,
    FormatVersionError,
    HashMismatchError,
    InferenceError,
    InputTooLongError,
    InvalidInputError,
    MissingFileError,
    NonFiniteError,
    OrtolanError,
    ProviderError,
    QueueFullError,
    RequestError,
    SessionError,
    ShapeError,
    SignatureError,
    TruncatedWarning,
    UnknownModelError,
    UnknownTaskError,
    UnverifiedWarning,
)
from ortolan.model import Model, ModelOutput
from ortolan.pipeline import Pipeline, pipeline
from ortolan.response import Response, Timing
from ortolan.tokenize import Tokenizer
from ortolan.tune.api import tune
from ortolan.verify import Check, verify
from ortolan.version import __version__

if typing.TYPE_CHECKING:
    from ortolan.engine import Engine

__all__ = [
    "Artifact",
    "ArtifactError",
    "BatchingConfig",
    "CapacityError",
    "Check",
    "Choice",
    "ClosedError",
    "ConfigError",
    "DeadlineError",
    "Engine",
    "EngineError",
    "FormatVersionError",
    "HashMismatchError",
    "InferenceError",
    "InputTooLongError",
    "InvalidInputError",
    "MissingFileError",
    "Model",
    "ModelOutput",
    "NonFiniteError",
    "OrtolanError",
    "Pipeline",
    "ProviderError",
    "QueueFullError",
    "RequestError",
    "Response",
    "SessionError",
    "ShapeError",
    "SignatureError",
    "Timing",
    "Tokenizer",
    "TruncatedWarning",
    "UnknownModelError",
    "UnknownTaskError",
    "UnverifiedWarning",
    "Way",
    "__version__",
    "pipeline",
    "tune",
    "verify",
]


def __getattr__(name: str) -> typing.Any:
    if name == "Engine":  # loads asyncio, which would double the time of this import for those who have no use for it
        from ortolan.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
