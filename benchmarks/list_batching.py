"""Question: how many tokens should a batch hold when a pipeline gets a list?

Expected: throughput rises until 128 to 256 tokens and then stays flat or falls; one at a time is slowest.

    python -m benchmarks.list_batching
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import ortolan
from benchmarks.record import print_environment, write_record
from benchmarks.tables import to_json
from ortolan.batch.lists import plan_batches
from ortolan.request import TextInput
from ortolan.timing import interleave
from ortolan_exporters import export

CHECKPOINT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
BUDGETS = (1, 64, 128, 256, 512, 1024, 4096)
NUM_SENTENCES = 500
ROUNDS = 3


def main() -> int:
    """Run the benchmark."""
    lines = (CHECKPOINT / "heldout.jsonl").read_text("utf-8").rstrip("\n").split("\n")[:NUM_SENTENCES]
    texts = [json.loads(line)["text"] for line in lines]
    cases = {}
    with tempfile.TemporaryDirectory() as folder:
        export(CHECKPOINT, Path(folder) / "sentiment")
        for precision in ("fp32", "int8"):
            model = ortolan.Model.load(Path(folder) / "sentiment", "cpu", precision)
            encodings = model.tokenizer.encode([TextInput(text) for text in texts])
            lengths = [len(encoding.ids) for encoding in encodings]

            def run(
                budget: int, model: ortolan.Model = model, encodings: list = encodings, lengths: list = lengths
            ) -> None:
                for batch in plan_batches(lengths, max_batch_size=32, max_batch_tokens=budget):
                    model(**model.tokenizer.pad([encodings[i] for i in batch]))

            calls = {str(budget): (lambda budget=budget: run(budget)) for budget in BUDGETS}
            cases[precision] = interleave(calls, ROUNDS, f"{precision}, budgets", calls=2)
    print(f"{NUM_SENTENCES} held-out sentences, at most 32 rows a batch; median milliseconds, without tokenization\n")
    print("| tokens a batch | " + " | ".join(cases) + " |\n| --- | --- | --- |")
    for budget in map(str, BUDGETS):
        print(f"| {budget} | " + " | ".join(f"{times[budget].median:.0f}" for times in cases.values()) + " |")
    print_environment()
    settings = {"rounds": ROUNDS, "sentences": NUM_SENTENCES, "max_batch_size": 32}
    write_record("list_batching", settings, to_json(cases))
    return 0


if __name__ == "__main__":
    sys.exit(main())
