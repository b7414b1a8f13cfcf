"""Measure the ways to run an artifact for as long as the caller allows, and keep the best one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ortolan.artifact import Artifact
from ortolan.choice import Choice, Way, choice_file, header, keep_choice
from ortolan.config import SessionConfig
from ortolan.errors import ConfigError, MissingFileError, SessionError
from ortolan.foreign import EXPORT_IT
from ortolan.locate import cache_folder
from ortolan.machine import this_machine
from ortolan.manifest import MANIFEST_NAME
from ortolan.model import Model
from ortolan.progress import say
from ortolan.request import parse_text_input
from ortolan.session.providers import provider_named
from ortolan.tune.measure import OrtBench
from ortolan.tune.measurements import Measurements
from ortolan.tune.options import TuneOptions
from ortolan.tune.report import TuneReport, tuned_ways
from ortolan.tune.search import Search
from ortolan.tune.ways import possible_ways
from ortolan.tune.worth import best_way
from ortolan.version import __version__

BUSY = 0.5
"""Load for each processor from which on other work disturbs the measuring."""


def run(path: str | Path, options: TuneOptions, texts: Sequence[object]) -> TuneReport:
    """Do what `ortolan.tune` says, as the options say."""
    start = time.monotonic()
    items = [parse_text_input(text, index) for index, text in enumerate(texts)]
    cache = cache_folder(options.cache_dir)
    _check_artifact(Artifact.open(path), has_texts=bool(items))
    model = Model.load(path, options.provider, cache_dir=cache)
    artifact, tokenizer, row = model.artifact, model.tokenizer, provider_named(model.provider)
    del model  # its session would stand in memory all the while
    manifest = artifact.manifest
    file = choice_file(artifact, row.name, cache).with_suffix(".measured.json")
    bench = OrtBench(artifact, tokenizer, row, SessionConfig(cache_dir=cache))
    notes = Measurements.load(file, {**header(artifact, row.name), "ortolan": __version__, "shapes": bench.shapes})
    notes = Measurements(notes.header) if options.fresh else notes
    search = Search(
        manifest=manifest,
        ways=possible_ways(manifest, row),
        bench=bench,
        notes=notes,
        prefer=options.prefer,
        budget_seconds=options.budget_seconds,
        until=start + options.budget_seconds,
        clock=time.monotonic,
        save=partial(notes.save, file),
    )
    search.save()  # a cache that can't be written is better found now than when the time is spent
    known = sum(way in notes.seen for way in search.ways)
    say(f"{len(search.ways)} ways to run '{path}' on {row.name}, {known} of them measured before")
    _say_if_busy()
    search.run(items)
    way, reason = _best(search)
    choice = Choice(way, reason, {shape: notes.seen[way].milliseconds(shape) for shape in bench.shapes})
    return TuneReport(
        artifact=str(manifest.source["name"]),
        provider=row.name,
        machine=this_machine(),
        prefer=search.prefer,
        shapes=tuple(bench.shapes),
        measure=str(manifest.precisions[choice.way.precision].quality["measure"]),
        seconds=time.monotonic() - start,
        num_texts=notes.num_texts,
        untuned=next(iter(notes.sound)),
        choice=choice,
        choice_file=str(keep_choice(choice, artifact, row.name, cache)),
        ways=tuple(tuned_ways(search.ways, notes, manifest, bench.shapes)),
    )


def _check_artifact(artifact: Artifact, *, has_texts: bool) -> None:
    if artifact.is_foreign:
        raise MissingFileError(
            f"tuning of '{artifact.folder}' requested",
            f"the folder has no {MANIFEST_NAME}: nothing says which precision keeps its quality",
            EXPORT_IT,
        )
    if has_texts and "fp32" not in artifact.manifest.precisions:
        raise ConfigError(
            f"'{artifact.folder}' compared on texts requested",
            "it holds no fp32 to compare with",
            "leave them out, or export it again",
        )


def _say_if_busy() -> None:
    """Times taken now hold for a machine as busy as this one."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    processors = os.cpu_count() or 1
    if load > BUSY * processors:
        say(f"the machine is busy (load {load:.1f} on {processors} processors): the choice may not hold when it is not")


def _best(search: Search) -> tuple[Way, str]:
    """Take the best of the ways that were timed, and say why.

    Raises:
        ConfigError: None was, for want of time.
        SessionError: None could be, because all that were tried have faults.
    """
    notes = search.notes
    if not notes.sound:
        faults = [f"{way}: {seen.fault}" for way, seen in notes.seen.items()]
        if faults:
            raise SessionError(
                "a way to run the artifact here requested",
                f"each of the {len(faults)} that were tried has a fault ({faults[0]})",
                "run 'ortolan verify' on it, or export it again; --fresh tries once more",
            )
        raise ConfigError(
            f"a budget of {search.budget_seconds:g} s requested",
            "it was spent before anything could be measured",
            "use a larger one, such as 60s",
        )
    untuned, shapes = next(iter(notes.sound)), search.bench.shapes
    best = best_way(notes, search.manifest, shapes, search.prefer)
    if best == untuned:
        return best, f"'ortolan tune' found nothing better for {search.prefer} here"
    alone, together = (notes.seen[best].speed(part) for part in (shapes[:-1], shapes[-1:]))
    return best, (
        f"'ortolan tune' chose it for {search.prefer} here: {alone:.2f} times as quick as untuned with single texts, "
        f"{together:.2f} times with batches"
    )
