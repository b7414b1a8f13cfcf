"""Question: what does a run of the suite share: its record, its contenders, how often each one's turn comes?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peer_models import CALIBRATION, texts_of
from benchmarks.record import OUT
from benchmarks.suite.races import Raced
from benchmarks.suite.subjects import Model
from benchmarks.suite.tools import PRECISIONS, can
from ortolan.bench.records import Case, Line, Missing
from ortolan.request import TextInput
from ortolan.session.processors import usable_threads
from ortolan_exporters.contenders.race import WRITTEN, Settings, load_average
from ortolan_exporters.contenders.registry import Contender, own
from ortolan_exporters.contenders.subject import open_subject

ROUNDS = 6
"""Intervals of fewer are narrower than they should be. Full runs add cases, not rounds: they take long as it is."""

NUM_CALIBRATION = 300  # as many as NNCF uses by default


@dataclass(frozen=True)
class Suite:
    """A run of the suite.

    Attributes:
        is_full: Whether it is that of `make bench-full`.
        rounds: How often each contender's turn comes.
        others: Who is raced beside Ortolan.
        write: Takes the lines of the record.
        asked: Names of cases that were chosen, of all files.
    """

    is_full: bool
    rounds: int
    others: Sequence[Contender]
    write: Callable[[Line], None]
    asked: Collection[str]

    def race(
        self,
        model: Model,
        kind: str,
        *,
        shapes: Sequence[tuple[int, int]] = (),
        texts: Sequence[TextInput] = (),
        written: int = WRITTEN,
    ) -> Raced:
        """Prepare a race of all that can be asked of a model in one way.

        Args:
            model: Which one.
            kind: One of `serving.KINDS`.
            shapes: Texts x tokens, of bare calls or of prompts.
            texts: What pipelines answer, and what answers are compared on.
            written: Tokens of each text that is written.
        """
        subject = open_subject(model.artifact, texts=texts, shapes=shapes, checkpoint=model.source)
        calibration = () if subject.writes else subject.feeds(texts_of(CALIBRATION, NUM_CALIBRATION), rows=1)
        settings = Settings(
            folder=model.folder,
            logs=OUT / "logs" / f"suite-{model.folder.name}-{kind}",
            threads=usable_threads(),
            rounds=self.rounds,
            kinds=(kind,),
            written=written,
            calibration=tuple(calibration),
        )
        racing = [one for one in (*self.others, *own(PRECISIONS)) if can(one, kind, subject.task)]
        return Raced(model.title, subject, racing, settings, self.write, self.asked)

    def case(self, **fields: Any) -> Case:
        """Write one case; its load average is that of now.

        Args:
            **fields: Of `records.Case`.
        """
        case = Case(load_average=load_average(), **fields)
        self.write(case)
        return case

    def lose(self, subject: str, contender: str, reason: str) -> None:
        """Write that somebody was not measured."""
        self.write(Missing(subject=subject, contender=contender, reason=reason))
