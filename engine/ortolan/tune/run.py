"""`tune`: measure the ways to run an artifact for as long as the caller allows, and keep the best one."""

from __future__ import annotations

import json
import math
import re
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
from ortolan.tune.pareto import PREFERENCES, Prefer
from ortolan.tune.plot import to_svg
from ortolan.tune.report import TuneReport, tuned_ways
from ortolan.tune.search import Search
from ortolan.tune.ways import possible_ways
from ortolan.tune.worth import best_way
from ortolan.version import __version__

DEFAULT_BUDGET_SECONDS = 60.0

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def tune(
    path: str | Path,
    *,
    budget_seconds: float = DEFAULT_BUDGET_SECONDS,
    prefer: str = "latency",
    provider: str = "auto",
    texts: Sequence[object] | None = None,
    cache_dir: str | Path | None = None,
    fresh: bool = False,
) -> TuneReport:
    """Find the best way to run an artifact on this machine, and keep it for `precision="auto"`.

    What is measured is kept in the cache as it is measured: another call goes on where this one ended, or was
    interrupted.

    Args:
        path: An artifact folder.
        budget_seconds: How long to measure. Less is taken if there is nothing left to learn.
        prefer: "latency" of single texts, "throughput" of batches, or "memory".
        provider: "cpu" and so on, or "auto" for the one that `Model.load` picks.
        texts: Texts, or mappings with `text` and `text_pair`, on which the precisions are compared with fp32, each
            text alone; long ones are cut.
        cache_dir: The cache; by default ORTOLAN_CACHE, else the user's cache folder.
        fresh: Forget what was measured before.

    Returns:
        All ways with what was measured of them, and the choice.

    Raises:
        ArtifactError: The artifact or the provider can't be used, as for `Model.load`.
        ConfigError: A budget that leaves no time for one way, an unknown preference or provider, texts without fp32
            to compare with, or a cache that can't be written.
        InvalidInputError: A text that can't be read.
        SessionError: Every way that was tried has a fault.
    """
    start = time.monotonic()
    _check_budget(budget_seconds)
    items = [parse_text_input(text, index) for index, text in enumerate(texts or ())]
    cache = cache_folder(None if cache_dir is None else Path(cache_dir))
    _check_artifact(Artifact.open(path), has_texts=bool(items))
    model = Model.load(path, provider, cache_dir=cache)
    artifact, tokenizer, row = model.artifact, model.tokenizer, provider_named(model.provider)
    del model  # its session would stand in memory all the while
    manifest = artifact.manifest
    file = choice_file(artifact, row.name, cache).with_suffix(".measured.json")
    bench = OrtBench(artifact, tokenizer, row, SessionConfig(cache_dir=cache))
    notes = Measurements.load(file, {**header(artifact, row.name), "ortolan": __version__, "shapes": bench.shapes})
    notes = Measurements(notes.header) if fresh else notes
    search = Search(
        manifest=manifest,
        ways=possible_ways(manifest, row),
        bench=bench,
        notes=notes,
        prefer=_checked_preference(prefer),
        budget_seconds=budget_seconds,
        until=start + budget_seconds,
        clock=time.monotonic,
        save=partial(notes.save, file),
    )
    search.save()  # a cache that can't be written is better found now than when the time is spent
    known = sum(way in notes.seen for way in search.ways)
    say(f"{len(search.ways)} ways to run '{path}' on {row.name}, {known} of them measured before")
    search.run(items)
    choice = Choice(*_best(search))
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


def write_report(report: TuneReport, folder: Path) -> None:
    """Write tune.txt, tune.json and tune.svg into a folder, which is made if need be.

    Raises:
        ConfigError: It can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tune.txt").write_text(report.to_text(), encoding="utf-8")
        (folder / "tune.json").write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
        (folder / "tune.svg").write_text(to_svg(report), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"a report in '{folder}' requested", f"it cannot be written ({error})", "choose another folder"
        ) from error


def parse_budget(text: str) -> float:
    """Read a budget such as "60s", "2m", "1h" or "90", which is in seconds.

    Raises:
        ConfigError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise ConfigError(
            f"a budget of {text!r} requested", "it is no time", "write 60s, 2m, 1h or a number of seconds"
        )
    return float(match[1]) * UNITS[match[2]]


def _check_budget(seconds: float) -> None:
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"a budget of {seconds} seconds requested", "that is no time to measure", "use 60, or more")


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


def _checked_preference(prefer: str) -> Prefer:
    for known in PREFERENCES:
        if prefer == known:
            return known
    raise ConfigError(f"prefer={prefer!r} requested", "no such preference", f"use one of {', '.join(PREFERENCES)}")


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
