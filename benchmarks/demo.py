"""The whole road on real input: export, the gate's evidence, answers, and a race against eager PyTorch.

    make demo

Question: how much quicker is the default model as an int8 artifact than in PyTorch, and what does it cost?
Expected: four times or more at one text of 128 tokens, for at most one label in a hundred.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import transformers

import ortolan
from benchmarks.contenders import Eager, Ortolan, check_parity, four_contenders
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import table, to_json
from ortolan.cli import main as ortolan_command
from ortolan.timing import CALLS, Times, interleave
from ortolan_exporters import export
from ortolan_exporters.example_inputs import Vocabulary, example_batch

CHECKPOINT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
LENGTHS = (16, 64, 128)
NUM_SENTENCES = 500
ROUNDS = 15
ROUNDS_MIXED = 3

SENTENCES = (
    "The battery died after two days and nobody answered my mails.",
    "I laughed until I cried, and I would watch it again tomorrow.",
    "Not bad at all, though the second half drags a little.",
    "Another rainy Monday, another train that did not come.",
    "The committee praised her courage and her patience.",
)


def main() -> int:
    """Run the demo."""
    started = time.perf_counter()
    artifact = OUT / "sentiment"
    shutil.rmtree(artifact, ignore_errors=True)
    heading("1. Export: checkpoint to fp32 and int8, each compared with torch")
    export(CHECKPOINT, artifact, eval_data=CHECKPOINT / "heldout.jsonl")
    heading("2. The evidence, as the manifest keeps it (ortolan inspect)")
    ortolan_command(["inspect", str(artifact)])
    heading("3. Answers, by a pipeline without torch")
    pipe = ortolan.pipeline("sentiment-analysis", artifact)
    print(f"{pipe.model.precision} on {pipe.model.provider}: {pipe.model.reason}")
    for text, answer in zip(SENTENCES, pipe(list(SENTENCES)), strict=True):
        print(f"  {answer['label']:<8} {answer['score']:.3f}  {text}")
    heading("4. The race: contenders take turns, median milliseconds, times as quick as eager fp32 in brackets")
    race(artifact)
    print(f"\ndone in {time.perf_counter() - started:.0f} s")
    return 0


def race(artifact: Path) -> None:
    """Time the four contenders and print a table."""
    contenders = four_contenders(load, transformers.AutoTokenizer.from_pretrained(CHECKPOINT), artifact)
    rows = {f"1 x {length} tokens": time_length(contenders, length) for length in LENGTHS}
    sentences = [
        json.loads(line)["text"] for line in (CHECKPOINT / "heldout.jsonl").read_text("utf-8").rstrip("\n").split("\n")
    ]
    sentences = sentences[:NUM_SENTENCES]
    mixed = {name: (lambda one=one: one.classify(sentences)) for name, one in contenders.items()}
    rows[f"{len(sentences)} held-out sentences"] = interleave(mixed, ROUNDS_MIXED, "mixed lengths", calls=1)
    print(table("milliseconds", rows, "eager fp32"))
    print_environment()
    print("The sentences include tokenization, and run in the same length-sorted batches for all.")
    settings = {
        "accuracy": accuracies(artifact),
        "calls": CALLS,
        "rounds": ROUNDS,
        "rounds_mixed": ROUNDS_MIXED,
        "sentences": len(sentences),
        "model": CHECKPOINT.name,
    }
    write_record("demo", settings, to_json(rows))


def accuracies(artifact: Path) -> dict[str, float]:
    """Held-out accuracy of torch and of each precision, as the gate measured it."""
    metrics = {name: one.quality["metric"] for name, one in ortolan.Artifact.open(artifact).manifest.precisions.items()}
    return {"texts": metrics["int8"]["texts"], "torch": metrics["int8"]["torch"]} | {
        name: metric["this"] for name, metric in metrics.items()
    }


def time_length(contenders: dict[str, Eager | Ortolan], length: int) -> dict[str, Times]:
    """Time one text of so many tokens, after checking that all answer alike."""
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    feed = example_batch(inputs, 1, length, vocabulary=Vocabulary(30_000), padding=False)
    feed["token_type_ids"][:] = 0
    check_parity(contenders, feed)
    calls = {name: (lambda one=one: one.logits(feed)) for name, one in contenders.items()}
    return interleave(calls, ROUNDS, f"1 x {length}")


def load() -> Any:
    """Load the checkpoint in torch."""
    return transformers.AutoModelForSequenceClassification.from_pretrained(CHECKPOINT, dtype="float32")


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n== {text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
