"""The record of a benchmark: a file of JSON lines, each of them a run, a ceiling, a case, or what is missing.

Raw samples are kept, never only what was made of them. Lines are written as they are measured, so that a run which is
killed leaves what it has found until then.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, get_args

from ortolan.errors import ArtifactError, ConfigError, FormatVersionError, MissingFileError

FORMAT = 1
"""Format of the lines that are written. Newer ones are refused, older ones are read for ever."""

MAX_BYTES = 256 << 20
"""Size of a record that is read; a full run with all samples takes a few megabytes."""

MAX_LINE_BYTES = 16 << 20
"""Length of one of its lines."""

Group = Literal[
    "latency",
    "throughput",
    "mixed",
    "tokenization",
    "generation",
    "load",
    "server",
    "cold start",
    "memory",
    "export",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""The questions that cases belong to."""

Unit = Literal["ms", "s", "tok/s", "req/s", "MB"]
UNITS: tuple[Unit, ...] = get_args(Unit)

Better = Literal["less", "more"]
"""Which samples are better ones."""

CeilingName = Literal["fp32 product", "bf16 product", "int8 product", "memory"]
CEILINGS: tuple[CeilingName, ...] = get_args(CeilingName)

Samples = tuple[float, ...]
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the measurements were made with.

    Attributes:
        commit: Of Ortolan, as git describes it; "unknown" outside of a checkout.
        started: When, in ISO 8601 with its offset.
        processor: The name its maker gave it.
        cpu_features: Instruction sets that matter to the graphs.
        threads: Threads of every contender.
        system: Operating system and architecture.
        versions: Versions by package, by program: each contender runs in an environment of its own.
        settings: What was chosen: rounds, calls, seeds.
        format: Of the record.
    """

    commit: str
    started: str
    processor: str
    cpu_features: tuple[str, ...]
    threads: int
    system: str
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """A limit of the machine, measured in the same run.

    Attributes:
        name: Which one.
        unit: "GFLOP/s", "GOP/s" or "GB/s".
        samples: What was reached, one for each try; the limit is at least the largest.
    """

    name: CeilingName
    unit: str
    samples: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The least that a call has to do, for the share of the limit that it reaches.

    Attributes:
        flops: Operations of its matrix products; a multiplication and an addition are two.
        bytes: Bytes that have to be read from memory at least, mostly the weights.
    """

    flops: float
    bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How like the reference's the answers are; each is None where it does not apply.

    Attributes:
        same_label: Share of texts with the same label, 0 to 1.
        cosine: Cosine of all outputs.
        difference: Largest difference of an output.
    """

    same_label: float | None = None
    cosine: float | None = None
    difference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One contender in one case.

    Attributes:
        group: Which question it belongs to.
        subject: What runs, such as "DistilBERT-base, random weights".
        case: On what, such as "1x128": rows x tokens.
        contender: Who runs it, such as "Ortolan int8".
        unit: Of the samples.
        better: Whether less of it is better, or more.
        rounds: Samples of each round. Contenders of a case take turns within a round, so that the rounds of two of
            them are pairs.
        load_average: Of the machine over the last minute, when the case was done.
        work: The least that a call has to do; None where nobody knows.
        quality: How right the answers are; None where that was not asked.
        tokens: Tokens of a call, padding left out.
        rows: Texts of a call.
        reference: Contender that the others of this case are compared with; None for that of the whole record.
    """

    group: Group
    subject: str
    case: str
    contender: str
    unit: Unit
    better: Better
    rounds: tuple[Samples, ...]
    load_average: float
    work: Work | None = None
    quality: Quality | None = None
    tokens: int | None = None
    rows: int | None = None
    reference: str | None = None

    @property
    def place(self) -> tuple[Group, str, str]:
        """Group, subject and case: the same for all contenders that were measured side by side."""
        return self.group, self.subject, self.case

    @property
    def samples(self) -> Samples:
        """Those of all rounds."""
        return tuple(sample for taken in self.rounds for sample in taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A contender that was not measured.

    Attributes:
        subject: On what; "" for all subjects.
        contender: Who.
        reason: Why not.
    """

    subject: str
    contender: str
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """All that one run has found."""

    run: Run
    ceilings: tuple[Ceiling, ...] = ()
    cases: tuple[Case, ...] = ()
    missing: tuple[Missing, ...] = ()


Line = Run | Ceiling | Case | Missing
_KINDS: dict[type[Line], str] = {Run: "run", Ceiling: "ceiling", Case: "case", Missing: "missing"}


class RecordWriter:
    """Writes a record line by line; each is in the file when `write` returns."""

    def __init__(self, path: Path) -> None:
        """Begin a record. A file of that name is replaced.

        Raises:
            ConfigError: It can't be written.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("wb")
        except OSError as error:
            raise _not_written(path, error) from error

    def write(self, line: Line) -> None:
        """Append one line. The first one has to be the run.

        Raises:
            ConfigError: It can't be written, or holds NaN or infinity.
        """
        try:
            self._stream.write(to_line(line))
            self._stream.flush()
        except (OSError, ValueError) as error:
            raise _not_written(self._path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def to_line(line: Line) -> bytes:
    """Write one line of a record as JSON, with its end.

    Raises:
        ValueError: It holds NaN or infinity.
    """
    document = {"kind": _KINDS[type(line)], **_plain(line)}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def write_record(record: Record, path: Path) -> None:
    """Write a whole record.

    Raises:
        ConfigError: It can't be written.
    """
    with RecordWriter(path) as writer:
        lines: tuple[Line, ...] = (record.run, *record.ceilings, *record.cases, *record.missing)
        for line in lines:
            writer.write(line)


def read_record(path: Path) -> Record:
    """Read a record.

    What a killed run leaves is a record: a last line that breaks off is left out.

    Raises:
        MissingFileError: There is no such file.
        FormatVersionError: It is of a newer format.
        ArtifactError: It is too large, or a line is not what it should be; the message says which line, and why.
    """
    asked = f"record '{path}' requested"
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ArtifactError(asked, f"it has {size:,} bytes, {MAX_BYTES:,} are read", "keep one run in a record")
        data = path.read_bytes()
    except OSError as error:
        raise MissingFileError(asked, f"it cannot be read ({error})", "name a record that was written") from error
    found: list[Line] = []
    for number, line in enumerate(_whole_lines(data), start=1):
        try:
            found.append(_read_line(line, asked))
            if isinstance(found[-1], Run) != (number == 1):
                raise ValueError("the first line, and no other one, is the run")
        except (ValueError, RecursionError) as error:
            raise ArtifactError(asked, f"line {number} is no line of a record: {error}", "measure again") from error
    if not found or not isinstance(found[0], Run):
        raise ArtifactError(asked, "it is empty", "measure again")
    return Record(
        found[0],
        tuple(one for one in found if isinstance(one, Ceiling)),
        tuple(one for one in found if isinstance(one, Case)),
        tuple(one for one in found if isinstance(one, Missing)),
    )


def _whole_lines(data: bytes) -> list[bytes]:
    *lines, rest = data.split(b"\n")
    try:
        json.loads(rest)
    except (ValueError, RecursionError):
        return lines
    return [*lines, rest]


def _read_line(line: bytes, asked: str) -> Line:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"it has {len(line):,} bytes, {MAX_LINE_BYTES:,} are read")
    document = json.loads(line, parse_constant=_refuse)
    if not isinstance(document, dict):
        raise ValueError(f"it is {type(document).__name__}, not an object")
    fields = _Fields(document)
    readers: dict[str, Callable[[_Fields], Line]] = {
        "run": _read_run,
        "ceiling": _read_ceiling,
        "case": _read_case,
        "missing": _read_missing,
    }
    kind = fields.choice("kind", tuple(readers))
    if kind == "run" and (version := fields.whole("format")) > FORMAT:
        raise FormatVersionError(asked, f"its format is {version}, {FORMAT} is known here", "upgrade ortolan")
    return readers[kind](fields)


def _read_run(fields: _Fields) -> Run:
    versions = fields.mapping("versions")
    return Run(
        commit=fields.text("commit"),
        started=fields.text("started"),
        processor=fields.text("processor"),
        cpu_features=tuple(map(str, fields.items("cpu_features"))),
        threads=fields.whole("threads"),
        system=fields.text("system"),
        versions={program: _Fields(versions).texts(program) for program in versions},
        settings=fields.mapping("settings"),
        format=fields.whole("format"),
    )


def _read_ceiling(fields: _Fields) -> Ceiling:
    return Ceiling(
        name=fields.choice("name", CEILINGS), unit=fields.text("unit"), samples=_samples(fields.items("samples"))
    )


def _read_case(fields: _Fields) -> Case:
    rounds = tuple(_samples(taken) for taken in fields.items("rounds"))
    if not rounds:
        raise ValueError("rounds are empty")
    work, quality = fields.inner("work"), fields.inner("quality")
    return Case(
        group=fields.choice("group", GROUPS),
        subject=fields.text("subject"),
        case=fields.text("case"),
        contender=fields.text("contender"),
        unit=fields.choice("unit", UNITS),
        better=fields.choice("better", get_args(Better)),
        rounds=rounds,
        load_average=fields.number("load_average"),
        work=None if work is None else Work(flops=work.number("flops"), bytes=work.number("bytes")),
        quality=None
        if quality is None
        else Quality(**{name: quality.number(name) for name in _QUALITIES if quality.has(name)}),
        tokens=fields.whole("tokens") if fields.has("tokens") else None,
        rows=fields.whole("rows") if fields.has("rows") else None,
        reference=fields.text("reference") if fields.has("reference") else None,
    )


_QUALITIES = ("same_label", "cosine", "difference")


def _read_missing(fields: _Fields) -> Missing:
    return Missing(**{name: fields.text(name) for name in ("subject", "contender", "reason")})


@dataclass(frozen=True, slots=True)
class _Fields:
    """Takes from a JSON object what has to be there, and says by name what is not as it should be.

    Unknown fields are left alone: they are what a later release of the same format has added.
    """

    document: Mapping[str, Any]

    def has(self, name: str) -> bool:
        return self.document.get(name) is not None

    def text(self, name: str) -> str:
        return self._of(str, name)

    def choice(self, name: str, allowed: Sequence[Value]) -> Value:
        value = self.document.get(name)
        for one in allowed:
            if value == one:
                return one
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(map(str, allowed))}")

    def whole(self, name: str) -> int:
        value = self._of(int, name)
        if isinstance(value, bool) or value < 0:
            raise ValueError(f"{name} is {value!r}")
        return value

    def number(self, name: str) -> float:
        return _number(self.document.get(name), name)

    def items(self, name: str) -> list[Any]:
        return self._of(list, name)

    def mapping(self, name: str) -> dict[str, Any]:
        return self._of(dict, name)

    def texts(self, name: str) -> dict[str, str]:
        return {key: _Fields(self.mapping(name)).text(key) for key in self.mapping(name)}

    def inner(self, name: str) -> _Fields | None:
        return _Fields(self.mapping(name)) if self.has(name) else None

    def _of(self, kind: type[Value], name: str) -> Value:
        value = self.document.get(name)
        if not isinstance(value, kind):
            raise ValueError(f"{name} is {type(value).__name__}, not {kind.__name__}")
        return value


def _samples(values: object) -> Samples:
    if not isinstance(values, list) or not values:
        raise ValueError("samples are not a list with numbers")
    found = tuple(_number(value, "a sample") for value in values)
    if min(found) < 0.0:
        raise ValueError(f"a sample is {min(found)}")
    return found


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r}, not a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name} is not finite")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _plain(line: Line) -> dict[str, Any]:
    """Fields as JSON has them, without those that are None."""
    document = dataclasses.asdict(line)
    return {name: _without_none(value) for name, value in document.items() if value is not None}


def _without_none(value: Any) -> Any:
    return {key: one for key, one in value.items() if one is not None} if isinstance(value, dict) else value


def _not_written(path: Path, error: Exception) -> ConfigError:
    return ConfigError(f"a record in '{path}' requested", f"it cannot be written ({error})", "choose another file")
