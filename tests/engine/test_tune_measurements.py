from __future__ import annotations

import json
from pathlib import Path

import pytest

from ortolan import ConfigError
from ortolan.tune.measure import Finding
from ortolan.tune.measurements import Look, Measurements, Seen
from tests.engine.damage import edit_json
from tests.engine.fake_bench import FP32, INT8

HEADER = {"artifact": "a", "shapes": ["1 x 16"]}


@pytest.fixture
def notes() -> Measurements:
    """One look at INT8, which is untuned, and one at FP32, which takes twice as long."""
    made = Measurements(HEADER)
    made.add(INT8, Finding(0.001, None, {"1 x 16": 2.0}, {"1 x 16": 2.0}), 0.5)
    made.add(FP32, Finding(0.002, None, {"1 x 16": 6.0}, {"1 x 16": 3.0}), 0.7)
    return made


def test_a_look_is_noted_with_its_speed_beside_untuned(notes: Measurements):
    assert notes.seen[FP32] == Seen((Look({"1 x 16": 6.0}, {"1 x 16": 0.5}, 0.7),), 0.002, None)


def test_a_look_at_another_way_is_one_at_the_untuned_way_too(notes: Measurements):
    assert [look.milliseconds["1 x 16"] for look in notes.seen[INT8].looks] == [2.0, 3.0]


def test_speed_is_that_of_the_median_look():
    looks = tuple(Look({}, {"1 x 16": speed}, 1.0) for speed in (0.5, 2.0, 9.0))
    assert Seen(looks).speed(["1 x 16"]) == pytest.approx(2.0)


def test_speed_over_shapes_is_their_geometric_mean():
    assert Seen((Look({}, {"a": 1.0, "b": 4.0}, 1.0),)).speed(["a", "b"]) == pytest.approx(2.0)


def test_a_fault_takes_a_way_out_of_the_sound_ones(notes: Measurements):
    notes.add(FP32, Finding(None, "it broke"), 0.1)
    assert list(notes.sound) == [INT8]


def test_another_look_is_expected_to_take_as_long_as_the_longest_before(notes: Measurements):
    notes.add(FP32, Finding(0.002, None, {"1 x 16": 6.0}, {"1 x 16": 3.0}), 0.9)
    assert notes.expected_seconds(FP32) == 0.9


def test_a_first_look_is_expected_to_take_as_long_as_the_longest_of_any(notes: Measurements):
    del notes.seen[FP32]
    assert notes.expected_seconds(FP32) == 0.5


def test_what_is_saved_is_loaded(notes: Measurements, tmp_path: Path):
    notes.memory, notes.agreement, notes.num_texts, notes.texts_key = {"model.onnx": 5}, {"fp32": 1.0}, 3, "key"
    notes.save(tmp_path / "new" / "notes.json")
    assert Measurements.load(tmp_path / "new" / "notes.json", HEADER) == notes


def test_saving_leaves_no_other_file(notes: Measurements, tmp_path: Path):
    notes.save(tmp_path / "notes.json")
    notes.save(tmp_path / "notes.json")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.json"]


def test_without_a_file_nothing_was_measured(tmp_path: Path):
    assert Measurements.load(tmp_path / "notes.json", HEADER) == Measurements(HEADER)


def test_measurements_that_hold_for_something_else_are_left_out(notes: Measurements, tmp_path: Path):
    notes.save(tmp_path / "notes.json")
    other = {**HEADER, "artifact": "b"}
    assert Measurements.load(tmp_path / "notes.json", other) == Measurements(other)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"header": {}}', "\x00"], ids=["empty", "list", "cut", "bare", "binary"]
)
def test_a_damaged_file_is_left_out(tmp_path: Path, text: str):
    (tmp_path / "notes.json").write_text(text)
    assert Measurements.load(tmp_path / "notes.json", HEADER) == Measurements(HEADER)


def test_a_look_without_numbers_is_left_out(notes: Measurements, tmp_path: Path):
    notes.save(tmp_path / "notes.json")
    edit_json(tmp_path / "notes.json", lambda document: document["seen"][0]["looks"][0].update(speeds={"1 x 16": None}))
    assert Measurements.load(tmp_path / "notes.json", HEADER) == Measurements(HEADER)


def test_a_folder_that_cannot_be_written_is_an_error(notes: Measurements, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it cannot be written"):
        notes.save(tmp_path / "file" / "notes.json")


def test_the_file_is_json(notes: Measurements, tmp_path: Path):
    notes.save(tmp_path / "notes.json")
    assert json.loads((tmp_path / "notes.json").read_text())["header"] == HEADER
