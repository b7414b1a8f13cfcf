"""Question: do real models write in Ortolan what they write in torch, and what do precisions cost?

Expected: in fp32 every text is torch's, character for character: 500 pronunciations of a BART, 2,000 of a T5, and what
SmolLM2 makes of ten prompts. In int8, exact match within 0.01 of torch's, and a page of prose surprises SmolLM2 no more
than in torch. In int4 it is known to lose more than the gate allows; how much is measured as if there were no gate, and
the table says what the gate would have said.

Texts are written one at a time and greedily. The page of prose that perplexity is measured on was written for it.

    python -m benchmarks.real_generation [MODEL ...]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import ortolan
from benchmarks.real_checkpoints import load_module
from benchmarks.real_quality import make
from benchmarks.real_weights import MODELS, REAL, package_folder, real_checkpoint
from benchmarks.real_writers import written
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import plain_table
from ortolan.config import Precision
from ortolan.postprocess.activations import FloatArray
from ortolan.progress import say, track
from ortolan_exporters import choose, precisions
from ortolan_exporters.data import builtin_texts
from ortolan_exporters.heads.text_generation import TextGeneration
from ortolan_exporters.quality import Agreement, faults

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int4")
NUM_WORDS, NUM_CALIBRATION = 500, 256
LEAST_AGREEMENT = TextGeneration.least_agreement
SEED = 0
MAX_SOUNDS, MAX_CONTINUATION = 48, 24
TRAINING = Path(__file__).parents[1] / "models" / "pronunciation-t5" / "train.py"
PAGE = Path(__file__).parent / "real_page.txt"
PROMPTS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "Once upon a time, in a village by the sea,",
    "The three primary colours are",
    "To make an omelette, first",
    "In 1969, the first human being",
    "def add(a, b):\n    return",
    "Dear Sir or Madam,\n\nI am writing to",
    "The opposite of hot is",
    "Photosynthesis is the process by which",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One real model that writes.

    Attributes:
        checkpoint: Makes or finds its folder.
        task: What it is exported for.
        calibration: Texts that the export may see.
        texts: What is written to, and what is right, if that is known.
        length: Most tokens that are written to each.
        page: Text whose perplexity is measured.
        ungated: What is measured whatever the gate says of it.
    """

    checkpoint: Callable[[], Path]
    task: str
    calibration: Callable[[], list[str]]
    texts: Callable[[], list[tuple[str, str | None]]]
    length: int
    page: Path | None = None
    ungated: tuple[Precision, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, write, print the table, and write the record."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("names", nargs="*", metavar="MODEL", help=f"of {', '.join(CASES)}; by default all")
    chosen = flags.parse_args(arguments).names or list(CASES)
    choose.ROUNDS = 1  # which form is quickest is of no interest here
    found = {name: measure(name, CASES[name]) for name in chosen}
    print(generation_table(found))
    print_environment()
    settings = {"prompts": PROMPTS, "page": PAGE.name, "seed": SEED}
    write_record("real_generation", settings, found)
    return 0


def measure(name: str, case: Case) -> dict[str, Any]:
    """Export a model in every precision, and hold each against torch."""
    folder, source = OUT / "real-artifacts" / name, case.checkpoint()
    texts, rights = zip(*case.texts(), strict=True)
    say(f"{name}, torch")
    module = load_module(_head(case.task), source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    expected = written(module, tokenizer, texts, case.length)
    found: dict[str, Any] = {"torch": _scores(expected, expected, rights)}
    if case.page is not None:
        ids = tokenizer(case.page.read_text(encoding="utf-8"), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            found["torch"]["perplexity"] = perplexity(module(ids).logits[0].numpy(), ids[0].numpy())
    given = (source, case.task, case.calibration())
    refused = make(folder, *given, tuple(one for one in PRECISIONS if one not in case.ungated))
    if case.ungated:
        with gate(decides=False):
            make(folder.with_name(f"{name}-ungated"), *given, ("fp32", *case.ungated))
    for precision in PRECISIONS:
        folder = folder.with_name(f"{name}-ungated" if precision in case.ungated else name)
        artifact = ortolan.Artifact.open(folder)
        if precision in refused:
            found[precision] = {"refused": refused[precision]}
            continue
        pipe = ortolan.pipeline(case.task, folder, provider="cpu", precision=precision)
        options = {"return_full_text": False, "do_sample": False} if case.task == "text-generation" else {}
        answers = track(texts, f"{name}, {precision}")
        got = [pipe(text, max_new_tokens=case.length, **options)[0]["generated_text"] for text in answers]
        found[precision] = _scores(expected, got, rights)
        record = artifact.manifest.precisions[precision]
        if case.page is not None:
            model = ortolan.Model.load(folder, provider="cpu", precision=precision)
            feed = model.tokenizer([case.page.read_text(encoding="utf-8")])
            found[precision]["perplexity"] = perplexity(model(**feed).logits[0], feed["input_ids"][0])
        if precision != "fp32":
            found[precision]["gate"] = verdict(record.quality)
        found[precision]["kept in fp32"] = len(record.kept_fp32)
        files = {graph.file for graph in record.graphs.values()}
        found[precision]["MB"] = sum(artifact.manifest.files[file].bytes for file in files) / 1e6
    return found


@contextmanager
def gate(*, decides: bool) -> Iterator[None]:
    """Publish what the gate would refuse, too, unless it decides; fp32 has to be torch's in any case."""
    judge = precisions.faults
    if not decides:
        precisions.faults = lambda *_: []
    try:
        yield
    finally:
        precisions.faults = judge


def verdict(quality: Mapping[str, Any]) -> str:
    """Say what the gate has against a precision whose quality a manifest tells; nothing if it passes."""
    names = ("texts", "decisions", "label_agreement", "mean_probability_difference", "max_probability_difference")
    found = Agreement(**{name: quality[name] for name in (*names, "expected_drop")})
    return "; ".join(faults(found, None, quality["max_drop"], LEAST_AGREEMENT))


def perplexity(logits: FloatArray, ids: Any) -> float:
    """How surprised a model is by each token of a text, on average; 1 if not at all.

    Args:
        logits: float32 [S, V], for what comes after each token.
        ids: int64 [S].
    """
    scores = logits[:-1].astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    told = scores[np.arange(len(scores)), ids[1:]] - np.log(np.exp(scores).sum(axis=-1))
    return float(np.exp(-told.mean()))


def alike(expected: str, got: str) -> float:
    """Share of a text that is written as expected, up to the first character that is not."""
    same = next((at for at, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other), None)
    shorter, longer = sorted((len(expected), len(got)))
    return (shorter if same is None else same) / longer if longer else 1.0


def generation_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Lay out what was found, a row for each model and precision."""
    rows: list[list[object]] = []
    for name, by_precision in found.items():
        for precision, numbers in by_precision.items():
            if "refused" in numbers:
                rows.append([name, precision, f"refused by the gate: {numbers['refused']}", "", "", "", "", ""])
                continue
            same = f"{numbers['same']} of {numbers['texts']}, {numbers['alike']:.1%}"
            share, surprise = numbers.get("exact match"), numbers.get("perplexity")
            rows.append(
                [
                    name,
                    precision,
                    "" if precision == "torch" else same,
                    "" if share is None else f"{share:.1%}",
                    "" if surprise is None else f"{surprise:.2f}",
                    numbers.get("gate", ""),
                    numbers.get("kept in fp32", ""),
                    f"{numbers['MB']:.1f}" if "MB" in numbers else "",
                ]
            )
    head = ["model", "precision", "texts as torch's, and how far on average", "exact match", "perplexity"]
    return plain_table([*head, "the gate would say", "layers kept in fp32", "MB"], rows)


def _scores(expected: Sequence[str], got: Sequence[str], rights: Sequence[str | None]) -> dict[str, Any]:
    pairs = list(zip(expected, got, strict=True))
    found: dict[str, Any] = {
        "texts": len(pairs),
        "same": sum(one == other for one, other in pairs),
        "alike": float(np.mean([alike(one, other) for one, other in pairs])),
    }
    if None not in rights:
        found["exact match"] = float(np.mean([one == right for one, right in zip(got, rights, strict=True)]))
    elif len(got) <= len(PROMPTS):
        found["written"] = list(got)
    return found


def _head(task: str) -> Any:
    writers = {
        "text-generation": transformers.AutoModelForCausalLM,
        "text2text-generation": transformers.AutoModelForSeq2SeqLM,
    }
    return writers[task]


def trained_checkpoint() -> Path:
    """Train the T5 unless that is done: about ten minutes on two cores."""
    folder = REAL / "pronunciation-t5"
    if not (folder / "config.json").is_file():
        command = [sys.executable, str(TRAINING), "--data", str(_dictionary()), "--output", str(folder)]
        subprocess.run(command, check=True)
    return folder


def _dictionary() -> Path:
    return package_folder(MODELS["pronouncer"]) / "us_gold.json"


def _words() -> list[str]:
    """Words in small letters, in an order of no meaning: `NUM_WORDS` to ask, and others to calibrate with."""
    every = json.loads(_dictionary().read_text(encoding="utf-8"))
    words = [word for word in every if word.isalpha() and word.islower()]
    return random.Random(SEED).sample(words, NUM_WORDS + NUM_CALIBRATION)


def _words_not_held_out() -> list[str]:
    heldout = {text for text, _ in _heldout()}
    return [word for word in _words()[NUM_WORDS:] if word not in heldout]


def _heldout() -> list[tuple[str, str | None]]:
    lines = (trained_checkpoint() / "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["sounds"]) for row in map(json.loads, lines)]


CASES = {
    "pronouncer": Case(
        lambda: real_checkpoint("pronouncer"),
        "text2text-generation",
        lambda: _words()[NUM_WORDS:],
        lambda: [(word, None) for word in _words()[:NUM_WORDS]],
        MAX_SOUNDS,
    ),
    "pronunciation-t5": Case(trained_checkpoint, "text2text-generation", _words_not_held_out, _heldout, MAX_SOUNDS),
    "smollm2": Case(
        lambda: real_checkpoint("smollm2"),
        "text-generation",
        lambda: [item.text for item in builtin_texts()],
        lambda: [(prompt, None) for prompt in PROMPTS],
        MAX_CONTINUATION,
        page=PAGE,
        ungated=("int4",),
    ),
}


if __name__ == "__main__":
    sys.exit(main())
