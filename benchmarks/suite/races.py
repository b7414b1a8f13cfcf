"""Question: how is a race run for the cases that are asked for, and how does pytest-benchmark come to its samples?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

from ortolan.bench.records import Case, Line
from ortolan_exporters.contenders.race import Race, Settings
from ortolan_exporters.contenders.registry import Contender
from ortolan_exporters.contenders.subject import Subject


class Clock:
    """A clock that goes only when it is told to: contenders have timed themselves, in turns, before it is read."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        """Seconds since the beginning."""
        return self._seconds

    def go(self, seconds: float) -> None:
        """Let time pass."""
        self._seconds += seconds


CLOCK = Clock()
"""That of pytest-benchmark in the suite."""


def seconds_of(case: Case) -> list[float]:
    """Say how long each call of a case took; a rate of tokens is that of a call that writes `tokens`."""
    if case.unit == "tok/s":
        return [(case.tokens or 1) / sample for sample in case.samples]
    per_second = {"ms": 1e3, "s": 1.0}[case.unit]
    return [sample / per_second for sample in case.samples]


@dataclass
class Raced:
    """A race that is run when one of its cases is asked for the first time, in a `with` statement.

    Attributes:
        title: What the record calls the subject.
        subject: What is raced.
        contenders: Who.
        settings: How.
        write: Takes the lines of the record.
        asked: Beginnings of the names of cases that will be asked for, which are then run in the same rounds.
    """

    title: str
    subject: Subject
    contenders: Sequence[Contender]
    settings: Settings
    write: Callable[[Line], None]
    asked: Collection[str] = ()
    _found: dict[str, list[Case]] = field(default_factory=dict)
    _race: Race = field(init=False)

    def __enter__(self) -> Raced:
        self._race = Race(self.subject, self.settings)
        try:
            self._race.prepare(self.contenders)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._race.__exit__(kind, error, at)
        for line in self._race.missing:
            self.write(replace(line, subject=self.title))

    def cases(self, name: str) -> list[Case]:
        """Run a case, such as "1x16", and all that will be asked for, unless that is done; nothing if nobody can."""
        if name not in self._found:
            wanted = (name, *self.asked)
            heats = [one for one in self._race.heats() if one.name.startswith(wanted) and one.name not in self._found]
            self._found |= {name: [], **{heat.name: [] for heat in heats}}
            for case in self._race.run(heats):
                self._found[case.case].append(replace(case, subject=self.title))
                self.write(self._found[case.case][-1])
        return self._found[name]

    def reason(self, contender: str) -> str:
        """Say why somebody was not measured."""
        reasons = [line.reason for line in self._race.missing if line.contender == contender]
        return "; ".join(reasons) or f"it has nothing for {self.subject.task}"
