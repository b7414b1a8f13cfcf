"""Question: is int8 at least as quick as optimum's and OpenVINO's?

Expected: quicker than optimum-onnx's dynamic int8 at every shape; near OpenVINO's static int8, which has no ranges to
find while it runs.

Each contender is a process with an environment of its own (benchmarks/workers/). All get the same token ids and masks
and the same number of threads, and they take turns: the others are idle while one is timed. A time is the bare call's.

    python -m benchmarks.peers [--models minilm distilbert] [--shapes 1x16 1x128 8x128] [--rounds 21] [--profile]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer_environments import InstallError, python_of
from benchmarks.peer_models import CALIBRATION, HELD_OUT, SUBJECTS, Subject
from benchmarks.peer_tables import Likeness, Race, profile_table, race_table, verdict
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import to_json
from benchmarks.workers.process import Process, WorkerError
from benchmarks.workers.serving import Feed, Job, Nodes
from ortolan.progress import say, track
from ortolan.session.processors import usable_threads
from ortolan.timing import WARM_UP_SECONDS, Times

SHAPES = ("1x16", "1x128", "8x128")
ROUNDS, CALLS = 21, 3
REST_SECONDS = 0.1  # ONNX Runtime's threads were seen to spin for 40 ms of processor time after a call
PROFILED_ROUNDS, PROFILED_RUNS = 7, 5
NUM_CALIBRATION = 300  # as many as NNCF uses by default
NUM_SENTENCES = 400
EXACT = 1e-3  # most that a logit of an fp32 contender may differ from torch's


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to run a model: a program in benchmarks/workers/, and one of its precisions."""

    name: str
    program: str
    precision: str


REFERENCE, OURS = "eager fp32", "Ortolan int8"
CONTENDERS = (
    Contender(REFERENCE, "torch_eager", "fp32"),
    Contender("Ortolan fp32", "ortolan_artifact", "fp32"),
    Contender(OURS, "ortolan_artifact", "int8"),
    Contender("Ortolan int8-static", "ortolan_artifact", "int8-static"),
    Contender("optimum fp32", "optimum_onnx", "fp32"),
    Contender("optimum int8, per channel", "optimum_onnx", "int8-per-channel"),
    Contender("optimum int8, per tensor", "optimum_onnx", "int8-per-tensor"),
    Contender("OpenVINO fp32", "openvino_nncf", "fp32"),
    Contender("OpenVINO bf16", "openvino_nncf", "bf16"),
    Contender("OpenVINO int8", "openvino_nncf", "int8"),
    Contender("OpenVINO int8, rest fp32", "openvino_nncf", "int8-rest-fp32"),
)
RIVALS = ("optimum int8", "OpenVINO int8")
PROFILED = (OURS, "Ortolan int8-static", "optimum int8, per channel", "OpenVINO int8")


def main() -> int:
    """Run the benchmark."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        if options.profile:
            for name in options.models:
                profile(SUBJECTS[name], Path(folder) / name, options.shapes)
            return 0
        races = {name: race(SUBJECTS[name], Path(folder) / name, options) for name in options.models}
    for name, found in races.items():
        print(f"\n{race_table(SUBJECTS[name].title, found, OURS)}\n")
        print("\n".join(verdict(found, OURS, rivals) for rivals in RIVALS))
    print(f"\nMedian milliseconds; in brackets how many times as quick {OURS} is, and the quartiles of that.")
    print_environment()
    settings = {
        "calls": CALLS,
        "rounds": options.rounds,
        "sentences": NUM_SENTENCES,
        "models": {name: SUBJECTS[name].title for name in races},
        "likeness": {
            name: {contender: asdict(like) for contender, like in found.likeness.items()}
            for name, found in races.items()
        },
        "missing": {name: found.missing for name, found in races.items()},
        "versions": {program: packages for found in races.values() for program, packages in found.versions.items()},
    }
    cases = {f"{name} {case}": times for name, found in races.items() for case, times in to_json(found.times).items()}
    write_record("peers", settings, cases)
    return 0


def race(subject: Subject, folder: Path, options: argparse.Namespace) -> Race:
    """Make, compare and time all contenders of one model."""
    found = Race()
    with ExitStack() as stack:
        running: dict[str, Process] = {}
        for contender, job in prepare(subject, folder, CONTENDERS, found.missing).items():
            process = stack.enter_context(start(contender, folder.name))
            try:
                process.ask("load", job)
                found.versions[contender.program] = process.ask("versions")
                running[contender.name] = process
            except WorkerError as error:
                found.missing[contender.name] = str(error)
        compare(subject, running, found)
        racing = {name: process for name, process in running.items() if name not in found.missing}
        for case in options.shapes:
            feed = subject.feed(*sizes(case))
            found.times[case] = take_turns(racing, feed, options.rounds, f"{subject.title}, {case}")
    return found


def prepare(
    subject: Subject, folder: Path, contenders: Iterable[Contender], missing: dict[str, str]
) -> dict[Contender, Job]:
    """Let the tools make their files, one after the other, in processes that end before anything is timed."""
    folder.mkdir()
    checkpoint = subject.checkpoint(folder / "checkpoint")
    calibration = list(subject.sentences(CALIBRATION, NUM_CALIBRATION, rows=1))
    jobs = {}
    for contender in contenders:
        say(f"{subject.title}: {contender.name}")
        job = Job(
            checkpoint=str(checkpoint),
            folder=str(folder / contender.program),
            precision=contender.precision,
            threads=usable_threads(),
            texts=str(CALIBRATION),
            calibration=calibration,
        )
        try:
            with start(contender, folder.name) as process:
                process.ask("make", job)
            jobs[contender] = job
        except (InstallError, WorkerError) as error:
            missing[contender.name] = str(error)
            say(f"missing: {error}")
    return jobs


def start(contender: Contender, model: str) -> Process:
    """Start the worker of a contender."""
    log = OUT / "logs" / f"peers-{model}-{contender.program}-{contender.precision}.log"
    return Process(python_of(contender.program), contender.program, log)


def compare(subject: Subject, running: Mapping[str, Process], found: Race) -> None:
    """Compare all answers to real sentences with torch's; what claims fp32 and answers otherwise is not timed."""
    if REFERENCE not in running:
        raise SystemExit(f"{REFERENCE} is missing ({found.missing[REFERENCE]}): nothing is timed")
    feeds = list(subject.sentences(HELD_OUT, NUM_SENTENCES, rows=8))
    expected = answers(running[REFERENCE], feeds)
    exact = {contender.name for contender in CONTENDERS if contender.precision == "fp32"}
    for name, process in running.items():
        found.likeness[name] = like = likeness(answers(process, feeds), expected)
        if name in exact and not like.difference <= EXACT:
            found.missing[name] = f"logits differ from torch's by {like.difference:.2g}"


def answers(process: Process, feeds: Sequence[Feed]) -> NDArray[np.float32]:
    """Collect the logits of all feeds, float32 [texts, V]."""
    return np.concatenate([process.ask("run", feed) for feed in feeds])


def likeness(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Likeness:
    """Compare logits, float32 [texts, V] both."""
    return Likeness(
        agreement=float((found.argmax(-1) == expected.argmax(-1)).mean()),
        cosine=float((found * expected).sum() / (np.linalg.norm(found) * np.linalg.norm(expected))),
        difference=float(np.abs(found - expected).max()),
    )


def take_turns(running: Mapping[str, Process], feed: Feed, rounds: int, what: str) -> dict[str, Times]:
    """Time as `ortolan.timing.interleave` does, with the clocks in the workers and a new order in each round."""
    taken: dict[str, list[list[float]]] = {name: [] for name in running}
    draw = random.Random(0)
    for _ in track(range(rounds), what):
        for name in draw.sample(list(running), len(running)):
            time.sleep(REST_SECONDS)
            taken[name].append(running[name].ask("time", feed, CALLS, WARM_UP_SECONDS))
    return {name: Times(by_round) for name, by_round in taken.items()}


def profile(subject: Subject, folder: Path, shapes: Sequence[str]) -> None:
    """Print where int8 spends its time, in Ortolan and in its peers, by operator; they take turns here too."""
    missing: dict[str, str] = {}
    jobs = prepare(subject, folder, [one for one in CONTENDERS if one.name in PROFILED], missing)
    found: dict[Contender, dict[str, Nodes]] = {contender: {case: {} for case in shapes} for contender in jobs}
    with ExitStack() as stack:
        running = {contender: stack.enter_context(start(contender, folder.name)) for contender in jobs}
        for case in shapes:
            feed = subject.feed(*sizes(case))
            for _ in track(range(PROFILED_ROUNDS), f"{subject.title}, {case}"):
                for contender, process in running.items():
                    time.sleep(REST_SECONDS)
                    nodes = process.ask("profile", jobs[contender], feed, PROFILED_RUNS)
                    for node, taken in nodes.items():
                        found[contender][case].setdefault(node, []).extend(taken)
    for contender, by_case in found.items():
        print(f"\n{profile_table(f'{subject.title}: {contender.name}', by_case)}")
    print("\nMilliseconds of a run, the medians of the nodes added up by operator; profilers cost time themselves.")
    for name, reason in missing.items():
        print(f"{subject.title}: {name}: missing: {reason}")


def sizes(case: str) -> tuple[int, int]:
    """Read a shape such as 8x128: B and S."""
    rows, length = map(int, case.split("x"))
    return rows, length


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time Ortolan's int8 against optimum-onnx's and OpenVINO's.")
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="BxS", help="rows x tokens")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="2 or more")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, and time nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
