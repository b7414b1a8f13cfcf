"""Evidence: which texts are compared, what torch answers to them, and tokenizers that give other ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ortolan.errors import InvalidInputError, MissingFileError
from ortolan.request import TextInput
from ortolan.session.base import Signature, Stop, TensorSpec
from ortolan_exporters import CheckpointError, evidence
from ortolan_exporters.config import ExportConfig
from ortolan_exporters.data import builtin_texts
from ortolan_exporters.evidence import Evidence
from ortolan_exporters.heads.registry import HEADS
from ortolan_exporters.quality import Agreement
from ortolan_exporters.reference import torch_run
from ortolan_exporters.resolve import Checkpoint, resolve
from tests import tiny


@pytest.fixture
def work(bert: Checkpoint, tmp_path: Path) -> Path:
    """A folder with the tokenizer of the tiny BERT, as an export has it by then."""
    bert.tokenizer.save_pretrained(tmp_path / "work")
    return tmp_path / "work"


def gather(checkpoint: Checkpoint, work: Path, **options: object) -> Evidence:
    return Evidence(checkpoint, work, ExportConfig(**options))


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def texts_of(found: Evidence) -> list[TextInput]:
    return [item for item, _ in found.golden]


class TorchSession:
    """A graph that is torch itself, its logits moved by so much."""

    provider = "torch"

    def __init__(self, checkpoint: Checkpoint, move: float = 0.0) -> None:
        self._run = torch_run(checkpoint)
        self._move = np.array([0, move], np.float32)
        inputs = tuple(TensorSpec(name, "int64", ("batch", "sequence")) for name in checkpoint.inputs)
        self.signature = Signature(inputs, (TensorSpec("logits", "float32", ("batch", 2)),))

    def run(self, feed: Mapping[str, np.ndarray], stop: Stop | None = None) -> dict[str, np.ndarray]:
        return {"logits": self._run(feed)["logits"] + self._move}


def test_texts_of_the_checkpoint_are_taken(bert: Checkpoint, work: Path) -> None:
    found = gather(bert, work)
    assert len(found.encodings) == len(tiny.TEXTS)
    assert texts_of(found) == [TextInput(text) for text in tiny.TEXTS[:4]]


def test_texts_that_are_passed_go_before_those_of_the_checkpoint(bert: Checkpoint, work: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", [{"text": "a film"}, {"text": "rain", "text_pair": "sun"}])
    assert texts_of(gather(bert, work, calibration=path)) == [TextInput("a film"), TextInput("rain", "sun")]


def test_module_without_texts_gets_built_in_ones(work: Path) -> None:
    checkpoint = resolve(tiny.bert(), tiny.tokenizer(), ExportConfig())
    assert texts_of(gather(checkpoint, work)) == builtin_texts()[:4]


def test_head_with_texts_of_its_own_gets_them(bert: Checkpoint, work: Path) -> None:
    head = HEADS["question-answering"]
    found = gather(replace(bert, head=head, folder=None), work)
    expected = head.texts()
    assert expected is not None
    assert texts_of(found) == expected[:4]


def test_texts_beyond_the_most_are_left_out_evenly(
    bert: Checkpoint, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MAX_CALIBRATION_TEXTS", 3)
    path = write(tmp_path / "sorted.jsonl", [{"text": word} for word in tiny.WORDS[:10]])
    found = gather(bert, work, calibration=path)
    assert texts_of(found) == [TextInput(tiny.WORDS[number]) for number in (0, 3, 6)]


def test_missing_file_and_bad_line_are_named(bert: Checkpoint, work: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere.jsonl"):
        gather(bert, work, calibration=tmp_path / "nowhere.jsonl")
    labelled = write(tmp_path / "labelled.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": "NEUTRAL"}])
    with pytest.raises(InvalidInputError, match="line 2, requested, got 'NEUTRAL'"):
        gather(bert, work, eval_data=labelled)


def test_tokenizer_that_gives_other_ids_without_transformers_is_refused(bert: Checkpoint, work: Path) -> None:
    path = work / "tokenizer.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = settings["model"]["vocab"]
    vocabulary["film"], vocabulary["was"] = vocabulary["was"], vocabulary["film"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(CheckpointError, match="without transformers it gives other ids for 'the film was good'"):
        gather(bert, work)


def test_id_without_an_embedding_is_refused(work: Path) -> None:
    checkpoint = resolve(tiny.bert(), tiny.tokenizer(), ExportConfig())
    checkpoint.config.vocab_size = 30
    with pytest.raises(CheckpointError, match=r"it gives id \d+ and the model has 30 embeddings"):
        gather(checkpoint, work)


def test_answers_of_torch_come_in_the_order_of_the_texts(bert: Checkpoint, work: Path) -> None:
    answers = gather(bert, work).calibration_answers
    for text, answer in zip(tiny.TEXTS, answers, strict=True):
        encoded = tiny.tokenizer()(text, return_tensors="pt")
        with torch.inference_mode():
            expected = bert.module(**encoded).logits.numpy()
        np.testing.assert_allclose(answer, expected, atol=1e-5, err_msg=text)


def test_graph_that_answers_as_torch_agrees_wholly(bert: Checkpoint, work: Path) -> None:
    found, session = gather(bert, work), TorchSession(bert)
    quality = found.agreement(session)
    assert isinstance(quality, Agreement)
    assert (quality.texts, quality.label_agreement, quality.expected_drop) == (len(tiny.TEXTS), 1.0, 0.0)
    assert found.damage(session) == 0


def test_damage_is_the_mean_squared_difference(bert: Checkpoint, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gather(bert, work)
    assert found.damage(TorchSession(bert, move=2.0)) == pytest.approx((0 + 4) / 2, rel=1e-4)
    monkeypatch.setattr(evidence, "MAX_DAMAGE_TEXTS", 2)
    assert found.damage(TorchSession(bert, move=2.0)) == pytest.approx(2, rel=1e-4)


def test_score_on_labelled_texts_is_that_of_torch_and_of_the_graph(
    bert: Checkpoint, work: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "labelled.jsonl", [{"text": text, "label": 1} for text in tiny.TEXTS])
    found = gather(bert, work, eval_data=path)
    metric = found.metric(TorchSession(bert, move=100.0))  # says yes to everything
    assert metric is not None
    chosen = np.concatenate(found.calibration_answers).argmax(-1)
    assert (metric.name, metric.texts, metric.this) == ("accuracy", len(tiny.TEXTS), 1.0)
    assert metric.torch == pytest.approx(float((chosen == 1).mean()))


def test_no_labelled_texts_give_no_score(bert: Checkpoint, work: Path) -> None:
    assert gather(bert, work).metric(TorchSession(bert)) is None


def test_golden_outputs_are_those_of_each_text_alone(bert: Checkpoint, work: Path) -> None:
    found = gather(bert, work)
    golden = found.golden_outputs(TorchSession(bert), 0.25)
    assert golden.tolerance == 0.25
    expected = [answer[0] for answer in found.calibration_answers[:4]]
    np.testing.assert_allclose(golden.values, expected, atol=1e-5)


def test_batches_and_what_torch_answers_to_them_belong_together(bert: Checkpoint, work: Path) -> None:
    found = gather(bert, work)
    assert len(found.batches) == len(found.batch_outputs)
    for feed, outputs in zip(found.batches, found.batch_outputs, strict=True):
        assert outputs["logits"].shape == (len(feed["input_ids"]), 2)
