"""Question: how much quicker than eager PyTorch is an encoder of DistilBERT-base size, by length and batch?

Expected: int8 five times as quick as fp32 in eager mode at one text of 128 tokens, and 1.5 times as quick as bf16.
Weights are random: this measures a shape of real size, not a model.

    python -m benchmarks.encoder_latency
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from benchmarks.contenders import check_parity, four_contenders
from benchmarks.record import print_environment, write_record
from benchmarks.tables import table, to_json
from ortolan.timing import CALLS, Times, interleave
from ortolan_exporters import export
from ortolan_exporters.example_inputs import Vocabulary, example_batch

TOKENIZER = Path(__file__).parents[1] / "models" / "sentiment-minilm"
SHAPES = ((1, 8), (1, 16), (1, 32), (1, 64), (1, 128), (8, 32), (8, 128))
ROUNDS = 11


def main() -> int:
    """Run the benchmark."""
    torch.manual_seed(0)
    module = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig()).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    rows: dict[str, dict[str, Times]] = {}
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder) / "distilbert-size"
        export(module, artifact, tokenizer=tokenizer)
        contenders = four_contenders(lambda: copy.deepcopy(module), tokenizer, artifact)
        for rows_of_batch, length in SHAPES:
            feed = example_batch(
                ("input_ids", "attention_mask"), rows_of_batch, length, vocabulary=Vocabulary(30_000), padding=False
            )
            check_parity(contenders, feed)
            calls = {name: (lambda one=one, feed=feed: one.logits(feed)) for name, one in contenders.items()}
            case = f"{rows_of_batch} x {length}"
            rows[case] = interleave(calls, ROUNDS, case)
    print("DistilBERT-base size, random weights; median milliseconds, times as quick as eager fp32 in brackets\n")
    print(table("B x S", rows, "eager fp32"))
    print_environment()
    settings = {"calls": CALLS, "rounds": ROUNDS, "seed": 0, "model": "DistilBertConfig(), random weights, real size"}
    write_record("encoder_latency", settings, to_json(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
