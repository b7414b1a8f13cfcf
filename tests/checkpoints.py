"""Tiny seeded checkpoints with tokenizers of real size, and quick exports of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import transformers
from tokenizers import AddedToken, processors

from benchmarks import zoo
from ortolan import Artifact, timing
from ortolan_exporters import choose, export

ROOT = Path(__file__).parents[1]
TOKENIZERS = ROOT / "tests" / "goldens" / "tokenizers"
UNCASED = ROOT / "models" / "sentiment-minilm" / "tokenizer.json"

KINDS = ("wordpiece-uncased", "wordpiece-cased", "byte-level", "unigram")

NLI_LABELS = {0: "contradiction", 1: "neutral", 2: "entailment"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC", 5: "MISC"}
UNKNOWN = {"wordpiece-uncased": "[UNK]", "wordpiece-cased": "[UNK]", "unigram": "<unk>"}
"""The token that a kind's own model asks for, whatever the architecture calls it."""

LABELS = {"text-classification": NLI_LABELS, "token-classification": TAGS}

CALIBRATION = (
    "The film was good, and the music even better.",
    "Rain.",
    "I would not go there again, not even if someone paid for the ticket!",
    "Wer reitet so spät durch Nacht und Wind?",
)


def checkpoint(
    folder: Path, model_type: str, task: str, tokenizer_kind: str, *, seed: int = 0, **overrides: Any
) -> Path:
    """Write a tiny checkpoint as save_pretrained does.

    Args:
        folder: Where; it is made.
        model_type: One that the zoo holds.
        task: Decides the head.
        tokenizer_kind: Of `KINDS`.
        seed: Of the weights.
        overrides: Entries of config.json; `max_position_embeddings` bounds the tokenizer too.

    Returns:
        `folder`.
    """
    tokenizer = real_tokenizer(tokenizer_kind, model_type)
    special = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos", "cls", "sep")
    }
    if model_type in ("bart", "mbart", "t5"):
        special["decoder_start_token_id"] = tokenizer.pad_token_id if model_type == "t5" else tokenizer.bos_token_id
    names = LABELS.get(task, {})
    ids = {name: number for number, name in names.items()}
    labels = {"num_labels": None, "id2label": names, "label2id": ids} if names else {}
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 520, **special, **labels, **overrides}
    model = zoo.model_for(model_type, task, seed=seed, **settings)
    model.save_pretrained(folder)
    # two positions may be taken: RoBERTa counts from after its padding token
    tokenizer.model_max_length = min(512, settings["max_position_embeddings"] - 2)
    tokenizer.save_pretrained(folder)
    lines = [json.dumps({"text": text}) for text in CALIBRATION]
    (folder / "calibration.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def real_tokenizer(kind: str, model_type: str) -> Any:
    """Load a tokenizer of real size, with the special tokens that an architecture wants.

    Tokens that the vocabulary lacks are added to its end, but for RoBERTa and those like it, which count positions from
    the id of their padding token: theirs come first.
    """
    wanted = zoo.KINDS[zoo.TOKENIZERS[model_type]]
    # GPT-2 has no padding token: who needs one takes its end token
    names = {"pad": wanted.special.get("eos", ""), **wanted.special}
    if kind in UNKNOWN:
        names["unk"] = UNKNOWN[kind]
    document = json.loads(tokenizer_json(kind))
    if wanted.template[0] == "<s> $A </s>":
        _put_in_front(document, [names["bos"], names["pad"], names["eos"], names["unk"]])
    backend = tokenizers.Tokenizer.from_str(json.dumps(document))
    backend.add_special_tokens([_added(name) for name in names.values()])
    backend.post_processor = _post_processor(backend, kind, wanted.template)
    has_segments = ":1" in wanted.template[1]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", *(["token_type_ids"] if has_segments else []), "attention_mask"],
        clean_up_tokenization_spaces=kind == "wordpiece-uncased",
        **{f"{role}_token": _added(name) for role, name in names.items()},
    )


def tokenizer_json(kind: str) -> str:
    """Read the tokenizer.json of a kind, as it is."""
    if kind == "wordpiece-uncased":
        return UNCASED.read_text(encoding="utf-8")
    return gzip.decompress((TOKENIZERS / kind / "tokenizer.json.gz").read_bytes()).decode()


def artifact(checkpoint: Path, folder: Path, task: str | None = None) -> Artifact:
    """Export in fp32, in a few seconds: which attention form is quickest is of no interest here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "ROUNDS", 1)
        patch.setattr(choose, "CALLS", 1)
        patch.setattr(timing, "REST_SECONDS", 0)
        patch.setattr(timing, "WARM_UP_SECONDS", 0)
        return export(checkpoint, folder, task, precisions=("fp32",))


def _put_in_front(document: dict[str, Any], first: list[str]) -> None:
    """Give some tokens the ids from 0 on, and take away those that only its own architecture knows."""
    model = document["model"]
    before = model["vocab"]
    scores = dict(before) if isinstance(before, list) else {}
    known = [row[0] for row in before] if isinstance(before, list) else sorted(before, key=before.__getitem__)
    gone = {*first, *(token["content"] for token in document["added_tokens"])} - {"[UNK]"}
    words = [*first, *(word for word in known if word not in gone)]
    if isinstance(before, list):
        model["vocab"] = [(word, scores.get(word, 0.0)) for word in words]
        model["unk_id"] = words.index("<unk>")
    else:
        model["vocab"] = {word: number for number, word in enumerate(words)}
    document["added_tokens"] = []


def _added(name: str) -> AddedToken:
    # RoBERTa's and XLM-R's mask take the space before them along
    return AddedToken(name, lstrip=name == "<mask>", special=True, normalized=False)


def _post_processor(backend: tokenizers.Tokenizer, kind: str, template: tuple[str, str]) -> Any:
    pieces = {piece.split(":")[0] for text in template for piece in text.split() if not piece.startswith("$")}
    marks = {piece: backend.token_to_id(piece) for piece in sorted(pieces)}
    if kind == "byte-level" and not marks:
        return processors.ByteLevel(trim_offsets=False)  # GPT-2
    if kind == "byte-level" and "<s>" in marks:
        return processors.RobertaProcessing(("</s>", marks["</s>"]), ("<s>", marks["<s>"]), add_prefix_space=False)
    return processors.TemplateProcessing(single=template[0], pair=template[1], special_tokens=list(marks.items()))
