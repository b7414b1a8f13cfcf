"""The race that `ortolan bench` runs: an artifact's precisions, and other tools with the checkpoint it was made of."""

from __future__ import annotations

import datetime as dt
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ortolan.artifact import Artifact
from ortolan.bench.ceilings import measure_ceilings
from ortolan.bench.records import Line, Run
from ortolan.errors import ConfigError
from ortolan.machine import this_machine
from ortolan.progress import say
from ortolan.request import TextInput
from ortolan.session.processors import usable_threads
from ortolan.session.providers import candidates, provider_named
from ortolan.version import __version__
from ortolan_exporters.contenders.heads import asked
from ortolan_exporters.contenders.race import CALLS, REST_SECONDS, WRITTEN, Race, Settings
from ortolan_exporters.contenders.registry import Contender, asked_for, own
from ortolan_exporters.contenders.subject import Subject, find_checkpoint, open_subject

FEWEST_ROUNDS, MOST_ROUNDS = 2, 1000
LOGS = "logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is raced.

    Attributes:
        folder: An artifact.
        against: Tools, by the names of `registry.AGAINST`, or "all".
        texts: The user's own; without them, some that come with Ortolan.
        shapes: B x S of bare calls, or of prompts; by default usual ones.
        rounds: How often each one's turn comes.
        provider: "cpu" or "cuda".
        checkpoint: Folder or Hub id of what the artifact was made of; by default what its manifest names.
    """

    folder: Path
    against: tuple[str, ...] = ()
    texts: tuple[TextInput, ...] = ()
    shapes: tuple[tuple[int, int], ...] = ()
    rounds: int = 15
    provider: str = "cpu"
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if not FEWEST_ROUNDS <= self.rounds <= MOST_ROUNDS:
            raise ConfigError(
                f"{self.rounds} rounds requested", "that is no race", f"use {FEWEST_ROUNDS} to {MOST_ROUNDS}"
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """A race that can be run.

    Attributes:
        options: What was asked for.
        subject: The artifact, and what is asked of it.
        contenders: Who is asked: others first, then its own precisions.
    """

    options: Options
    subject: Subject
    contenders: tuple[Contender, ...]

    @property
    def inputs(self) -> list[Any]:
        """What the texts are as inputs of a pipeline."""
        return asked(self.subject.task, self.subject.texts)


def plan(options: Options) -> Plan:
    """Find all that a race needs, but for what tools make of a checkpoint.

    Raises:
        ConfigError: An option with a value that is not allowed, or no checkpoint for other tools.
        ProviderError: ONNX Runtime does not have the provider here.
        ArtifactError: The artifact can't be used.
        InvalidInputError: A text that can't be read.
    """
    others = asked_for(options.against)
    candidates(options.provider)
    artifact = Artifact.open(options.folder)
    checkpoint = find_checkpoint(artifact, options.checkpoint) if others else None
    subject = open_subject(options.folder, texts=options.texts, shapes=options.shapes, checkpoint=checkpoint)
    return Plan(options, subject, (*others, *_own(artifact, options.provider)))


def race(planned: Plan, write: Callable[[Line], None]) -> None:
    """Race an artifact's precisions, and other tools.

    Args:
        planned: What is raced.
        write: Takes each line of the record as soon as it is known; the first is the run.
    """
    options, subject = planned.options, planned.subject
    with tempfile.TemporaryDirectory(prefix="ortolan-bench-") as place:
        settings = Settings(
            folder=Path(place).resolve(),
            logs=Path(place).resolve() / LOGS,
            threads=usable_threads(),
            rounds=options.rounds,
            provider=options.provider,
        )
        with Race(subject, settings) as found:
            found.prepare(planned.contenders)
            write(first_line(planned, found.versions))
            if options.provider == "cpu":
                say("measuring what the machine can do at most")
                ceilings, missing = measure_ceilings(settings.threads)
                for ceiling in ceilings:
                    write(ceiling)
                found.missing += missing
            for case in found.run(found.heats()):
                write(case)
            for line in found.missing:
                write(line)


def _own(artifact: Artifact, provider: str) -> tuple[Contender, ...]:
    """The precisions that a provider runs."""
    runs = provider_named(provider).precisions
    precisions = [name for name in artifact.manifest.precisions if name in runs]
    if not precisions:
        raise ConfigError(
            f"a benchmark on {provider} requested",
            f"the artifact holds {', '.join(artifact.manifest.precisions)}, none of which runs there",
            f"export it with one of {', '.join(runs)}",
        )
    return own(precisions)


def first_line(planned: Plan, versions: dict[str, dict[str, str]]) -> Run:
    """Say what is run where, for the first line of a record.

    Args:
        planned: What is raced.
        versions: Of packages, by the first word of a contender's name.
    """
    options, subject = planned.options, planned.subject
    settings = {
        "model": subject.name,
        "task": subject.task,
        "provider": options.provider,
        "against": list(options.against),
        "rounds": options.rounds,
        "calls": CALLS,
        "rest_seconds": REST_SECONDS,
        "written_tokens": WRITTEN,
        "texts": len(subject.texts),
    }
    return run_here(settings, versions)


def run_here(settings: Mapping[str, Any], versions: Mapping[str, Mapping[str, str]]) -> Run:
    """Say with what a run is made that begins now, on this machine.

    Args:
        settings: What was chosen.
        versions: Of packages, by the word or words with which a contender's name begins.
    """
    machine = this_machine()
    return Run(
        commit=_commit(),
        started=dt.datetime.now().astimezone().isoformat(timespec="seconds"),
        processor=machine.processor,
        cpu_features=machine.features,
        threads=machine.num_threads,
        system=machine.system,
        versions=versions,
        settings=settings,
    )


def _commit() -> str:
    """Describe the checkout that this runs from; the version outside of one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return f"v{__version__}"
    words = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return "unknown"
    return done.stdout.strip() or "unknown"
