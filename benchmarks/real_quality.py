"""What does each precision cost on real weights?

Expected, for int8: vectors of MiniLM within a mean cosine of 0.99 and the order of sentence pairs unchanged within
0.005; tags and hidden atoms the same in 98 of 100; sentiment not more than 0.01 less accurate. Where a plain reduction
costs more than the gate allows, layers stay in fp32 until it does not, and the table says how many.

    python -m benchmarks.real_quality
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ortolan
from benchmarks import real_texts
from benchmarks.real_weights import real_checkpoint
from benchmarks.record import OUT, print_environment, write_record
from benchmarks.tables import plain_table
from ortolan.batch.lists import plan_batches
from ortolan.config import Precision
from ortolan.manifest import MANIFEST_NAME
from ortolan.progress import say, track
from ortolan_exporters import choose, export
from ortolan_exporters.data import read_texts
from ortolan_exporters.errors import ToleranceError
from ortolan_exporters.quality import spearman

SENTIMENT = Path(__file__).parents[1] / "models" / "sentiment-minilm"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-static", "int4", "fp16")
REDUCED = PRECISIONS[1:]
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One real model.

    Attributes:
        checkpoint: Makes or finds its folder.
        task: What it is exported for.
        calibration: Texts that the export may see; none of those that are measured on.
        measure: Compares the answers of a precision with those of fp32: what, and how much.
    """

    checkpoint: Callable[[], Path]
    task: str
    calibration: Callable[[], list[str]]
    measure: Callable[[ortolan.Model, ortolan.Model], dict[str, float]]
    eval_data: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, measure, print the table, and write the record."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("names", nargs="*", metavar="MODEL", help=f"of {', '.join(CASES)}; by default all")
    chosen = flags.parse_args(arguments).names or list(CASES)
    choose.ROUNDS = 1  # which form is quickest is of no interest here
    found = {name: measure(name, CASES[name]) for name in chosen}
    print(quality_table(found))
    print_environment()
    write_record("real_quality", {"models": {name: case.task for name, case in CASES.items()}}, found)
    return 0


def measure(name: str, case: Case) -> dict[str, Any]:
    """Export a model in every precision, and compare each with fp32."""
    folder = OUT / "real-artifacts" / name
    refused = make(folder, case.checkpoint(), case.task, case.calibration(), PRECISIONS, case.eval_data)
    artifact = ortolan.Artifact.open(folder)
    exact = ortolan.Model.load(folder, provider="cpu", precision="fp32")
    found: dict[str, Any] = {}
    for precision in REDUCED:
        if precision not in artifact.manifest.precisions:
            found[precision] = {"refused": refused[precision]}
            continue
        if precision == "fp16":  # no CPU session: what the export measured is all there is
            found[precision] = {}
        else:
            say(f"{name}, {precision}")
            found[precision] = case.measure(exact, ortolan.Model.load(folder, provider="cpu", precision=precision))
        record = artifact.manifest.precisions[precision]
        found[precision]["kept in fp32"] = len(record.kept_fp32)
        found[precision]["MB"] = artifact.manifest.files[record.graphs["model"].file].bytes / 1e6
        if "metric" in record.quality:
            found[precision]["drop"] = record.quality["metric"]["drop"]
    return found


def make(
    folder: Path,
    source: Path,
    task: str,
    calibration: Sequence[str],
    precisions: Sequence[Precision],
    eval_data: Path | None = None,
) -> dict[str, str]:
    """Export every precision that passes the gate, unless that is done.

    Args:
        folder: The artifact; beside it lie the texts of the export, and what the gate said.
        source: The checkpoint.
        task: What it is exported for.
        calibration: Texts that the export may see.
        precisions: Which to make.
        eval_data: Labelled texts that decide.

    Returns:
        Those that do not pass, with the reason.
    """
    texts, refusals = (folder.with_name(f"{folder.name}{end}") for end in (".jsonl", "-refused.json"))
    if (folder / MANIFEST_NAME).is_file():
        kept: dict[str, str] = json.loads(refusals.read_text(encoding="utf-8"))
        return kept
    folder.parent.mkdir(parents=True, exist_ok=True)
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in calibration), encoding="utf-8")
    wanted, refused = list(precisions), {}
    while not (folder / MANIFEST_NAME).is_file():
        try:
            export(source, folder, task, precisions=wanted, calibration=texts, eval_data=eval_data)
        except ToleranceError as error:
            [failed] = [precision for precision in wanted if error.asked.startswith(f"{precision} of ")]
            refused[str(failed)] = error.found
            wanted.remove(failed)
    refusals.write_text(json.dumps(refused), encoding="utf-8")
    return refused


def quality_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Lay out what was found, a row for each model and precision."""
    rows = []
    for name, precisions in found.items():
        for precision, numbers in precisions.items():
            if "refused" in numbers:
                rows.append([name, precision, f"refused by the gate: {numbers['refused']}", "", ""])
                continue
            shown = {key: value for key, value in numbers.items() if key not in ("kept in fp32", "MB")}
            text = ", ".join(f"{key} {value:.4f}" for key, value in shown.items()) or "see the manifest"
            rows.append([name, precision, text, numbers["kept in fp32"], f"{numbers['MB']:.1f}"])
    return plain_table(["model", "precision", "against fp32", "layers kept in fp32", "MB"], rows)


def outputs(model: ortolan.Model, texts: Sequence[str], name: str) -> list[tuple[Array, Array]]:
    """Run texts as a pipeline batches them: for each its token ids and its row of an output, padding left out."""
    lengths = [len(model.tokenizer([text], truncation=True)["input_ids"][0]) for text in texts]
    rows: list[Any] = [None] * len(texts)
    for batch in track(plan_batches(lengths, max_batch_size=32, max_batch_tokens=256), "running"):
        feed = model.tokenizer([texts[i] for i in batch], truncation=True)
        for index, ids, row in zip(batch, feed["input_ids"], model(**feed)[name], strict=True):
            size = lengths[index]
            rows[index] = (ids[:size], row[:size] if row.ndim > 1 else row)
    return rows


def embeddings(exact: ortolan.Model, model: ortolan.Model) -> dict[str, float]:
    """Cosine of 1,000 sentences, and how well the order of 1,000 pairs is kept."""
    texts = real_texts.sentences()
    one, other = (np.stack([row for _, row in outputs(each, texts, "sentence_embedding")]) for each in (exact, model))
    pairs = real_texts.sentence_pairs()
    firsts, seconds = zip(*pairs, strict=True)
    cosines = []
    for each in (exact, model):
        left, right = (
            np.stack([row for _, row in outputs(each, list(side), "sentence_embedding")]) for side in (firsts, seconds)
        )
        cosines.append((left * right).sum(-1))
    return {
        "mean cosine": float((one * other).sum(-1).mean()),
        "least cosine": float((one * other).sum(-1).min()),
        "Spearman of pairs": spearman(cosines[0], cosines[1]),
    }


def tags(exact: ortolan.Model, model: ortolan.Model) -> dict[str, float]:
    """Share of tokens with the same tag, and of those that fp32 gives another one than the most frequent."""
    texts = real_texts.damaged_sentences()
    one, other = (
        np.concatenate([row.argmax(-1) for _, row in outputs(each, texts, "logits")]) for each in (exact, model)
    )
    rare = one != np.bincount(one).argmax()
    return {"same tag": float((one == other).mean()), "same edit": float((one == other)[rare].mean())}


def masks(exact: ortolan.Model, model: ortolan.Model) -> dict[str, float]:
    """Share of hidden atoms with the same first choice, and how often each side's is right."""
    rows = real_texts.masked_reactions()[1::2]
    texts, answers = [text for text, _ in rows], [answer for _, answer in rows]
    words = json.loads((exact.artifact.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    names = {number: word for word, number in words.items()}
    best = []
    for each in (exact, model):
        found = outputs(each, texts, "logits")
        best.append([names[int(row[ids == words["[MASK]"]][0].argmax())] for ids, row in found])
    same = np.mean([a == b for a, b in zip(*best, strict=True)])
    right = [float(np.mean([a == b for a, b in zip(one, answers, strict=True)])) for one in best]
    return {"same atom": float(same), "right in fp32": right[0], "right here": right[1]}


def labels(exact: ortolan.Model, model: ortolan.Model) -> dict[str, float]:
    """Share of held-out sentences with the same label."""
    texts = [item.text for item in read_texts(SENTIMENT / "heldout.jsonl")]
    one, other = (np.stack([row for _, row in outputs(each, texts, "logits")]).argmax(-1) for each in (exact, model))
    return {"same label": float((one == other).mean())}


def _calibration_sentences() -> list[str]:
    return [item.text for item in read_texts(SENTIMENT / "calibration.jsonl")]


def _calibration_reactions() -> list[str]:
    return [text for text, _ in real_texts.masked_reactions()[0::2]]


def _real(name: str) -> Callable[[], Path]:
    return lambda: real_checkpoint(name)


CASES = {
    "minilm": Case(_real("minilm"), "sentence-embedding", _calibration_sentences, embeddings),
    "tagger": Case(_real("tagger"), "token-classification", _calibration_sentences, tags),
    "smiles-albert": Case(_real("smiles-albert"), "fill-mask", _calibration_reactions, masks),
    "smiles-bert": Case(_real("smiles-bert"), "fill-mask", _calibration_reactions, masks),
    "sentiment": Case(
        lambda: SENTIMENT, "text-classification", _calibration_sentences, labels, SENTIMENT / "heldout.jsonl"
    ),
}


if __name__ == "__main__":
    sys.exit(main())
