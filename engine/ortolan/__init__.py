"""Ortolan runs transformers models on ONNX Runtime, without torch.

import ortolan

pipe = ortolan.pipeline("sentiment-analysis")
pipe("We are very happy to show you this.")
"""

from ortolan.artifact import Artifact
from ortolan.choice import Choice, Way
from ortolan.errors import (
    ArtifactError,
    ConfigError,
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
    RequestError,
    SessionError,
    ShapeError,
    SignatureError,
    TruncatedWarning,
    UnknownTaskError,
    UnverifiedWarning,
)
from ortolan.model import Model, ModelOutput
from ortolan.pipeline import Pipeline, pipeline
from ortolan.tokenize import Tokenizer
from ortolan.tune.api import tune
from ortolan.verify import Check, verify
from ortolan.version import __version__

__all__ = [
    "Artifact",
    "ArtifactError",
    "Check",
    "Choice",
    "ConfigError",
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
    "RequestError",
    "SessionError",
    "ShapeError",
    "SignatureError",
    "Tokenizer",
    "TruncatedWarning",
    "UnknownTaskError",
    "UnverifiedWarning",
    "Way",
    "__version__",
    "pipeline",
    "tune",
    "verify",
]
