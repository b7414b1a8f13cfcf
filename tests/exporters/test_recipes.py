"""Folders with a recipe.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import transformers

from benchmarks import zoo
from ortolan import Artifact, ConfigError, MissingFileError
from ortolan.cli import main
from ortolan_exporters import recipe as exporter
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.data import read_texts
from ortolan_exporters.heads.registry import HEADS
from ortolan_exporters.recipes import recipe_of
from tests.engine.damage import as_hub_snapshot

MODELS = Path(__file__).parents[2] / "models"
RECIPES = sorted(path.parent.name for path in MODELS.glob("*/recipe.json"))
NER_LABELS = ["O", *(f"{place}-{kind}" for kind in ("MISC", "PER", "ORG", "LOC") for place in "BI")]
"""Labels of dslim/bert-base-NER."""


KEYS = (
    "source",
    "revision",
    "task",
    "precisions",
    "evaluation",
    "calibration",
    "max_drop",
    "limits",
    "license",
    "notes",
)


def write(folder: Path, **entries: object) -> Path:
    """Write a recipe."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    """What is said of a recipe that can't be used, without the path."""
    with pytest.raises((ConfigError, MissingFileError)) as caught:
        recipe_of(folder)
    return str(caught.value).removeprefix(f"recipe '{folder / 'recipe.json'}' requested, ")


# Reading


def test_recipe_gives_source_options_and_statements(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "mine",
        source="org/name",
        revision="v2",
        task="text-classification",
        precisions=["fp32", "int4"],
        evaluation={"file": "heldout.jsonl", "metric": "accuracy on ten texts"},
        calibration="texts.jsonl",
        max_drop=0.02,
        limits=["English."],
        license="mit",
        notes="None.",
    )
    (folder / "heldout.jsonl").touch()
    (folder / "texts.jsonl").touch()
    found = recipe_of(folder)
    assert found.model == "org/name"
    assert found.completed() == {
        "revision": "v2",
        "task": "text-classification",
        "precisions": ("fp32", "int4"),
        "max_drop": 0.02,
        "eval_data": folder / "heldout.jsonl",
        "calibration": folder / "texts.jsonl",
    }
    assert found.statements == {
        "license": "mit",
        "notes": "None.",
        "limits": ["English."],
        "evaluation": "accuracy on ten texts",
    }


def test_source_alone_is_enough(tmp_path: Path) -> None:
    found = recipe_of(write(tmp_path / "mine", source="org/name"))
    assert (found.model, found.completed(), found.statements) == ("org/name", {}, {})


def test_limits_may_be_one_sentence(tmp_path: Path) -> None:
    found = recipe_of(write(tmp_path / "mine", source="org/name", limits="English."))
    assert found.statements == {"limits": ["English."]}


@pytest.mark.parametrize("source", [".", "weights", "../other"])
def test_source_may_be_a_folder_as_seen_from_the_recipe(tmp_path: Path, source: str) -> None:
    folder = write(tmp_path / "mine", source=source)
    (folder / source).mkdir(exist_ok=True)
    assert recipe_of(folder).model == folder / source


@pytest.mark.parametrize("model", ["org/name", Path("nowhere"), object()], ids=["Hub id", "path", "module"])
def test_any_other_model_is_a_recipe_that_leaves_everything_open(model: object) -> None:
    found = recipe_of(model)
    assert (found.model, found.completed(task="fill-mask", max_drop=None)) == (model, {"task": "fill-mask"})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"source": "org/name", "presicions": ["fp32"], "lisence": "mit"},
            f"no recipe has presicions, lisence; use some of {', '.join(KEYS)}",
        ),
        (
            {"source": "org/name", "evaluation": {"files": "x"}},
            "no recipe has evaluation.files; use some of file, metric",
        ),
        (
            {"source": "org/name", "max_drop": "1%", "task": 3},
            "max_drop is '1%', task is 3; see docs/exporting.md for what may stand there",
        ),
        (
            {"source": "org/name", "max_drop": True},
            "max_drop is True; see docs/exporting.md for what may stand there",
        ),
        (
            {"source": "org/name", "evaluation": {"file": 1}},
            "evaluation.file is 1; see docs/exporting.md for what may stand there",
        ),
        (
            {"source": "org/name", "precisions": [8]},
            "limits or precisions hold something else than text; write a list of texts",
        ),
        ({"task": "fill-mask"}, "it has no source; name a Hub id, or a folder as seen from the recipe's"),
        ({"source": "../nowhere"}, "its source '../nowhere' is not there; name a Hub id, or a folder"),
        ({"source": ""}, "its source '' is not there; name a Hub id, or a folder"),
        (
            {"source": "org/name", "calibration": "../texts.jsonl"},
            "'../texts.jsonl' leads out of its folder; copy the file into the folder",
        ),
        (
            {"source": "org/name", "evaluation": {"file": "/etc/hosts"}},
            "'/etc/hosts' leads out of its folder; copy the file into the folder",
        ),
        (
            {"source": "org/name", "calibration": "texts.jsonl"},
            "there is no file 'texts.jsonl' in its folder; check the name",
        ),
    ],
    ids=[
        "unknown keys",
        "unknown key within",
        "wrong types",
        "no number",
        "wrong type within",
        "precision is no text",
        "no source",
        "source is not there",
        "source is empty",
        "file outside",
        "absolute file",
        "file is not there",
    ],
)
def test_recipe_that_cannot_be_used_says_why(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    assert refusal(write(tmp_path / "mine", **entries)) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", r"it cannot be read \(.*\); check the file"), ("[]", r"it is no JSON object; write \{\"source\": \.\.\.\}")],
    ids=["not JSON", "no object"],
)
def test_file_that_is_no_recipe_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.json").write_text(text, encoding="utf-8")
    assert re.fullmatch(message, refusal(tmp_path))


# Exporting


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ExportConfig]]:
    """What an export is asked for; it ends there."""
    found: list[tuple[Any, ExportConfig]] = []

    def resolve(model: Any, _: Any, options: ExportConfig) -> None:
        found.append((model, options))
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "resolve", resolve)
    return found


def test_recipe_says_what_the_caller_leaves_open(tmp_path: Path, asked: list[tuple[Any, ExportConfig]]) -> None:
    with pytest.raises(KeyboardInterrupt):
        exporter.export(MODELS / "distilbert-squad", tmp_path / "out")
    [(model, options)] = asked
    assert model == "distilbert/distilbert-base-cased-distilled-squad"
    assert (options.task, options.precisions, options.max_drop) == ("question-answering", ("fp32", "int8"), 0.03)
    assert options.eval_data == MODELS / "distilbert-squad" / "heldout.jsonl"


def test_caller_goes_before_the_recipe(tmp_path: Path, asked: list[tuple[Any, ExportConfig]]) -> None:
    words = ["--precision", "int4", "--max-drop", "0.5", "--eval", "mine.jsonl", "--revision", "v2"]
    words += ["--task", "feature-extraction", "--calibration", "texts.jsonl", "-o", str(tmp_path / "out")]
    assert main(["export", str(MODELS / "distilbert-squad"), *words]) == 1
    [(_, options)] = asked
    assert options == ExportConfig(
        task="feature-extraction",
        precisions=("int4",),
        max_drop=0.5,
        eval_data=Path("mine.jsonl"),
        revision="v2",
        calibration=Path("texts.jsonl"),
    )


def test_without_recipe_the_defaults_are_those_of_the_options(
    tmp_path: Path, asked: list[tuple[Any, ExportConfig]]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        exporter.export("org/name", tmp_path / "out")
    assert asked == [("org/name", ExportConfig())]


@pytest.mark.parametrize(
    ("model", "name"),
    [("org/name", "name"), ("name", "name"), ("../models/mine/", "mine"), (".", "here")],
)
def test_artifact_is_named_after_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[tuple[Any, ExportConfig]], model: str, name: str
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    places: list[Path] = []
    publishing = exporter.publishing

    def spy(output: Path, *, overwrite: bool) -> Any:
        places.append(output)
        return publishing(output, overwrite=overwrite)

    monkeypatch.setattr(exporter, "publishing", spy)
    with pytest.raises(KeyboardInterrupt):
        exporter.export(model)
    assert places == [Path(name)]


@pytest.fixture(scope="module")
def tiny_ner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with the labels of dslim/bert-base-NER."""
    labels = dict(enumerate(NER_LABELS))
    return zoo.save(
        tmp_path_factory.mktemp("ner") / "tiny",
        "bert",
        "token-classification",
        num_labels=len(labels),
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )


@pytest.mark.parity
def test_recipe_of_a_model_on_the_hub_is_exported_whole(
    tmp_path: Path, tiny_ner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_hub_snapshot(tiny_ner, tmp_path / "hub" / "models--dslim--bert-base-NER", "a" * 40)
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(MODELS / "bert-ner"), "--precision", "fp32"]) == 0
    manifest = Artifact.open(tmp_path / "bert-ner").manifest
    assert manifest.task == "token-classification"
    said = json.loads((MODELS / "bert-ner" / "recipe.json").read_text(encoding="utf-8"))
    assert {key: manifest.source[key] for key in ("name", "revision", "license", "limits", "evaluation")} == {
        "name": "dslim/bert-base-NER",
        "revision": "a" * 40,
        "license": "mit",
        "limits": said["limits"],
        "evaluation": said["evaluation"]["metric"],
    }
    metric = manifest.precisions["fp32"].quality["metric"]
    assert (metric["name"], metric["texts"]) == ("accuracy of words", 40)
    files = [path for path in (tmp_path / "bert-ner").rglob("*") if path.is_file()]
    assert not any(path.is_symlink() or str(tmp_path).encode() in path.read_bytes() for path in files)


# The recipes of this repository


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_of_the_repository_can_be_read_and_has_a_card(name: str) -> None:
    found = recipe_of(MODELS / name)
    options = ExportConfig(**found.completed())
    assert options.task in HEADS
    assert {"license", "limits", "evaluation"} <= set(found.statements)
    card = (MODELS / name / "README.md").read_text(encoding="utf-8")
    if isinstance(found.model, str):
        assert found.model in card
        assert f"ortolan export models/{name}" in card
        assert all(limit in " ".join(card.split()) for limit in found.statements["limits"])


def test_every_task_of_an_encoder_but_plain_features_has_a_recipe() -> None:
    tasks = {recipe_of(MODELS / name).options["task"] for name in RECIPES}
    assert tasks == set(HEADS) - {"feature-extraction", "text-generation", "text2text-generation"}


@pytest.fixture(scope="module")
def bert_words() -> Any:
    """The vocabulary of bert-base-uncased, which the default model shares."""
    return transformers.AutoTokenizer.from_pretrained(MODELS / "sentiment-minilm")


@pytest.mark.parametrize(
    ("name", "labels", "num_examples", "num_encodings"),
    [
        ("sentiment-minilm", ["NEGATIVE", "POSITIVE"], 2062, 2062),
        ("distilbert-sst2", ["NEGATIVE", "POSITIVE"], 480, 480),
        ("bert-ner", NER_LABELS, 40, 40),
        ("distilbert-squad", [], 40, 40),
        ("bert-fill-mask", [], 40, 40),
        ("minilm-embeddings", [], 40, 80),
    ],
)
def test_labelled_texts_of_a_recipe_are_what_its_task_reads(
    bert_words: Any, name: str, labels: list[str], num_examples: int, num_encodings: int
) -> None:
    options = ExportConfig(**recipe_of(MODELS / name).completed())
    config = transformers.BertConfig(id2label=dict(enumerate(labels)) if labels else None)
    assert options.eval_data is not None
    examples = HEADS[str(options.task)].read(options.eval_data, bert_words, config, 512)
    assert (len(examples.answers), len(examples.encodings)) == (num_examples, num_encodings)


@pytest.mark.parametrize("name", ["sentiment-minilm", "distilbert-sst2", "bert-multilingual-stars"])
def test_calibration_texts_of_a_recipe_can_be_read(name: str) -> None:
    options = ExportConfig(**recipe_of(MODELS / name).completed())
    assert options.calibration is not None
    assert len(read_texts(options.calibration)) >= 48


def test_answers_of_the_questions_stand_in_their_contexts() -> None:
    for line in (MODELS / "distilbert-squad" / "heldout.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert all(answer in row["context"] for answer in row["answers"]), row


def test_scores_of_the_pairs_are_shares() -> None:
    for line in (MODELS / "minilm-embeddings" / "heldout.jsonl").read_text(encoding="utf-8").splitlines():
        assert 0.0 <= json.loads(line)["score"] <= 1.0


def test_no_entity_begins_in_its_middle() -> None:
    for line in (MODELS / "bert-ner" / "heldout.jsonl").read_text(encoding="utf-8").splitlines():
        labels = json.loads(line)["labels"]
        for before, label in zip(["O", *labels], labels, strict=False):
            assert not label.startswith("I-") or before[2:] == label[2:], line
