"""Every error Ortolan raises, sorted by who can act on it.

OrtolanError
  EngineError
    RequestError         the caller can fix it
      InvalidInputError    wrong type, empty, or not encodable as UTF-8
      InputTooLongError    more tokens than the model has positions for
      UnknownTaskError     no such task, or not one that this artifact serves
      UnknownModelError    no model of that name in an engine
    CapacityError        the caller can try again
      QueueFullError       as many requests wait as may
      DeadlineError        no answer in time
      ClosedError          the engine does not take requests, or stopped before an answer
    ArtifactError        the operator can fix it
      MissingFileError     a file or folder is not there
      HashMismatchError    a file is not the one that was exported
      FormatVersionError   the manifest is of a newer format, or is not one at all
      SignatureError       graph and manifest disagree on inputs or outputs
      ProviderError        an execution provider, or ONNX Runtime itself, does not come up
    InferenceError       we must look
      SessionError         ONNX Runtime failed while running a graph
      ShapeError           arrays disagree on an axis
      NonFiniteError       NaN or infinity among the outputs
    ConfigError          an option has a value that is not allowed
  ExportError            see `ortolan_exporters.errors`

UnverifiedWarning is no error: a model was loaded of which nothing is known. Nor is TruncatedWarning: the end of a text
was left out, as transformers does, which does not say so.
"""

from __future__ import annotations

import sys
import warnings


class OrtolanError(Exception):
    """Base of everything Ortolan raises on purpose.

    Args:
        asked: What was wanted, in the words of the caller.
        found: What there was instead.
        remedy: What to do now.

    The message joins the three; each is also an attribute.
    """

    def __init__(self, asked: str, found: str, remedy: str) -> None:
        super().__init__(f"{asked}, {found}; {remedy}")
        self.asked = asked
        self.found = found
        self.remedy = remedy

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with the joined message; errors must survive pickling between processes.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(kind: type[OrtolanError], args: tuple[object, ...], state: dict[str, object]) -> OrtolanError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class EngineError(OrtolanError):
    """Base of the errors of the runtime."""


class RequestError(EngineError):
    """The caller can fix it by sending something else."""


class InvalidInputError(RequestError):
    """An input of the wrong type, without content, or that is not text at all.

    Attributes:
        index: Position of the offending element when a list was given, else None.
    """

    def __init__(self, asked: str, found: str, remedy: str, *, index: int | None = None) -> None:
        super().__init__(asked if index is None else f"{asked} at index {index}", found, remedy)
        self.index = index


class InputTooLongError(RequestError):
    """A text has more tokens (or characters) than may be processed.

    Attributes:
        length: Length found.
        max_length: Length allowed, in the same unit.
        index: Position of the offending element when a list was given, else None.
    """

    def __init__(
        self, asked: str, found: str, remedy: str, *, length: int, max_length: int, index: int | None = None
    ) -> None:
        super().__init__(asked if index is None else f"{asked} at index {index}", found, remedy)
        self.length = length
        self.max_length = max_length
        self.index = index


class UnknownTaskError(RequestError):
    """A task that does not exist, or that the opened artifact cannot serve."""


class UnknownModelError(RequestError):
    """An engine has no model of that name, or several, and none was named."""


class CapacityError(EngineError):
    """Nothing is wrong with the request: the caller can try again."""


class QueueFullError(CapacityError):
    """As many texts wait for an answer as may.

    Attributes:
        retry_after_ms: When there is likely room again, in milliseconds from now.
    """

    def __init__(self, asked: str, found: str, remedy: str, *, retry_after_ms: float) -> None:
        super().__init__(asked, found, remedy)
        self.retry_after_ms = retry_after_ms


class DeadlineError(CapacityError):
    """A request could not be answered before its deadline.

    Attributes:
        deadline_ms: The deadline, in milliseconds from when the request came.
    """

    def __init__(self, asked: str, found: str, remedy: str, *, deadline_ms: float) -> None:
        super().__init__(asked, found, remedy)
        self.deadline_ms = deadline_ms


class ClosedError(CapacityError):
    """The engine is not started, or is closed: the request was not taken, or not answered."""


class ArtifactError(EngineError):
    """The operator can fix it: files, versions, providers."""


class MissingFileError(ArtifactError):
    """A file or folder that is needed is not there."""


class HashMismatchError(ArtifactError):
    """A file differs from the one the manifest was written for."""


class FormatVersionError(ArtifactError):
    """The manifest comes from a newer release, or cannot be understood."""


class SignatureError(ArtifactError):
    """The inputs or outputs of a graph are not those its manifest declares."""


class ProviderError(ArtifactError):
    """An execution provider, or ONNX Runtime as a whole, is not usable here."""


class InferenceError(EngineError):
    """Something failed that neither caller nor operator can be blamed for."""


class SessionError(InferenceError):
    """ONNX Runtime raised while it loaded or ran a graph."""


class ShapeError(InferenceError):
    """Two arrays that belong together disagree on the length of an axis."""


class NonFiniteError(InferenceError):
    """The graph answered with NaN or infinity."""


class ConfigError(EngineError):
    """An option has a value that is not allowed."""


class UnverifiedWarning(UserWarning):
    """A model runs that another tool exported: nobody compared its answers with those of the original."""


class TruncatedWarning(UserWarning):
    """A text is longer than the model reads, and the task cuts it where the caller did not say what to do."""


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn whoever called this package, however deep the call has come."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "ortolan":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
