"""What a user may get wrong, and is told before minutes of work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ortolan import InvalidInputError, MissingFileError
from ortolan_exporters import CheckpointError, ExportWarning, recipe
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.resolve import resolve
from tests import tiny
from tests.engine.damage import edit_json


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny BERT. Free to be damaged."""
    return tiny.save_checkpoint(tmp_path / "tiny", tiny.bert())


@pytest.fixture(autouse=True)
def _no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing is what takes minutes."""
    monkeypatch.setattr(recipe, "trace", lambda _: pytest.fail("it went on"))


def export(checkpoint: Path, tmp_path: Path, **options: object) -> None:
    try:
        recipe.export(checkpoint, tmp_path / "out", precisions=("fp32",), **options)
    finally:
        assert not (tmp_path / "out").exists()
        assert list(tmp_path.glob(".out*")) == []


def test_tokenizer_with_more_tokens_than_the_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    words = tiny.tokenizer()
    words.add_tokens([f"new{number}" for number in range(200)])
    with pytest.raises(CheckpointError) as caught:
        export(checkpoint, tmp_path, tokenizer=words)
    assert str(caught.value) == (
        f"tokenizer of 'tiny' requested, it has {len(words)} tokens and the model {len(tiny.tokenizer())} embeddings; "
        "pass the tokenizer that the model was trained with"
    )


def test_tokenizer_with_ids_beyond_the_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    # as many tokens as the model has rows, but one of them far out
    def move(document: dict[str, object]) -> None:
        vocabulary = document["model"]["vocab"]  # type: ignore[index]
        vocabulary["rain"] = 4000

    edit_json(checkpoint / "tokenizer.json", move)
    with pytest.raises(CheckpointError, match="it gives id 4000 and the model has 125 embeddings"):
        export(checkpoint, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "good"}\n\n{"text": "bad"}\n', r"line 2, requested, it is empty"),
        ('{"text": "good"}\n{"txt": "bad"}\n', r"line 2, requested, "),
        ('{"text": "good"}\nbad\n', r"line 2, requested, it is not JSON"),
        ("", r"the file is empty"),
    ],
    ids=["empty line", "no text", "no JSON", "nothing"],
)
def test_line_of_the_calibration_file_that_is_wrong_is_named(
    checkpoint: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "texts.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        export(checkpoint, tmp_path, calibration=tmp_path / "texts.jsonl")


def test_calibration_file_that_is_not_there_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.jsonl.* there is no such file"):
        export(checkpoint, tmp_path, calibration=tmp_path / "nowhere.jsonl")


def test_label_that_the_model_does_not_have_is_named_with_its_line(checkpoint: Path, tmp_path: Path) -> None:
    rows = [{"text": "good", "label": "LABEL_1"}, {"text": "bad", "label": "AWFUL"}]
    (tmp_path / "labelled.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="line 2, requested, got 'AWFUL'; the model has LABEL_0, LABEL_1"):
        export(checkpoint, tmp_path, eval_data=tmp_path / "labelled.jsonl")


def test_head_that_was_never_trained_warns(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    tiny.bert().bert.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    with pytest.warns(ExportWarning, match=r"classifier\.weight are new, from seed 0; the head needs training"):
        found = resolve(folder, None, ExportConfig(task="text-classification"))
    assert {"classifier.bias", "classifier.weight"} <= set(found.source["new_weights"])
