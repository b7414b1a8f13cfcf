"""Question: how many requests a second does a service carry, if 99 of 100 answers shall come within 50 ms?

Expected: the engine carries at least 8 times as many as a transformers pipeline in fp32, 3 times as many as one over
optimum's int8, and 1.3 times as many as our own session without batching, and as a batcher that counts and times.

Requests come at random moments of their own (Poisson), drawn beforehand; latency counts from the moment that was
drawn. Each contender is a process, with an environment of its own where it needs one, and makes its load itself. The
engine, the batcher and "one session" get theirs from asyncio, as in a service; those of other projects, and "one
session in a plain loop", have their line for free: a loop that does nothing but answer one after the other. In each
round every contender's highest rate is looked for, and they take turns after each try, so that a slow minute hits all.
All run on the same processors, with as many threads.

With --rates: p50 and p99 by the rate that is offered, for ours alone, and docs/engine-load.svg.

Takes about an hour, most of it in the slow contenders; --ours leaves those of other projects out.

    python -m benchmarks.engine_load [--rates] [--quick] [--ours] [--models minilm distilbert]
        [--mixes sentences bimodal] [--rounds 3] [--seconds 5]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from benchmarks.engine_load_tables import (
    BATCHER,
    DEADLINE,
    ENGINE,
    LATE_MS,
    LOOP,
    NOTHING,
    ONE_SESSION,
    OURS,
    Carried,
    Overload,
    carried_table,
    overload_table,
    plot_rates,
    rates_table,
    verdicts,
)
from benchmarks.open_loop import Search, draw_texts, lengthen, most_late, percentile, poisson_arrivals, read_texts
from benchmarks.peer_models import CALIBRATION, HELD_OUT, MINILM, SUBJECTS
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.workers.load import Play, Played, Stand
from ortolan.progress import say
from ortolan.session.processors import usable_threads
from ortolan_exporters.contenders.environments import InstallError, python_of
from ortolan_exporters.contenders.process import Process, WorkerError
from ortolan_exporters.contenders.serving import Job

MADE = OUT / "engine-load"
PLOT = Path(__file__).parents[1] / "docs" / "engine-load.svg"
MIXES = ("sentences", "bimodal")
SHARE = 0.99
TOLERANCE, ROUGHLY = 1.05, 1.12
STEP, SMALL_STEP = 1.3, 1.1  # of a first search, and of one that starts where the round before ended
LEAST_REQUESTS, FEWEST = 200, 60  # of a try: the slowest hundredth of fewer is an accident; and with --quick
REST_SECONDS = 0.1  # ONNX Runtime's threads were seen to spin for 40 ms of processor time after a call
LEAST_SHARE = 0.15  # of a guess: whoever is late at that is late with nobody before in the line
OVERLOAD = 1.2
KEPT = 200
NUM_CHECKED = 50
GUESSES = 5
LEAST_AGREEMENT = 0.9
FRACTIONS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8)
"""Rates that are offered with --rates, as shares of what one session answers one after the other."""

COUNTS, WAITS_MS = (4, 8, 16), (1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Contender:
    """A service: a program in benchmarks/workers/, what it loads, and with which Python it runs."""

    name: str
    program: str
    kind: str
    environment: str = ""


WORKERS = "benchmarks.workers."
CONTENDERS = (
    Contender(ENGINE, "load_ortolan", "engine"),
    Contender(ONE_SESSION, "load_ortolan", "one session"),
    Contender(LOOP, "load_ortolan", "plain loop"),
    Contender(BATCHER, "load_ortolan", "count and timeout"),
    Contender("optimum ORT pipeline, int8", "load_optimum", "int8", "optimum_onnx"),
    Contender("transformers fp32", "load_transformers", "fp32"),
    Contender("transformers bf16", "load_transformers", "bf16"),
)
REFERENCE = "transformers fp32"
MAKERS = {
    "load_ortolan": ("ortolan_artifact", ("int8",)),
    "load_optimum": ("optimum_onnx", ("int8-per-channel", "int8-per-tensor")),
}
"""The programs that make what these programs load, and in which precisions."""


@dataclass(slots=True)
class Case:
    """One model with one mix of texts, and what was found out.

    Attributes:
        texts: What is asked.
        options: Of the contenders that have some.
        carried: By contender, one for each round.
        overload: Beyond what the engine carries, with and without a deadline, one for each round.
        tuned: Requests a second that the batcher carried, by its settings.
    """

    texts: list[str]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    carried: dict[str, list[Carried]] = field(default_factory=dict)
    overload: dict[str, list[Overload]] = field(default_factory=dict)
    tuned: dict[str, float] = field(default_factory=dict)


def main() -> int:
    """Run the benchmark."""
    options = _options()
    if options.rates:
        return rates(options)
    cases: dict[str, Case] = {}
    settings: dict[str, Any] = {}
    for model in options.models:
        with services(model, own_contenders() if options.ours else CONTENDERS) as (running, found):
            settings[model] = {"title": SUBJECTS[model].title, **found}
            for mix, texts in mixes(options.mixes).items():
                case = cases[f"{model} {mix}"] = Case(texts)
                guesses = first_guesses(running, case)
                tune_batcher(running, case, guesses, options)
                for number in range(options.rounds):
                    say(f"{model}, {mix}: round {number + 1} of {options.rounds}")
                    find_carried(running, case, guesses, number, options)
                    overload(running, case, number, options)
    for model in options.models:
        found = {mix: cases[f"{model} {mix}"].carried for mix in options.mixes}
        print(f"\n{carried_table(SUBJECTS[model].title, found)}\n")
        print("\n".join(verdicts(found)))
        print(f"\n{overload_table({mix: cases[f'{model} {mix}'].overload for mix in options.mixes})}")
    print_environment()
    chosen = {"rounds": options.rounds, "seconds": options.seconds, "late_ms": LATE_MS, "models": settings}
    write_record("engine_load", chosen, {name: _to_json(case) for name, case in cases.items()})
    return 0


def rates(options: argparse.Namespace) -> int:
    """Offer ours one rate after the other, of the default model and sentences."""
    taken: dict[str, dict[float, list[list[float]]]] = {name: {} for name in OURS}
    with services("minilm", own_contenders()) as (running, found):
        case = Case(mixes(["sentences"])["sentences"])
        guesses = first_guesses(running, case)
        tune_batcher(running, case, guesses, options)
        offered = [round(share * guesses[ONE_SESSION], 1) for share in FRACTIONS]
        for number in range(options.rounds):
            for rate in offered:
                for name in _shuffled(running, number):
                    play = _play(case, rate, number, options, case.options.get(name, {}), gives_up=False)
                    latencies = turn(running[name], play).latencies
                    taken[name].setdefault(rate, []).append(latencies)
            say(f"round {number + 1} of {options.rounds}")
    cases = {
        name: {
            str(rate): [{"n": len(run), "p50": percentile(run, 0.5), "p99": percentile(run, SHARE)} for run in runs]
            for rate, runs in by_rate.items()
        }
        for name, by_rate in taken.items()
    }
    print(f"\n{rates_table(cases)}")
    print_environment()
    settings = {"rounds": options.rounds, "seconds": options.seconds, "late_ms": LATE_MS, "minilm": found}
    write_record("engine_load_rates", {**settings, "batcher": case.options[BATCHER]}, cases)
    plot_rates(cases, OUT / PLOT.name if options.quick else PLOT)
    return 0


@contextmanager
def services(model: str, contenders: Sequence[Contender]) -> Iterator[tuple[dict[str, Process], dict[str, Any]]]:
    """Start contenders, one after the other, and compare their answers.

    Yields:
        Those that run, by name, and what a record shall say of them: versions, what they chose, how like the reference
        they answer, and why some are missing.
    """
    running: dict[str, Process] = {}
    found: dict[str, Any] = {"versions": {}, "about": {}, "likeness": {}, "missing": {}}
    texts = draw_texts(read_texts(HELD_OUT), NUM_CHECKED, seed=0)
    with ExitStack() as stack:
        for contender in contenders:
            say(f"{model}: {contender.name}")
            log = OUT / "logs" / f"engine-load-{model}-{contender.kind.replace(' ', '-')}.log"
            try:
                checkpoint = checkpoint_of(model)
                folder = made_for(contender, model, checkpoint)
                python = python_of(contender.environment or WORKERS + contender.program)
                process = stack.enter_context(Process(python, WORKERS + contender.program, log))
                stand = Stand(contender.kind, str(folder), str(checkpoint), usable_threads(), texts)
                found["about"][contender.name] = process.ask("open", stand)
                found["versions"][contender.program] = process.ask("versions")
                running[contender.name] = process
            except (InstallError, WorkerError) as error:
                say(f"missing: {error}")
                found["missing"][contender.name] = str(error)
        found["likeness"] = compare(running, texts)
        yield running, found


def checkpoint_of(model: str) -> Path:
    """Make the checkpoint of a model, unless it is there or part of the repository."""
    if model == "minilm":
        return MINILM
    folder = MADE / model / "checkpoint"
    if not (folder / "tokenizer.json").exists():  # written last
        folder.mkdir(parents=True, exist_ok=True)
        SUBJECTS[model].checkpoint(folder)
    return folder


def made_for(contender: Contender, model: str, checkpoint: Path) -> Path:
    """Let the tool of a contender make what it loads, once; it is kept.

    Raises:
        InstallError: The environment of the tool can't be had.
        WorkerError: The tool failed.
    """
    if contender.program not in MAKERS:
        return checkpoint
    maker, precisions = MAKERS[contender.program]
    folder = MADE / model / maker
    with Process(python_of(maker), maker, OUT / "logs" / f"engine-load-{model}-{maker}.log") as process:
        for precision in precisions:
            process.ask("make", Job(str(checkpoint), str(folder), precision, usable_threads(), str(CALIBRATION)))
    return folder / "int8" if maker == "ortolan_artifact" else folder


def default_artifact() -> Path:
    """Make the artifact of the default model that the engine loads here, unless it is there."""
    return made_for(CONTENDERS[0], "minilm", checkpoint_of("minilm"))


def compare(running: Mapping[str, Process], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Compare labels and scores with the reference's; with those of our session where it doesn't run."""
    reference = REFERENCE if REFERENCE in running else ONE_SESSION
    expected = running[reference].ask("answers", texts)
    likeness = {}
    for name, process in running.items():
        answers = process.ask("answers", texts)
        pairs = list(zip(answers, expected, strict=True))
        likeness[name] = {
            "agreement": float(np.mean([one["label"] == other["label"] for one, other in pairs])),
            "difference": max(abs(one["score"] - other["score"]) for one, other in pairs),
        }
        if likeness[name]["agreement"] < LEAST_AGREEMENT:
            raise SystemExit(f"{name} agrees with {reference} on {likeness[name]['agreement']:.0%}: nothing is timed")
    return likeness


def own_contenders() -> list[Contender]:
    """Those that run our sessions."""
    return [contender for contender in CONTENDERS if contender.name in OURS]


def mixes(chosen: Sequence[str]) -> dict[str, list[str]]:
    """Sentences, and the same with long texts among them."""
    texts = read_texts(HELD_OUT)
    tokenizer = Tokenizer.from_file(str(MINILM / "tokenizer.json"))
    found = {"sentences": texts, "bimodal": lengthen(texts, lambda text: len(tokenizer.encode(text).ids), seed=0)}
    return {mix: found[mix] for mix in chosen}


def first_guesses(running: Mapping[str, Process], case: Case) -> dict[str, float]:
    """Guess what each carries: what it answers one after the other, when nothing disturbs it."""
    texts = draw_texts(case.texts, NUM_CHECKED, seed=0)
    return {
        name: 1 / min(process.ask("seconds_each", texts) for _ in range(GUESSES)) for name, process in running.items()
    }


def tune_batcher(
    running: Mapping[str, Process], case: Case, guesses: dict[str, float], options: argparse.Namespace
) -> None:
    """Find the settings with which the batcher carries most, roughly."""
    settings = {
        f"{count} texts, {wait:g} ms": {"rows": count, "wait_ms": wait} for count in COUNTS for wait in WAITS_MS
    }
    if options.quick:
        settings = {name: one for name, one in settings.items() if one["rows"] == 8}
    searches = {name: Search(guesses[BATCHER], ROUGHLY) for name in settings}
    while waiting := [name for name in settings if searches[name].rate is not None]:
        for name in waiting:
            play = _play(case, _rate(searches[name]), 0, options, settings[name])
            searches[name].learn(_is_borne(turn(running[BATCHER], play)))
    case.tuned = {name: search.borne for name, search in searches.items()}
    best = max(case.tuned, key=lambda name: case.tuned[name])
    case.options[BATCHER] = settings[best]
    guesses[BATCHER] = case.tuned[best] or guesses[BATCHER]
    say(f"{BATCHER}: {best}, {case.tuned[best]:.0f} a second, roughly")


def find_carried(
    running: Mapping[str, Process], case: Case, guesses: dict[str, float], number: int, options: argparse.Namespace
) -> None:
    """Look for the highest rate of each, in turns."""
    step = SMALL_STEP if number else STEP
    searches = {
        name: Search(guesses[name], TOLERANCE, step=step, lowest=LEAST_SHARE * guesses[name]) for name in running
    }
    best: dict[str, Carried] = {}
    turns = 0
    while waiting := [name for name in running if searches[name].rate is not None]:
        turns += 1
        for name in _shuffled(waiting, 1000 * number + turns):
            rate = _rate(searches[name])
            played = turn(running[name], _play(case, rate, 1 + number, options, case.options.get(name, {})))
            is_borne = _is_borne(played)
            searches[name].learn(is_borne)
            say(f"  {name}: {rate:.1f} a second {'is carried' if is_borne else 'is too much'}")
            if is_borne:
                best[name] = Carried(
                    rate,
                    *(percentile(played.latencies, share) for share in (0.5, 0.95, SHARE)),
                    len(played.latencies),
                    played.batches,
                    played.rows,
                    played.tokens,
                    played.padding,
                    _thinned(played.latencies),
                )
    for name in running:
        one = best.get(name, NOTHING)
        case.carried.setdefault(name, []).append(one)
        guesses[name] = one.rate or guesses[name]
        say(f"{name}: {one.rate:.1f} a second, p99 {one.p99:.1f} ms")
    if ENGINE not in best:
        raise SystemExit(f"{ENGINE}: no rate is carried within {LATE_MS:.0f} ms")


def overload(running: Mapping[str, Process], case: Case, number: int, options: argparse.Namespace) -> None:
    """Offer the engine more than it carries, with a deadline and without."""
    rate = case.carried[ENGINE][-1].rate * OVERLOAD
    for name, chosen in ((DEADLINE, {"deadline_ms": LATE_MS}), (ENGINE, {})):
        play = _play(case, rate, 1 + number, options, chosen, gives_up=False)
        played = turn(running[ENGINE], play)
        answered = [latency for latency in played.latencies if np.isfinite(latency)]
        in_time = sum(latency <= LATE_MS for latency in answered)
        found = Overload(
            rate,
            1 - len(answered) / len(played.latencies),
            percentile(answered, 0.5),
            percentile(answered, SHARE),
            in_time / play.arrivals[-1],
            played.refused,
        )
        case.overload.setdefault(name, []).append(found)


def turn(process: Process, play: Play) -> Played:
    """Let one play its part, after a rest."""
    time.sleep(REST_SECONDS)
    played: Played = process.ask("play", play)
    return played


def _play(
    case: Case,
    rate: float,
    seed: int,
    run: argparse.Namespace,
    options: Mapping[str, Any],
    *,
    gives_up: bool = True,
) -> Play:
    count = max(FEWEST if run.quick else LEAST_REQUESTS, round(rate * run.seconds))
    allowed = most_late(count, SHARE) if gives_up else count
    arrivals, texts = poisson_arrivals(rate, count, seed), draw_texts(case.texts, count, seed)
    return Play(arrivals, texts, LATE_MS, allowed, dict(options))


def _is_borne(played: Played) -> bool:
    return percentile(played.latencies, SHARE) <= LATE_MS


def _rate(search: Search) -> float:
    assert search.rate is not None
    return search.rate


def _shuffled(names: Sequence[str] | Mapping[str, object], seed: int) -> list[str]:
    return random.Random(seed).sample(list(names), len(names))


def _thinned(latencies: Sequence[float]) -> list[float]:
    """Keep every so-manieth, in the order of arrival."""
    return [round(latency, 2) for latency in latencies[:: max(1, -(-len(latencies) // KEPT))]]


def _to_json(case: Case) -> dict[str, Any]:
    return {
        "options": case.options,
        "tuned": case.tuned,
        "carried": {name: [asdict(one) for one in rounds] for name, rounds in case.carried.items()},
        "overload": {name: [asdict(one) for one in rounds] for name, rounds in case.overload.items()},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How many requests a second are answered within 50 ms?")
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    parser.add_argument("--ours", action="store_true", help="our sessions alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of requests in a try, and 200 requests at least")
    parser.add_argument("--rates", action="store_true", help="latency by the rate that is offered, ours alone")
    parser.add_argument("--quick", action="store_true", help="the default model, one round, short tries")
    options = parser.parse_args()
    if options.quick:
        options.models, options.rounds, options.seconds = ["minilm"], 1, 2.0
    return options


if __name__ == "__main__":
    sys.exit(main())
