"""Question: how fast are texts written, beside eager PyTorch and CTranslate2?

Expected: GPT-2 int8 at least 2.5 times as quick as CTranslate2's int8 and 6 times as quick as eager fp32, for one text
and for eight; T5-small and BART-base int8 at least 1.8 times as quick as CTranslate2's int8, and 1.3 times with 4
beams. (Seen: see the README.)

Random weights of real size, 32 tokens read and 64 written. Each contender is a process, with an environment of its own
where it needs one; all get the same token ids and as many threads, and they take turns: the others are idle while one
is timed. A time is that of the whole call: Ortolan's is a pipeline's, from text to text. Before anything is timed,
what Ortolan writes in fp32 is compared with what torch writes.

    python -m benchmarks.writing_speed [--models gpt2 t5-small bart-base] [--rounds 7]
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks.peer_environments import InstallError, python_of
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import plain_table, to_json
from benchmarks.workers.process import Process, WorkerError
from benchmarks.workers.writing import WritingJob
from benchmarks.writing_models import MADE, SUBJECTS, WritingSubject, checkpoint_of, prompts
from ortolan.progress import say, track
from ortolan.session.processors import usable_threads
from ortolan.timing import Times

REST_SECONDS = 0.1  # ONNX Runtime's threads were seen to spin for 40 ms of processor time after a call
VOCABULARY = 30_000  # prompts are drawn from tokens that every subject has
REFERENCE, RIVAL, EXACT, OURS = "eager fp32", "CTranslate2 int8", "Ortolan fp32", "Ortolan int8"
CONTENDERS = {
    REFERENCE: ("write_torch", "fp32"),
    "eager bf16": ("write_torch", "bf16"),
    RIVAL: ("write_ctranslate2", "int8"),
    EXACT: ("write_ortolan", "fp32"),
    OURS: ("write_ortolan", "int8"),
}
"""Program in benchmarks/workers/ and precision, by name."""


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="How fast are texts written?")
    parser.add_argument("--models", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    times: dict[str, dict[str, Times]] = {}
    found: dict[str, Any] = {"missing": {}, "versions": {}, "alike": {}}
    for name in options.models:
        times |= race(name, options.rounds, found)
    print(f"\n{speed_table({case: tokens_of(case) for case in times}, times)}\n")
    print_environment()
    titles = {name: SUBJECTS[name].title for name in options.models}
    counts = {case: tokens_of(case) for case in times}
    write_record(
        "writing_speed", {"rounds": options.rounds, "titles": titles, "tokens": counts, **found}, to_json(times)
    )
    return 0


def race(name: str, rounds: int, found: dict[str, Any]) -> dict[str, dict[str, Times]]:
    """Make, compare and time all contenders of one model."""
    subject, missing = SUBJECTS[name], found["missing"].setdefault(name, {})
    with ExitStack() as stack:
        running: dict[str, Process] = {}
        for contender, (program, precision) in CONTENDERS.items():
            say(f"{subject.title}: {contender}")
            checkpoint, folder = checkpoint_of(name), MADE / name / program
            job = WritingJob(str(checkpoint), str(folder), precision, usable_threads(), subject.has_encoder)
            log = OUT / "logs" / f"writing-{name}-{program}-{precision}.log"
            try:
                with Process(python_of(program), program, log) as maker:  # whose memory is given back
                    maker.ask("make", job)
                process = stack.enter_context(Process(python_of(program), program, log))
                process.ask("load", job)
                found["versions"][program] = process.ask("versions")
                running[contender] = process
            except (InstallError, WorkerError) as error:
                say(f"missing: {error}")
                missing[contender] = str(error)
        found["alike"][name] = compare(running, subject)
        return {
            case_name(name, texts, beams): take_turns(running, subject, texts, beams, rounds)
            for texts, beams in subject.cases
        }


def compare(running: Mapping[str, Process], subject: WritingSubject) -> float:
    """Say which share of the tokens is what torch writes, greedily and in fp32; stop if many are not.

    The logits of random weights lie close together: where two are within the error of fp32, texts may part for good.
    """
    if REFERENCE not in running or EXACT not in running:
        raise SystemExit(f"{REFERENCE} or {EXACT} is missing: nothing is timed")
    asked = prompts(VOCABULARY, 8, subject.read, seed=1)
    texts = {name: running[name].ask("write", asked, subject.written, 1) for name in (REFERENCE, EXACT)}
    pairs = [
        one == other
        for ours, theirs in zip(texts[EXACT], texts[REFERENCE], strict=True)
        for one, other in zip(ours, theirs, strict=True)
    ]
    share = sum(pairs) / len(pairs)
    say(f"{subject.title}: {share:.1%} of {len(pairs)} tokens are torch's")
    if share < 0.9:
        raise SystemExit(f"{EXACT} writes other texts than {REFERENCE}: nothing is timed")
    return share


def take_turns(
    running: Mapping[str, Process], subject: WritingSubject, texts: int, beams: int, rounds: int
) -> dict[str, Times]:
    """Time a call of each in every round, in a new order; a first round is not counted."""
    taken: dict[str, list[list[float]]] = {name: [] for name in running}
    draw = random.Random(0)
    for number in track(range(rounds + 1), f"{subject.title}, {texts} texts, {beams} beams"):
        asked = prompts(VOCABULARY, texts, subject.read, seed=number)
        for name in draw.sample(list(running), len(running)):
            time.sleep(REST_SECONDS)
            milliseconds = running[name].ask("time", asked, subject.written, beams, 1)
            if number:
                taken[name].append(milliseconds)
    return {name: Times(by_round) for name, by_round in taken.items()}


def case_name(name: str, texts: int, beams: int) -> str:
    """Name a case as the record does."""
    return f"{name} {texts}x{beams}"


def tokens_of(case: str) -> int:
    """Tokens that a call of a case writes, beams counted once."""
    name, _, shape = case.rpartition(" ")
    return int(shape.split("x")[0]) * SUBJECTS[name].written


def speed_table(tokens: Mapping[str, int], times: Mapping[str, Mapping[str, Times]]) -> str:
    """Lay out tokens a second, in brackets how many times as quick Ortolan int8 is, as Markdown."""
    names = list(CONTENDERS)
    rows = []
    for case, by_name in times.items():
        cells = []
        for name in names:
            if name not in by_name:
                cells.append("missing")
                continue
            speed = tokens[case] / by_name[name].median * 1e3
            ratio = "" if name == OURS else f" ({by_name[OURS].times_as_quick_as(by_name[name]):.2f}x)"
            cells.append(f"{speed:.0f}{ratio}")
        rows.append([_title(case), *cells])
    return plain_table(["tokens a second", *names], rows)


def _title(case: str) -> str:
    name, _, shape = case.rpartition(" ")
    texts, beams = map(int, shape.split("x"))
    words = "one text" if texts == 1 else f"{texts} texts"
    return f"{SUBJECTS[name].title}, {words}" + (f", {beams} beams" if beams > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
