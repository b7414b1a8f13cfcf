"""Contenders side by side: made, compared, and timed in turns, each in a process of its own.

All get the same token ids or texts and the same number of threads. They take turns, in another order in each round: the
others are idle while one is timed. A round goes through all cases. Times are taken within the processes.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ortolan.bench.records import Case, Group, Missing, Quality, Samples, Work
from ortolan.progress import say, track
from ortolan.timing import WARM_UP_SECONDS
from ortolan_exporters.contenders import likeness
from ortolan_exporters.contenders.environments import InstallError, python_of
from ortolan_exporters.contenders.process import Process, WorkerError
from ortolan_exporters.contenders.registry import OWN_PROGRAM, Contender
from ortolan_exporters.contenders.serving import KINDS, Feed, Job, Writing
from ortolan_exporters.contenders.subject import Subject, group_of

REST_SECONDS = 0.1  # ONNX Runtime's threads were seen to spin for 40 ms of processor time after a call
CALLS = 3
WRITTEN = 32
"""Tokens of each text that is written."""

BEAMS = 4
REFERENCE = "eager fp32"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a race is run.

    Attributes:
        folder: Where tools keep what they make.
        logs: Where their words go.
        threads: Of every contender.
        rounds: How often each one's turn comes.
        provider: "cpu" or "cuda".
        kinds: What is asked of those that can do it.
        written: Tokens of each text that is written.
        calibration: Feeds that others calibrate on; without any, the texts that are compared.
    """

    folder: Path
    logs: Path
    threads: int
    rounds: int
    provider: str = "cpu"
    kinds: tuple[str, ...] = KINDS
    written: int = WRITTEN
    calibration: tuple[Feed, ...] = ()


@dataclass(slots=True)
class Racer:
    """A contender that runs, or has been found not to.

    Attributes:
        contender: Which one.
        process: Its process.
        kinds: What it was loaded for.
        quality: How like the reference it answers, by kind.
    """

    contender: Contender
    process: Process
    kinds: list[str] = field(default_factory=list)
    quality: dict[str, Quality] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Heat:
    """One case: what is asked, and how its times are read."""

    kind: str
    group: Group
    name: str
    asked: Any
    tokens: int
    rows: int
    work: Callable[[str], Work | None] = lambda _: None

    @property
    def calls(self) -> int:
        """Timed calls of a turn: a text that is written takes long."""
        return 1 if self.kind == "write" else CALLS

    @property
    def warm_up_rounds(self) -> int:
        """Rounds that are not counted."""
        return 1 if self.kind == "write" else 0

    @property
    def warm_up_seconds(self) -> float:
        """Uncounted calls before them; for texts that are written a first round is not counted instead."""
        return 0.0 if self.kind == "write" else WARM_UP_SECONDS


class Race:
    """Contenders of one subject, in a `with` statement, at the end of which their processes end.

    Attributes:
        racers: Those that run.
        missing: Why others don't.
        versions: Of packages, by the first word of a contender's name.
    """

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.racers: dict[str, Racer] = {}
        self.missing: list[Missing] = []
        self.versions: dict[str, dict[str, str]] = {}
        self._subject = subject
        self._settings = settings
        self._stack = ExitStack()

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def prepare(self, contenders: Sequence[Contender]) -> None:
        """Let all tools make their files, then start and load what could be made, and compare the answers.

        Files are made in processes that end before anything is timed.
        """
        for one in [one for one in contenders if self._make(one)]:
            self._start(one)
        self._compare()

    def heats(self) -> list[Heat]:
        """List the cases that somebody can run."""
        kinds = {kind for one in self.racers.values() for kind in one.kinds}
        return [heat for heat in heats(self._subject, self._settings.written) if heat.kind in kinds]

    def run(self, heats: Sequence[Heat]) -> list[Case]:
        """Time cases, and say for each contender that could do one what came of it."""
        taken = self.turns(heats)
        load = load_average()
        return [case for heat in heats for case in self._cases(heat, taken[heat.name], load)]

    def _cases(self, heat: Heat, taken: Mapping[str, list[Samples]], load: float) -> list[Case]:
        named = _reference([self.racers[name] for name in taken])
        found = [_case(self._subject, heat, self.racers[name], rounds, load) for name, rounds in taken.items()]
        if named is None or named.contender.name == REFERENCE:
            return found
        return [replace(case, reference=named.contender.name) for case in found]

    def turns(self, heats: Sequence[Heat]) -> dict[str, dict[str, list[Samples]]]:
        """Time cases: in each round all of them, one after the other, and in each case all contenders.

        So the rounds of a case lie minutes apart, and what they have in common is not a minute of the machine.

        Returns:
            Milliseconds of each call of each round, by case and contender. A contender that fails goes to `missing`;
            the others go on.
        """
        taken: dict[str, dict[str, list[Samples]]] = {
            heat.name: {name: [] for name, one in self.racers.items() if heat.kind in one.kinds} for heat in heats
        }
        warm_ups = max((heat.warm_up_rounds for heat in heats), default=0)
        draw = random.Random(0)
        for number in track(range(self._settings.rounds + warm_ups), f"{self._subject.name}, rounds"):
            for heat in heats:
                if number >= warm_ups - heat.warm_up_rounds:
                    self._round(heat, taken[heat.name], draw, counts=number >= warm_ups)
        return taken

    def _round(self, heat: Heat, taken: dict[str, list[Samples]], draw: random.Random, *, counts: bool) -> None:
        """Let all have their turn in one case, in an order of no meaning."""
        for name in draw.sample(list(taken), len(taken)):
            time.sleep(REST_SECONDS)
            if (spent := self._turn(self.racers[name], heat)) is None:
                del taken[name]
            elif counts:
                taken[name].append(spent)

    def _turn(self, racer: Racer, heat: Heat) -> Samples | None:
        try:
            spent = racer.process.ask("time", heat.asked, heat.calls, heat.warm_up_seconds, heat.kind)
        except WorkerError as error:
            self._lose(racer.contender.name, f"{heat.name}: {error}")
            return None
        return tuple(spent)

    def _make(self, contender: Contender) -> bool:
        if reason := self._refusal(contender):
            self._lose(contender.name, reason)
            return False
        try:
            for program in contender.makers:
                say(f"making {contender.name}")
                with self._process(program, contender) as process:
                    process.ask("make", self.job(contender))
        except (InstallError, WorkerError) as error:
            self._lose(contender.name, str(error))
            return False
        return True

    def _refusal(self, contender: Contender) -> str:
        """Say why a contender is not even tried."""
        if not self._kinds(contender):
            return f"it has nothing for {self._subject.task}"
        if self._settings.provider not in contender.providers:
            return f"it is not raced on {self._settings.provider}"
        return ""

    def _kinds(self, contender: Contender) -> list[str]:
        return [kind for kind in self._settings.kinds if self._subject.task in contender.kinds.get(kind, ())]

    def _start(self, contender: Contender) -> None:
        say(f"loading {contender.name}")
        try:
            process = self._stack.enter_context(self._process(contender.program, contender))
        except InstallError as error:
            self._lose(contender.name, str(error))
            return
        racer = Racer(contender, process)
        self.racers[contender.name] = racer
        for kind in self._kinds(contender):
            try:
                process.ask("load", self.job(contender, kind))
                racer.kinds.append(kind)
            except WorkerError as error:
                self._lose(contender.name, f"{kind}: {error}")
        if racer.kinds:
            self.versions[contender.name.split()[0]] = process.ask("versions")

    def _compare(self) -> None:
        """Compare the answers with the reference's; who claims fp32 and answers otherwise is not timed."""
        for kind in KINDS:
            racing = [one for one in self.racers.values() if kind in one.kinds]
            reference = _reference(racing)
            if reference is None:
                continue
            try:
                expected = self._answers(reference, kind)
            except WorkerError as error:
                self._drop(reference, [kind], str(error))
                self._compare()
                return
            for racer in racing:
                self._judge(racer, kind, expected, is_reference=racer is reference)

    def _judge(self, racer: Racer, kind: str, expected: Any, *, is_reference: bool) -> None:
        try:
            found = expected if is_reference else self._answers(racer, kind)
            quality = self._likeness(kind, found, expected)
        except (WorkerError, ValueError) as error:
            self._drop(racer, [kind], str(error))
            return
        racer.quality[kind] = quality
        largest = max(float(np.abs(one).max()) for one in expected) if kind == "forward" else 1.0
        fault = likeness.fault_of(kind, quality, largest) if _is_exact(racer.contender) else ""
        if fault:
            self._drop(racer, [kind], fault)

    def _likeness(self, kind: str, found: Any, expected: Any) -> Quality:
        if kind == "forward":
            return likeness.of_outputs(self._subject.task, found, expected, self._subject.sentences())
        return likeness.of_answers(found, expected) if kind == "texts" else likeness.of_texts(found, expected)

    def _answers(self, racer: Racer, kind: str) -> Any:
        subject = self._subject
        if kind == "forward":
            return [racer.process.ask("run", feed, kind) for feed in subject.sentences()]
        if kind == "texts":
            return racer.process.ask("run", subject.texts, kind)
        return racer.process.ask("run", Writing(subject.prompts(*subject.shapes[-1]), self._settings.written), kind)

    def _drop(self, racer: Racer, kinds: Sequence[str], reason: str) -> None:
        racer.kinds = [kind for kind in racer.kinds if kind not in kinds]
        self._lose(racer.contender.name, f"{', '.join(kinds)}: {reason}")

    def _lose(self, name: str, reason: str) -> None:
        if self._subject.checkpoint is not None:  # a record that is passed on names no folder of this machine
            reason = reason.replace(str(self._subject.checkpoint), self._subject.checkpoint.name)
        say(f"{name} is missing: {reason}")
        self.missing.append(Missing(subject=self._subject.name, contender=name, reason=reason))

    def _process(self, program: str, contender: Contender) -> Process:
        log = self._settings.logs / f"{program}-{contender.precision}.log"
        return Process(python_of(program), program, log)

    def job(self, contender: Contender, kind: str = "forward") -> Job:
        """Say what a contender is made of and how it runs."""
        settings, subject = self._settings, self._subject
        maker = (*contender.makers, contender.program)[0]
        own = subject.artifact.folder.resolve()
        return Job(
            checkpoint=str(subject.checkpoint or ""),
            folder=str(own if maker == OWN_PROGRAM else settings.folder / maker),
            precision=contender.precision,
            threads=settings.threads,
            texts="",
            calibration=list(settings.calibration) or subject.sentences(rows=1),
            task=subject.task,
            kind=kind,
            provider=settings.provider,
        )


def load_average() -> float:
    """How many threads wanted to run, in the mean over the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def heats(subject: Subject, written: int = WRITTEN) -> list[Heat]:
    """List what a subject is asked: bare calls and texts, or so many tokens to be written to each prompt."""
    if subject.writes:
        return [
            _writing_heat(subject, rows, length, beams, written)
            for beams in ((1, BEAMS) if subject.has_encoder else (1,))
            for rows, length in subject.shapes
        ]
    bare = [
        Heat(
            "forward",
            group_of(rows),
            f"{rows}x{length}",
            subject.feed(rows, length),
            rows * length,
            rows,
            lambda precision, rows=rows, length=length: subject.work(precision, rows, length),  # type: ignore[misc]
        )
        for rows, length in subject.shapes
    ]
    tokens = sum(len(one.ids) for one in subject.encodings)
    count = len(subject.texts)
    return [*bare, Heat("texts", "mixed", f"{count} texts", subject.texts, tokens, count)]


def _writing_heat(subject: Subject, rows: int, length: int, beams: int, written: int) -> Heat:
    texts = f"{rows} text{'s' * (rows != 1)} of {length}+{written}"
    name = texts + (f", {beams} beams" if beams > 1 else "")
    asked = Writing(subject.prompts(rows, length), written, beams)
    return Heat("write", "generation", name, asked, rows * written, rows)


def _case(subject: Subject, heat: Heat, racer: Racer, rounds: Sequence[Samples], load: float) -> Case:
    case = Case(
        group=heat.group,
        subject=subject.name,
        case=heat.name,
        contender=racer.contender.name,
        unit="ms",
        better="less",
        rounds=tuple(rounds),
        load_average=load,
        work=heat.work(_width(racer.contender)),
        quality=racer.quality.get(heat.kind),
        tokens=heat.tokens,
        rows=heat.rows,
    )
    if heat.kind != "write":
        return case
    speeds = tuple(tuple(1e3 * heat.tokens / one for one in taken) for taken in rounds)
    return replace(case, unit="tok/s", better="more", rounds=speeds)


def _reference(racing: Sequence[Racer]) -> Racer | None:
    """Eager PyTorch, else one in fp32, else the first."""
    ranked = sorted(
        racing,
        key=lambda one: (one.contender.name != REFERENCE, not _is_exact(one.contender)),
    )
    return ranked[0] if ranked else None


def _is_exact(contender: Contender) -> bool:
    return _width(contender) == "fp32"


def _width(contender: Contender) -> str:
    """The precision of a contender's weights, in Ortolan's words."""
    precision = contender.precision
    return "fp32" if precision == "compiled" else precision.removesuffix("-per-channel").removesuffix("-per-tensor")
