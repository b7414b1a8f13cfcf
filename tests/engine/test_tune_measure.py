from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ortolan import Artifact, ArtifactError, Tokenizer
from ortolan.choice import Way
from ortolan.config import SessionConfig
from ortolan.request import TextInput
from ortolan.session.base import Array
from ortolan.session.ort import OrtSession
from ortolan.session.processors import usable_threads
from ortolan.session.providers import PROVIDERS
from ortolan.tune import schedule
from ortolan.tune.api import tune
from ortolan.tune.measure import OrtBench
from tests.engine.damage import GOLDEN, edit_manifest

INT8 = Way("int8", "packed", (), 1)
FP32 = Way("fp32", "packed", (), 1)


def bench(folder: Path = GOLDEN) -> OrtBench:
    tokenizer = Tokenizer.load(folder, max_length=64)
    return OrtBench(Artifact.open(folder), tokenizer, PROVIDERS["cpu"], SessionConfig())


def test_shapes_are_as_long_as_the_model_reads():
    assert bench().shapes == ["1 x 16", "1 x 64", "8 x 32"]


def test_a_look_times_both_ways_at_each_shape():
    finding = bench().look(FP32, INT8)
    assert list(finding.milliseconds) == list(finding.beside) == ["1 x 16", "1 x 64", "8 x 32"]


def test_the_untuned_way_is_timed_alone():
    finding = bench().look(INT8, INT8)
    assert finding.milliseconds == finding.beside


def test_a_look_replays_the_golden_texts():
    difference = bench().look(FP32, FP32).golden_difference
    assert difference is not None
    assert difference < 1e-4


def test_golden_answers_that_are_no_numbers_are_a_fault(monkeypatch: pytest.MonkeyPatch):
    def nothing(self: object, feed: Mapping[str, Array]) -> dict[str, Array]:
        return {"logits": np.full((len(feed["input_ids"]), 2), np.nan, np.float32)}

    monkeypatch.setattr(OrtSession, "run", nothing)
    finding = bench().look(FP32, FP32)
    assert (finding.golden_difference, finding.fault) == (None, "golden answers differ by nan here, allowed 0.0001")


def test_another_number_of_golden_values_is_a_fault(artifact: Path):
    def lengthen(manifest: dict[str, dict[str, dict[str, dict[str, list[list[float]]]]]]) -> None:
        manifest["precisions"]["fp32"]["golden"]["values"][0].append(0.0)

    edit_manifest(artifact, lengthen)
    assert bench(artifact).look(FP32, FP32).fault == "golden answers differ by nan here, allowed 0.0001"


def test_a_graph_that_does_not_load_is_a_fault(artifact: Path):
    (artifact / "onnx" / "model.onnx").unlink()
    assert bench(artifact).look(FP32, FP32).fault == "it lacks onnx/model.onnx"


def test_an_untuned_way_that_runs_no_more_is_an_error(artifact: Path):
    (artifact / "onnx" / "model.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"it lacks onnx/model\.onnx"):
        bench(artifact).look(INT8, FP32)


def test_agreement_compares_text_by_text():
    found, count = bench().agreement({"int8": INT8, "fp32": FP32}, [TextInput("rain"), TextInput("what a day")], 60.0)
    assert (found, count) == ({"int8": 1.0, "fp32": 1.0}, 2)


def test_agreement_ends_when_time_is_up():
    texts = [TextInput("rain")] * 50
    assert bench().agreement({"fp32": FP32}, texts, 0.0)[1] == 1


@pytest.mark.integration
def test_the_real_thing_measures_time_memory_and_golden_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schedule, "MAX_LOOKS", 1)
    report = tune(GOLDEN, budget_seconds=60, provider="cpu")
    threads = {one.way.num_threads for one in report.ways}
    assert (len(report.ways), max(threads)) == (2 * 2 * len(threads), usable_threads())
    assert all(one.looks > 0 and one.fault is None for one in report.ways)
