"""Question: is int8 at least as quick as optimum's and OpenVINO's?

Expected: quicker than optimum-onnx's dynamic int8 at every shape; near OpenVINO's static int8, which has no ranges to
find while it runs.

The race is that of `ortolan bench` (ortolan_exporters.contenders): each contender is a process with an environment of
its own, all get the same token ids and the same number of threads, and they take turns. A time is the bare call's.
Static int8 is calibrated on other sentences than those that answers are compared on.

    python -m benchmarks.peers [--models minilm distilbert] [--shapes 1x16,1x128,8x128] [--rounds 21] [--profile]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.peer_models import CALIBRATION, HELD_OUT, SUBJECTS, texts_of
from benchmarks.peer_tables import Likeness, Result, profile_table, race_table, verdict
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import to_json
from ortolan.config import Precision
from ortolan.progress import say, track
from ortolan.session.processors import usable_threads
from ortolan.timing import Times
from ortolan_exporters import export
from ortolan_exporters.contenders.race import CALLS, REST_SECONDS, Race, Settings
from ortolan_exporters.contenders.registry import BARE, Contender, asked_for, own
from ortolan_exporters.contenders.serving import Nodes
from ortolan_exporters.contenders.subject import Subject, open_subject, parse_shapes

SHAPES = "1x16,1x128,8x128"
ROUNDS = 21
PROFILED_ROUNDS, PROFILED_RUNS = 7, 5
NUM_CALIBRATION = 300  # as many as NNCF uses by default
NUM_SENTENCES = 400
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-static")
OURS = "Ortolan int8"
CONTENDERS = (
    *asked_for(("torch", "optimum", "openvino")),
    Contender("OpenVINO int8, rest fp32", "openvino_nncf", "int8-rest-fp32", BARE, makers=("openvino_nncf",)),
    *own(PRECISIONS),
)
RIVALS = ("optimum int8", "OpenVINO int8")
PROFILED = (OURS, "Ortolan int8-static", "optimum int8, per channel", "OpenVINO int8")


def main() -> int:
    """Run the benchmark."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        found = {name: race(name, Path(folder) / name, options) for name in options.models}
    if options.profile:
        return 0
    for name, result in found.items():
        print(f"\n{race_table(SUBJECTS[name].title, result, OURS)}\n")
        print("\n".join(verdict(result, OURS, rivals) for rivals in RIVALS))
    print(f"\nMedian milliseconds; in brackets how many times as quick {OURS} is, and the quartiles of that.")
    print_environment()
    settings = {
        "calls": CALLS,
        "rounds": options.rounds,
        "sentences": NUM_SENTENCES,
        "models": {name: SUBJECTS[name].title for name in found},
        "likeness": {
            name: {contender: asdict(like) for contender, like in result.likeness.items()}
            for name, result in found.items()
        },
        "missing": {name: result.missing for name, result in found.items()},
        "versions": {program: packages for result in found.values() for program, packages in result.versions.items()},
    }
    cases = {f"{name} {case}": times for name, result in found.items() for case, times in to_json(result.times).items()}
    write_record("peers", settings, cases)
    return 0


def race(name: str, folder: Path, options: argparse.Namespace) -> Result:
    """Make and compare all contenders of one model, and time them, or say where their time goes."""
    subject = subject_of(name, folder, options.shapes)
    settings = Settings(
        folder=folder,
        logs=OUT / "logs" / f"peers-{name}",
        threads=usable_threads(),
        rounds=options.rounds,
        kinds=("forward",),
        calibration=tuple(subject.feeds(texts_of(CALIBRATION, NUM_CALIBRATION), rows=1)),
    )
    contenders = [one for one in CONTENDERS if not options.profile or one.name in PROFILED]
    with Race(subject, settings) as running:
        running.prepare(contenders)
        times: dict[str, dict[str, Times]] = {}
        if options.profile:
            profile(running, subject)
        else:
            for case, taken in running.turns(running.heats()).items():
                times[case] = {one: Times([list(calls) for calls in rounds]) for one, rounds in taken.items()}
    likeness = {
        one: Likeness(like.same_label or 0.0, like.cosine or 0.0, like.difference or 0.0)
        for one, racer in running.racers.items()
        for like in racer.quality.values()
    }
    return Result(likeness, times, {one.contender: one.reason for one in running.missing}, running.versions)


def subject_of(name: str, folder: Path, shapes: Sequence[tuple[int, int]]) -> Subject:
    """Export a model, and open what comes of it."""
    folder.mkdir()
    checkpoint = SUBJECTS[name].checkpoint(folder / "checkpoint")
    say(f"exporting {SUBJECTS[name].title}")
    export(checkpoint, folder / "artifact", precisions=PRECISIONS, calibration=str(CALIBRATION))
    return open_subject(
        folder / "artifact", texts=texts_of(HELD_OUT, NUM_SENTENCES), shapes=shapes, checkpoint=checkpoint
    )


def profile(running: Race, subject: Subject) -> None:
    """Print where int8 spends its time, in Ortolan and in its peers, by operator; they take turns here too."""
    racers = {name: racer for name, racer in running.racers.items() if racer.kinds}
    found: dict[str, dict[str, Nodes]] = {name: {} for name in racers}
    for heat in running.heats():
        for _ in track(range(PROFILED_ROUNDS), f"{subject.name}, {heat.name}"):
            for name, racer in racers.items():
                time.sleep(REST_SECONDS)
                nodes = racer.process.ask("profile", running.job(racer.contender), heat.asked, PROFILED_RUNS)
                for node, taken in nodes.items():
                    found[name].setdefault(heat.name, {}).setdefault(node, []).extend(taken)
    for name, by_case in found.items():
        print(f"\n{profile_table(f'{subject.name}: {name}', by_case)}")
    print("\nMilliseconds of a run, the medians of the nodes added up by operator; profilers cost time themselves.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time Ortolan's int8 against optimum-onnx's and OpenVINO's.")
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument(
        "--shapes", type=parse_shapes, default=parse_shapes(SHAPES), metavar="BxS,..", help="rows x tokens"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="2 or more")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, and time nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
