import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.bench.records import (
    GROUPS,
    UNITS,
    Case,
    Ceiling,
    Missing,
    Quality,
    Record,
    RecordWriter,
    Run,
    Work,
    read_record,
    to_line,
    write_record,
)
from ortolan.errors import ArtifactError, ConfigError, FormatVersionError, MissingFileError
from tests.engine.bench_records import CASE, RUN

RECORD = Record(
    RUN,
    (Ceiling(name="int8 product", unit="GOP/s", samples=(400.0, 410.5)),),
    (
        CASE,
        replace(
            CASE,
            contender="eager fp32",
            work=Work(flops=1e9, bytes=2e8),
            quality=Quality(same_label=1.0, difference=0.0),
            tokens=128,
            rows=1,
            reference="Ortolan int8",
        ),
    ),
    (Missing(subject="", contender="openvino", reason='no wheel for "this" system\n<b>'),),
)


def test_a_record_that_was_written_is_read_as_it_was(tmp_path: Path):
    write_record(RECORD, tmp_path / "new" / "bench.jsonl")
    assert read_record(tmp_path / "new" / "bench.jsonl") == RECORD


def test_a_line_is_json_that_names_its_kind():
    line = json.loads(to_line(CASE))
    assert line == {
        "kind": "case",
        "group": "latency",
        "subject": "tiny",
        "case": "1x128",
        "contender": "Ortolan int8",
        "unit": "ms",
        "better": "less",
        "rounds": [[1.0, 2.0], [3.0]],
        "load_average": 0.5,
    }


def test_a_line_is_in_the_file_when_write_returns(tmp_path: Path):
    path = tmp_path / "bench.jsonl"
    with RecordWriter(path) as writer:
        writer.write(RUN)
        writer.write(CASE)
        assert read_record(path).cases == (CASE,)


@pytest.mark.parametrize("left", [1, 10, 60])
def test_a_last_line_that_breaks_off_is_left_out(tmp_path: Path, left: int):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(to_line(RUN) + to_line(CASE) + to_line(CASE)[:left])
    assert read_record(path).cases == (CASE,)


def test_a_last_line_without_its_end_is_read(tmp_path: Path):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(to_line(RUN) + to_line(CASE).rstrip())
    assert read_record(path).cases == (CASE,)


def test_a_field_that_a_later_release_added_is_left_alone(tmp_path: Path):
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({**json.loads(to_line(RUN)), "mood": "good"}) + "\n")
    assert read_record(path).run == RUN


def test_a_newer_format_is_refused(tmp_path: Path):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(to_line(replace(RUN, format=2)))
    with pytest.raises(FormatVersionError, match="its format is 2, 1 is known here"):
        read_record(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"kind": "guess"}, "kind is 'guess'", id="unknown kind"),
        pytest.param({"group": "beauty"}, "group is 'beauty'", id="unknown group"),
        pytest.param({"unit": "mi"}, "unit is 'mi'", id="unknown unit"),
        pytest.param({"subject": 7}, "subject is int, not str", id="a number for a text"),
        pytest.param({"rounds": []}, "rounds are empty", id="no rounds"),
        pytest.param({"rounds": [[]]}, "samples are not a list with numbers", id="an empty round"),
        pytest.param({"rounds": [["quick"]]}, "a sample is 'quick', not a number", id="a word for a sample"),
        pytest.param({"rounds": [[True]]}, "a sample is True, not a number", id="a truth for a sample"),
        pytest.param({"rounds": [[-1.0]]}, "a sample is -1.0", id="a negative sample"),
        pytest.param({"rounds": [[10**400]]}, "a sample is not finite", id="a sample too large"),
        pytest.param({"rounds": [[float("nan")]]}, "NaN is no number", id="NaN"),
        pytest.param({"work": {"flops": 1.0}}, "bytes is None, not a number", id="half of the work"),
        pytest.param({"tokens": -3}, "tokens is -3", id="negative tokens"),
        pytest.param({"kind": "run"}, "format is NoneType, not int", id="no run"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, change: dict[str, object], message: str):
    path = tmp_path / "bench.jsonl"
    wrong = json.dumps({**json.loads(to_line(CASE)), **change}).encode()
    path.write_bytes(to_line(RUN) + wrong + b"\n")
    with pytest.raises(ArtifactError, match="bench.jsonl' requested, line 2 is no line of a record") as caught:
        read_record(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"[]\n", id="a list"),
        pytest.param(b"\xff\xfe\n", id="no text"),
        pytest.param(b"[" * 100_000 + b"\n", id="nested too deep"),
        pytest.param(to_line(CASE), id="a case before the run"),
        pytest.param(to_line(RUN) + to_line(RUN), id="two runs"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, data: bytes):
    path = tmp_path / "bench.jsonl"
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        read_record(path)


def test_a_record_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "bench.jsonl"
    write_record(RECORD, path)
    monkeypatch.setattr("ortolan.bench.records.MAX_BYTES", 10)
    with pytest.raises(ArtifactError, match="10 are read"):
        read_record(path)


def test_a_line_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "bench.jsonl"
    write_record(RECORD, path)
    monkeypatch.setattr("ortolan.bench.records.MAX_LINE_BYTES", 10)
    with pytest.raises(ArtifactError, match="line 1 .* 10 are read"):
        read_record(path)


def test_a_record_that_is_not_there_is_missing(tmp_path: Path):
    with pytest.raises(MissingFileError):
        read_record(tmp_path / "none.jsonl")


def test_nan_is_not_written(tmp_path: Path):
    with RecordWriter(tmp_path / "bench.jsonl") as writer, pytest.raises(ConfigError):
        writer.write(replace(CASE, load_average=float("nan")))


def test_a_record_cannot_be_written_where_a_folder_is(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be written"):
        RecordWriter(tmp_path)


NUMBERS = st.floats(0, 1e12, allow_nan=False)
CASES = st.builds(
    Case,
    group=st.sampled_from(GROUPS),
    subject=st.text(),
    case=st.text(),
    contender=st.text(),
    unit=st.sampled_from(UNITS),
    better=st.sampled_from(["less", "more"]),
    rounds=st.lists(st.lists(NUMBERS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    load_average=NUMBERS,
    work=st.none() | st.builds(Work, flops=NUMBERS, bytes=NUMBERS),
    quality=st.none() | st.builds(Quality, same_label=st.none() | NUMBERS, cosine=st.none() | NUMBERS),
    tokens=st.none() | st.integers(0, 1 << 40),
)


@given(cases=st.lists(CASES, max_size=4).map(tuple), settings=st.dictionaries(st.text(), st.integers()))
def test_any_record_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, cases: tuple[Case, ...], settings: dict[str, int]
):
    record = Record(replace(RUN, settings=settings), cases=cases)
    path = tmp_path_factory.mktemp("record") / "bench.jsonl"
    write_record(record, path)
    assert read_record(path) == record


def test_all_samples_are_those_of_the_rounds_in_order():
    assert CASE.samples == (1.0, 2.0, 3.0)


def test_a_run_may_name_versions_of_several_programs(tmp_path: Path):
    run = Run(**{name: getattr(RUN, name) for name in Run.__slots__} | {"versions": {"torch": {"torch": "2.9"}}})
    write_record(Record(run), tmp_path / "bench.jsonl")
    assert read_record(tmp_path / "bench.jsonl").run.versions == {"torch": {"torch": "2.9"}}
