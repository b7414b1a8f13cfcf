"""Question: how fast are texts written, beside eager PyTorch and CTranslate2?

Expected: GPT-2 int8 at least 2.5 times as quick as CTranslate2's int8 and 6 times as quick as eager fp32, for one text
and for eight; T5-small and BART-base int8 at least 1.8 times as quick as CTranslate2's int8, and 1.3 times with 4
beams. (Seen: see the README.)

Random weights of real size, 32 tokens read and 64 written. Each contender is a process, with an environment of its own
where it needs one (ortolan_exporters.contenders); all get the same token ids and as many threads, and they take turns:
the others are idle while one is timed. A time is that of the whole call, from ids to ids. Before anything is timed,
what Ortolan writes in fp32 is compared with what torch writes.

    python -m benchmarks.writing_speed [--models gpt2 llama-135m t5-small bart-base] [--rounds 7]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import plain_table, to_json
from benchmarks.writing_models import MADE, SUBJECTS, artifact_of, checkpoint_of, prompts
from ortolan.progress import say
from ortolan.request import TextInput
from ortolan.session.processors import usable_threads
from ortolan.timing import Times
from ortolan_exporters.contenders.race import Race, Settings
from ortolan_exporters.contenders.registry import asked_for, own
from ortolan_exporters.contenders.subject import open_subject

VOCABULARY = 30_000  # prompts are drawn from tokens that every subject has
LEAST_ALIKE = 0.9
REFERENCE, RIVAL, EXACT, OURS = "eager fp32", "CTranslate2 int8", "Ortolan fp32", "Ortolan int8"
NAMES = (REFERENCE, "eager bf16", RIVAL, EXACT, OURS)
CONTENDERS = [
    one for one in (*asked_for(("torch", "torch-bf16", "ctranslate2")), *own(("fp32", "int8"))) if one.name in NAMES
]


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
    model = SUBJECTS[name]
    shapes = tuple(dict.fromkeys((texts, model.read) for texts, _ in model.cases))
    asked = prompts(VOCABULARY, max(shapes)[0], model.read, seed=1)
    texts = [TextInput(" ".join(f"t{index}" for index in prompt)) for prompt in asked]
    subject = open_subject(artifact_of(name), texts=texts, shapes=shapes, checkpoint=checkpoint_of(name))
    settings = Settings(
        folder=MADE / name,
        logs=OUT / "logs" / f"writing-{name}",
        threads=usable_threads(),
        rounds=rounds,
        kinds=("write",),
        written=model.written,
    )
    with Race(subject, settings) as running:
        running.prepare(CONTENDERS)
        found["alike"][name] = _alike(running)
        times = {
            case_name(name, *case): _times(taken)
            for case, taken in zip(model.cases, running.turns(running.heats()).values(), strict=True)
        }
        found["missing"][name] = {one.contender: one.reason for one in running.missing}
        found["versions"] |= running.versions
    return times


def _alike(running: Race) -> float:
    """Say which share of the tokens is what torch writes, greedily and in fp32; stop if many are not.

    The logits of random weights lie close together: where two are within the error of fp32, texts may part for good.
    """
    racers = running.racers
    if not all(name in racers and racers[name].kinds for name in (REFERENCE, EXACT)):
        raise SystemExit(f"{REFERENCE} or {EXACT} is missing: nothing is timed")
    share = racers[EXACT].quality["write"].same_label or 0.0
    say(f"{share:.1%} of the tokens are torch's")
    if share < LEAST_ALIKE:
        raise SystemExit(f"{EXACT} writes other texts than {REFERENCE}: nothing is timed")
    return share


def _times(taken: Mapping[str, list[tuple[float, ...]]]) -> dict[str, Times]:
    return {name: Times([list(calls) for calls in rounds]) for name, rounds in taken.items()}


def case_name(name: str, texts: int, beams: int) -> str:
    """Name a case as the record does."""
    return f"{name} {texts}x{beams}"


def tokens_of(case: str) -> int:
    """Tokens that a call of a case writes, beams counted once."""
    name, _, shape = case.rpartition(" ")
    return int(shape.split("x")[0]) * SUBJECTS[name].written


def speed_table(tokens: Mapping[str, int], times: Mapping[str, Mapping[str, Times]]) -> str:
    """Lay out tokens a second, in brackets how many times as quick Ortolan int8 is, as Markdown."""
    rows = []
    for case, by_name in times.items():
        cells = []
        for name in NAMES:
            if name not in by_name:
                cells.append("missing")
                continue
            speed = tokens[case] / by_name[name].median * 1e3
            ratio = "" if name == OURS else f" ({by_name[OURS].times_as_quick_as(by_name[name]):.2f}x)"
            cells.append(f"{speed:.0f}{ratio}")
        rows.append([_title(case), *cells])
    return plain_table(["tokens a second", *NAMES], rows)


def _title(case: str) -> str:
    name, _, shape = case.rpartition(" ")
    texts, beams = map(int, shape.split("x"))
    words = "one text" if texts == 1 else f"{texts} texts"
    return f"{SUBJECTS[name].title}, {words}" + (f", {beams} beams" if beams > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
