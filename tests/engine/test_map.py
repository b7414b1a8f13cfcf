from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortolan import InvalidInputError, cli, pipeline
from ortolan.commands import asking
from ortolan.mapping import journal, run, text_files
from ortolan.mapping.documents import to_json
from ortolan.mapping.rows import Place
from ortolan.mapping.text_files import Csv, Jsonl
from tests.engine.damage import GOLDEN
from tests.engine.fakes import FakeSession, fake_model

ROOT = Path(__file__).parents[2]
needs_pyarrow = pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="pyarrow is not installed")
FORMATS = ["jsonl", "csv", pytest.param("parquet", marks=needs_pyarrow)]
TEXTS = ["the", "film", "the film", "was"]
LONG = "rain " * 70
THE, FILM, WAS = (5, 7, 8)


def answer(*ids: int) -> dict[str, Any]:
    """What the fake model answers to a text with these ids, [CLS] (2) and [SEP] (3) not counted."""
    return {"label": "POSITIVE", "score": pytest.approx((sum(ids) + 5) / 1000)}


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """Let the command run a graph whose raw score grows with the sum of the ids of a text."""
    made = FakeSession()

    def fake(task: str, *_: object, **options: Any) -> Any:
        own = {name: value for name, value in options.items() if name not in ("revision", "provider", "precision")}
        return pipeline(task, fake_model(GOLDEN, made), **{"function_to_apply": "none", **own})

    monkeypatch.setattr(asking, "pipeline", fake)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working folder."""
    made = tmp_path / "work"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


def ortolan_map(*words: str) -> int:
    return cli.main(["map", "sentiment-analysis", *words])


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows in the format that a name ends in."""
    path = Path(name)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=3)
    return name


def read(name: str) -> list[dict[str, Any]]:
    """Read rows from a file, results in csv from their JSON."""
    path = Path(name)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {name: json.loads(cell) if name == "text_classification" else cell for name, cell in row.items()}
                for row in csv.DictReader(file)
            ]
    from pyarrow import parquet

    return list(parquet.read_table(path).to_pylist())


def lines(name: str, *text: str) -> str:
    Path(name).write_text("".join(line + "\n" for line in text), encoding="utf-8")
    return name


def rejected(name: str) -> list[tuple[int, str]]:
    return [(row["row"], row["reason"]) for row in read(f"{name}.rejected.jsonl")]


# Formats


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("of", FORMATS)
def test_rows_come_back_with_their_results_in_order(folder: Path, of: str, to: str):
    source = write(f"in.{of}", [{"text": text, "note": f'é😀,"{i}"\n.'} for i, text in enumerate(TEXTS)])
    assert ortolan_map(source, f"out.{to}") == 0
    expected = [answer(THE), answer(FILM), answer(THE, FILM), answer(WAS)]
    assert read(f"out.{to}") == [
        {"text": text, "note": f'é😀,"{i}"\n.', "text_classification": one}
        for i, (text, one) in enumerate(zip(TEXTS, expected, strict=True))
    ]
    assert sorted(path.name for path in folder.iterdir()) == [f"in.{of}", f"out.{to}"]


@pytest.mark.parametrize("to", FORMATS)
def test_other_columns_keep_their_types(folder: Path, to: str):
    row = {"id": 7, "rate": 0.5, "ok": True, "none": None, "tags": ["a", "b"], "deep": {"a": {"b": 1}}, "text": "the"}
    assert ortolan_map(write("in.jsonl", [row]), f"out.{to}") == 0
    [found] = read(f"out.{to}")
    if to == "csv":  # texts as they are, nothing for null, and JSON for all else
        row |= {"id": "7", "rate": "0.5", "ok": "true", "none": "", "tags": '["a", "b"]', "deep": '{"a": {"b": 1}}'}
    assert found == {**row, "text_classification": answer(THE)}


@needs_pyarrow
def test_parquet_keeps_the_schema_of_its_input(folder: Path):
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("when", pa.timestamp("ns")), ("text", pa.large_string()), ("code", pa.int8())])
    table = pa.table([[1, 2, 3], ["the", "", "film"], [1, None, 3]], schema=schema)
    parquet.write_table(table, "in.parquet")
    assert ortolan_map("in.parquet", "out.parquet") == 0
    found = parquet.read_table("out.parquet")
    assert found.schema.remove(3) == schema
    assert found.select(["when", "text", "code"]).equals(table.take([0, 2]))
    assert ortolan_map("in.parquet", "out.jsonl") == 0
    assert read("out.jsonl")[0]["when"] == "1970-01-01 00:00:00.000000001"


@needs_pyarrow
def test_parquet_holds_json_where_values_have_no_common_type(folder: Path):
    write("in.jsonl", [{"text": "the", "odd": 1}, {"text": "film", "odd": "one"}])
    assert ortolan_map("in.jsonl", "out.parquet") == 0
    assert [row["odd"] for row in read("out.parquet")] == ["1", '"one"']


@needs_pyarrow
def test_dates_and_bytes_of_parquet_are_texts_elsewhere(folder: Path):
    import datetime as dt

    write("in.parquet", [{"text": "the", "day": dt.date(2026, 11, 23), "raw": b"\x00\xff", "nan": float("nan")}])
    assert ortolan_map("in.parquet", "out.jsonl") == 0
    [row] = read("out.jsonl")
    assert (row["day"], row["raw"], row["nan"]) == ("2026-11-23", "AP8=", None)


def test_parquet_without_pyarrow_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    Path("in.parquet").write_bytes(b"PAR1")
    assert ortolan_map("in.parquet", "out.jsonl") == 1
    assert "pyarrow is not installed; run: pip install pyarrow" in capsys.readouterr().err


def test_parquet_out_without_pyarrow_is_refused_before_anything_runs(
    folder: Path, session: FakeSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert ortolan_map(write("in.jsonl", [{"text": "the"}]), "out.parquet") == 1
    assert ("pip install pyarrow" in capsys.readouterr().err, session.shapes) == (True, [])


def test_columns_of_csv_are_those_of_the_first_row_of_jsonl(folder: Path):
    lines("in.jsonl", '{"text": "the", "a": 1}', '{"text": "film"}', '{"text": "was", "a": 2, "b": 3}')
    assert ortolan_map("in.jsonl", "out.csv") == 0
    assert [list(row.values())[:2] for row in read("out.csv")] == [["the", "1"], ["film", ""]]
    assert rejected("out.csv") == [(3, "it has a column 'b', which the first row has not")]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["no-bom", "bom"])
@pytest.mark.parametrize("has_last", [True, False], ids=["last-line-ends", "last-line-does-not"])
def test_line_ends_and_marks_of_other_systems_are_read(folder: Path, end: str, bom: str, has_last: bool):
    for name, text in (
        ("in.csv", ["a,text", "é,the", '"x, ""y""","film"']),
        ("in.jsonl", ['{"a": "é", "text": "the"}', "", '{"a": "x, \\"y\\"", "text": "film"}']),
    ):
        Path(name).write_bytes((bom + end.join(text) + (end if has_last else "")).encode())
        assert ortolan_map(name, "out.jsonl", "--overwrite") == 0
        assert read("out.jsonl") == [
            {"a": "é", "text": "the", "text_classification": answer(THE)},
            {"a": 'x, "y"', "text": "film", "text_classification": answer(FILM)},
        ]


@pytest.mark.parametrize("to", FORMATS)
def test_an_empty_file_gives_an_empty_file(folder: Path, to: str):
    assert ortolan_map(lines("in.jsonl"), f"out.{to}") == 0
    assert read(f"out.{to}") == []


@pytest.mark.parametrize("to", FORMATS)
def test_a_header_alone_gives_a_header_alone(folder: Path, to: str):
    assert ortolan_map(lines("in.csv", "id,text"), f"out.{to}") == 0
    assert read(f"out.{to}") == []
    if to == "csv":
        assert Path("out.csv").read_text() == "id,text,text_classification\n"


def test_a_csv_file_without_header_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert ortolan_map(lines("in.csv"), "out.csv") == 1
    assert "'in.csv' requested, it is empty; name the columns in its first line" in capsys.readouterr().err


def test_a_file_that_is_no_parquet_says_so(folder: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("pyarrow")
    assert ortolan_map(lines("in.parquet", "text"), "out.csv") == 1
    assert "'in.parquet' requested, it can't be read as parquet" in capsys.readouterr().err


# What is read


def test_a_column_may_have_another_name(folder: Path):
    assert ortolan_map(write("in.jsonl", [{"review": "the"}]), "out.jsonl", "--column", "review") == 0
    assert read("out.jsonl") == [{"review": "the", "text_classification": answer(THE)}]


def test_results_may_have_another_name(folder: Path):
    ortolan_map(write("in.jsonl", [{"text": "the"}]), "out.jsonl", "--result", "mood")
    assert read("out.jsonl") == [{"text": "the", "mood": answer(THE)}]


def test_a_second_text_makes_a_pair(folder: Path):
    rows = [{"text": "the", "text_pair": "film"}, {"text": "the", "text_pair": ""}]
    assert ortolan_map(write("in.csv", rows), "out.csv") == 0
    assert [row["text_classification"] for row in read("out.csv")] == [answer(THE, 3, FILM), answer(THE)]


def test_options_of_the_task_are_passed_on(folder: Path):
    ortolan_map(write("in.jsonl", [{"text": "the"}]), "out.jsonl", "--option", "top_k=null")
    [row] = read("out.jsonl")
    assert [one["label"] for one in row["text_classification"]] == ["POSITIVE", "NEGATIVE"]


def test_batch_size_says_how_many_rows_go_together(folder: Path, session: FakeSession):
    ortolan_map(write("in.jsonl", [{"text": "the"}] * 5), "out.jsonl", "--batch-size", "2")
    assert session.shapes == [(2, 3), (2, 3), (1, 3)]


@pytest.mark.parametrize("of", FORMATS[1:])
def test_a_missing_column_is_told_at_once(folder: Path, of: str, capsys: pytest.CaptureFixture[str]):
    assert ortolan_map(write(f"in.{of}", [{"id": "1", "review": "the"}]), "out.jsonl") == 1
    assert "column 'text' requested, there are id, review; name another with --column" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == [f"in.{of}"]


@pytest.mark.parametrize("of", FORMATS[1:])
def test_a_name_that_is_taken_is_not_written_over(folder: Path, of: str, capsys: pytest.CaptureFixture[str]):
    assert ortolan_map(write(f"in.{of}", [{"text": "the", "x": "1"}]), "out.jsonl", "--result", "x") == 1
    assert "a column 'x' for the results requested, there is one already" in capsys.readouterr().err


# Bad rows


def test_bad_rows_go_to_a_file_beside_with_the_reason(folder: Path, capsys: pytest.CaptureFixture[str]):
    lines(
        "in.jsonl", '{"text": "the"}', '{"text": ""}', "{text", '{"text": 5}', '{"id": 1}', '["the"]', '{"text": NaN}'
    )
    assert ortolan_map("in.jsonl", "out.jsonl") == 0
    assert read("out.jsonl") == [{"text": "the", "text_classification": answer(THE)}]
    found = rejected("out.jsonl")
    assert [number for number, _ in found] == [2, 3, 4, 5, 6, 7]
    for (_, reason), part in zip(
        found,
        ["it is empty", "it is no JSON object", "got int", "column 'text' requested, there are id", "got list", "NaN"],
        strict=True,
    ):
        assert part in reason
    assert read("out.jsonl.rejected.jsonl")[0]["input"] == {"text": ""}
    assert capsys.readouterr().err.splitlines()[-1] == ("1 rows answered, 6 rejected: see out.jsonl.rejected.jsonl")


def test_a_text_that_is_too_long_is_rejected_without_a_position_that_means_nothing(folder: Path):
    ortolan_map(write("in.jsonl", [{"text": "the"}, {"text": LONG}]), "out.jsonl")
    [(number, reason)] = rejected("out.jsonl")
    assert (number, reason.partition(";")[0]) == (2, "text of 72 tokens requested, the model reads at most 64")


def test_a_text_that_is_too_long_is_cut_where_that_was_asked(folder: Path):
    assert ortolan_map(write("in.jsonl", [{"text": LONG}]), "out.jsonl", "--truncation") == 0
    assert len(read("out.jsonl")) == 1


def test_bad_rows_of_csv_are_rejected_one_by_one(folder: Path):
    Path("in.csv").write_bytes(
        b'id,text\n1,the\n2\n3,film,more\n4,caf\xe9\n5,"a" b\n6,"two\nlines"\n\n7,was\n8,"left open\n9,the\n'
    )
    assert ortolan_map("in.csv", "out.csv") == 0
    assert [row["id"] for row in read("out.csv")] == ["1", "6", "7"]
    assert [(number, reason[:30]) for number, reason in rejected("out.csv")] == [
        (2, "it has 1 fields, and the header 2"[:30]),
        (3, "it has 3 fields, and the header 2"[:30]),
        (4, "it is not UTF-8"),
        (5, "it is no CSV (',' expected after '\"')"[:30]),
        (8, "it is no CSV (unexpected end of data)"[:30]),
    ]


@pytest.mark.parametrize(
    ("name", "row"),
    [("in.jsonl", '{"text": "%s"}'), ("in.csv", '"%s"')],
    ids=["jsonl", "csv"],
)
def test_a_row_that_is_longer_than_is_read_is_rejected_and_the_next_is_answered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, row: str
):
    monkeypatch.setattr(text_files, "MAX_ROW_BYTES", 1000)
    lines(name, *(["text"] if name == "in.csv" else []), row % ("the " * 900), row % "film")
    assert ortolan_map(name, "out.jsonl") == 0
    assert [row["text"] for row in read("out.jsonl")] == ["film"]
    [found] = read("out.jsonl.rejected.jsonl")
    assert ("it has more than" in found["reason"], len(found["input"])) == (True, 200)


def test_json_that_is_nested_too_deep_is_rejected(folder: Path):
    lines("in.jsonl", '{"text": ' + "[" * 100_000, '{"text": "the"}')
    assert ortolan_map("in.jsonl", "out.jsonl") == 0
    assert (len(read("out.jsonl")), rejected("out.jsonl")[0][0]) == (1, 1)


def test_half_a_surrogate_pair_in_another_column_is_kept(folder: Path):
    lines("in.jsonl", '{"text": "the", "odd": "\\ud83d"}')
    assert ortolan_map("in.jsonl", "out.jsonl") == 0
    assert read("out.jsonl")[0]["odd"] == "\ud83d"


def test_a_stale_file_of_rejected_rows_does_not_stay(folder: Path):
    lines("out.jsonl.rejected.jsonl", "{}")
    assert ortolan_map(write("in.jsonl", [{"text": "the"}]), "out.jsonl", "--overwrite") == 0
    assert not Path("out.jsonl.rejected.jsonl").exists()


# What is refused


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert ortolan_map(*words) == 1
    return capsys.readouterr().err.splitlines()[-1].removeprefix("ortolan map: error: ")


def test_an_output_that_is_there_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]):
    write("in.jsonl", [{"text": "the"}])
    lines("out.jsonl", "precious")
    expected = {
        (): "is there already",
        ("--resume",): "is there, and no journal: it is complete, or of another run",
    }
    for flags, found in expected.items():
        assert refused(capsys, "in.jsonl", "out.jsonl", *flags) == (
            f"'out.jsonl' requested, 'out.jsonl' {found}; name another, or begin anew with --overwrite"
        )
    assert Path("out.jsonl").read_text() == "precious\n"


def test_overwrite_replaces_it(folder: Path):
    lines("out.jsonl", "old")
    assert ortolan_map(write("in.jsonl", [{"text": "the"}]), "out.jsonl", "--overwrite") == 0
    assert len(read("out.jsonl")) == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param("in.jsonl", "in.jsonl", id="same-name"),
        pytest.param("in.jsonl", "../work/in.jsonl", id="same-file"),
        pytest.param("link.jsonl", "in.jsonl", id="link"),
        pytest.param("out.jsonl.rejected.jsonl", "out.jsonl", id="rejected-rows-of-the-same-output"),
    ],
)
def test_an_input_is_never_written_over(folder: Path, capsys: pytest.CaptureFixture[str], source: str, target: str):
    for name in ("in.jsonl", "out.jsonl.rejected.jsonl"):
        write(name, [{"text": "the"}])
    Path("link.jsonl").symlink_to("in.jsonl")
    assert "it would write over its own input" in refused(capsys, source, target, "--overwrite")
    assert read(source) == [{"text": "the"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["no.jsonl", "out.jsonl"], "'no.jsonl' requested, there is no such file", id="no-input"),
        pytest.param(["in.jsonl", "no/out.jsonl"], "'no/out.jsonl' requested, there is no such folder", id="no-folder"),
        pytest.param(["in.jsonl", "out.xlsx"], "'out.xlsx' requested, its format is not known", id="format"),
        pytest.param(["in.jsonl", "out"], "'out' requested, its format is not known", id="no-ending"),
        pytest.param(["in.jsonl", "out.jsonl", "--batch-size", "0"], "batch_size requested, got 0", id="batch-size"),
        pytest.param(["in.jsonl", "out.jsonl", "--option", "top_k"], "option 'top_k' requested, it is no", id="option"),
        pytest.param(
            ["in.jsonl", "out.jsonl", "--option", "top_k=1", "--option", "top_k=2"],
            "option top_k requested, it is there twice",
            id="option-twice",
        ),
        pytest.param(["in.jsonl", "out.jsonl", "--option", "topk=1"], "option 'topk' requested", id="unknown-option"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
):
    write("in.jsonl", [{"text": "the"}])
    assert refused(capsys, *words).startswith(message)


def test_a_disk_that_is_full_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "sync", full)
    assert "No space left on device" in refused(capsys, write("in.jsonl", [{"text": "the"}]), "out.jsonl")


# Summary


def test_json_prints_the_counts_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]):
    ortolan_map(write("in.jsonl", [{"text": "the"}, {"text": ""}]), "out.jsonl", "--json")
    assert json.loads(capsys.readouterr().out) == {"answered": 1, "rejected": 1, "truncated": 0}


def test_progress_goes_to_stderr_with_the_rate(folder: Path, capsys: pytest.CaptureFixture[str]):
    ortolan_map(write("in.csv", [{"text": "the"}] * 512), "out.csv")
    captured = capsys.readouterr()
    found = [line for line in captured.err.splitlines() if line.startswith("in.csv: ")]
    assert [line.partition(",")[0] for line in found] == ["in.csv: 256 of 512 rows", "in.csv: 512 of 512 rows"]
    assert all(" a second, " in line and line.endswith(" s left") for line in found)
    assert captured.out == ""


# Interrupted and resumed


class Interrupted(FakeSession):
    """A graph during whose third run somebody presses ctrl-C."""

    def run(self, feed: Any, stop: Any = None) -> Any:
        if len(self.shapes) == 2:
            raise KeyboardInterrupt
        return super().run(feed)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit after every two or three rows."""
    monkeypatch.setattr(run, "MAX_WINDOW_CHARS", 8)
    monkeypatch.setattr(run, "COMMIT_SECONDS", 0.0)


def interrupt(*words: str) -> None:
    """Run the command until its third batch, in which it is interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        model = fake_model(GOLDEN, Interrupted())
        patch.setattr(asking, "pipeline", lambda task, *_, **__: pipeline(task, model, function_to_apply="none"))
        assert ortolan_map(*words) == 1


ROWS = [{"id": str(i), "text": text} for i, text in enumerate([*TEXTS, "", *TEXTS, *TEXTS])]


@pytest.mark.usefixtures("small_windows")
def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]):
    interrupt(write("in.jsonl", ROWS), "out.jsonl")
    assert capsys.readouterr().err.splitlines()[-1] == (
        "ortolan map: interrupted; what was done is kept, and --resume goes on with it"
    )
    left = {f"out.jsonl.{ending}" for ending in ("partial", "progress", "rejected.jsonl")}
    assert {path.name for path in folder.iterdir()} == {"in.jsonl", *left}


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("of", FORMATS)
def test_a_resumed_run_loses_and_repeats_nothing(folder: Path, session: FakeSession, of: str, to: str):
    write(f"in.{of}", ROWS)
    interrupt(f"in.{of}", f"out.{to}")
    assert ortolan_map(f"in.{of}", f"out.{to}", "--resume") == 0
    resumed = list(session.shapes)
    assert ortolan_map(f"in.{of}", f"whole.{to}") == 0
    assert session.shapes[len(resumed) :][2:] == resumed
    assert read(f"out.{to}") == read(f"whole.{to}")
    assert len(read(f"out.{to}")) == 12
    assert rejected(f"out.{to}") == rejected(f"whole.{to}")


def test_resume_without_anything_to_go_on_with_begins(folder: Path):
    assert ortolan_map(write("in.jsonl", [{"text": "the"}]), "out.jsonl", "--resume") == 0
    assert len(read("out.jsonl")) == 1


@pytest.mark.usefixtures("small_windows")
def test_an_interrupted_run_is_not_begun_anew_by_accident(folder: Path, capsys: pytest.CaptureFixture[str]):
    interrupt(write("in.jsonl", ROWS), "out.jsonl")
    assert refused(capsys, "in.jsonl", "out.jsonl") == (
        "'out.jsonl' requested, a run that was interrupted has left its journal; go on with --resume, or begin anew "
        "with --overwrite"
    )
    assert ortolan_map("in.jsonl", "out.jsonl", "--overwrite") == 0
    assert len(read("out.jsonl")) == 12


CHANGES: dict[str, tuple[Callable[[], object], list[str], str]] = {
    "input": (lambda: write("in.jsonl", ROWS[1:]), [], "input changed since"),
    "option": (lambda: None, ["--option", "top_k=2"], "options changed since (options was {"),
    "batch size": (lambda: None, ["--batch-size", "2"], "options"),
    "column": (lambda: None, ["--column", "id"], "columns changed since"),
    "result": (lambda: None, ["--result", "mood"], "result changed since (result was 'text_classification', and is"),
}


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(("change", "flags", "message"), CHANGES.values(), ids=CHANGES)
def test_a_run_that_has_changed_is_not_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str], change: Callable[[], object], flags: list[str], message: str
):
    interrupt(write("in.jsonl", ROWS), "out.jsonl")
    change()
    found = refused(capsys, "in.jsonl", "out.jsonl", "--resume", *flags)
    assert found.startswith("--resume requested, ")
    assert message in found


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda: Path("out.jsonl.partial").write_text("{"), "'out.jsonl.partial' has 1 bytes, and", id="cut"
        ),
        pytest.param(lambda: Path("out.jsonl.partial").unlink(), "'out.jsonl.partial' has 0 bytes, and", id="gone"),
        pytest.param(lambda: Path("out.jsonl.progress").write_text("{}"), "it is no journal of this", id="journal"),
        pytest.param(lambda: Path("out.jsonl.progress").write_text("{"), "it is no journal of this", id="cut-journal"),
    ],
)
def test_damaged_leavings_are_not_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[], object], message: str
):
    interrupt(write("in.jsonl", ROWS), "out.jsonl")
    damage()
    assert message in refused(capsys, "in.jsonl", "out.jsonl", "--resume")


def outputs(paths: Iterable[Path]) -> set[bytes]:
    return {path.read_bytes() for path in paths}


def kill_everywhere(of: str, to: str, step: int) -> None:
    """Kill runs at every so many lines of code, resume them, and compare what they leave."""
    write(f"in.{of}", [{"id": str(i), "text": text} for i, text in enumerate(["the film was good", "", "rain"] * 4)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.killed", f"{Path.cwd()}/in.{of}", f"{Path.cwd()}/{{}}.{to}", str(step)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
    targets = [path for path in Path.cwd().iterdir() if re.fullmatch(rf"\d+\.{to}", path.name)]
    assert len(targets) == int(done.stdout) + 1  # and the last run, which nobody killed
    assert len(outputs(targets)) == 1
    assert len(outputs(target.with_name(f"{target.name}.rejected.jsonl") for target in targets)) == 1
    assert len(list(Path.cwd().iterdir())) == 1 + 2 * len(targets)


@pytest.mark.integration
@pytest.mark.parametrize(("of", "to"), [("csv", "jsonl"), ("jsonl", "csv"), ("jsonl", "parquet")])
def test_runs_killed_at_some_lines_of_code_end_as_if_they_were_not(folder: Path, of: str, to: str):
    if "parquet" in (of, to):
        pytest.importorskip("pyarrow")
    kill_everywhere(of, to, step=151)


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("of", FORMATS)
def test_runs_killed_at_any_line_of_code_end_as_if_they_were_not(folder: Path, of: str, to: str):
    kill_everywhere(of, to, step=23)


@pytest.mark.integration
def test_a_process_killed_at_random_is_resumed_to_the_same_bytes(folder: Path):
    # dynamic int8: an answer depends on the batch, so that batches have to be the same too
    draw = np.random.default_rng(0)
    words = ["the", "film", "was", "good", "bad", "i", "love", "hate", "it", "rain", "sun"]
    rows = [{"id": i, "text": " ".join(draw.choice(words, draw.integers(0, 40)))} for i in range(4000)]
    write("in.jsonl", rows)
    code = "import sys; from ortolan import cli; from ortolan.mapping import run; run.COMMIT_SECONDS = 0.02; "
    words = [
        "map",
        "sentiment-analysis",
        "--model",
        str(GOLDEN),
        "--provider",
        "cpu",
        "--precision",
        "int8",
        "in.jsonl",
    ]
    command = [sys.executable, "-c", code + "sys.exit(cli.main(sys.argv[1:]))", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, "whole.jsonl"], check=True, capture_output=True, env=environment)
    progress = Path("out.jsonl.progress")
    for _ in range(3):
        process = subprocess.Popen([*command, "out.jsonl", "--resume"], stderr=subprocess.PIPE, env=environment)
        before = progress.read_bytes() if progress.exists() else b""
        until = time.monotonic() + 60
        while (
            process.poll() is None
            and time.monotonic() < until
            and (not progress.exists() or progress.read_bytes() == before)
        ):
            time.sleep(0.01)
        time.sleep(float(draw.uniform(0, 0.1)))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    assert progress.exists()
    subprocess.run([*command, "out.jsonl", "--resume"], check=True, capture_output=True, env=environment)
    for ending in ("", ".rejected.jsonl"):
        assert Path(f"out.jsonl{ending}").read_bytes() == Path(f"whole.jsonl{ending}").read_bytes()


# The parts


def test_a_place_is_where_reading_goes_on(folder: Path):
    for name, kind in ((write("in.jsonl", ROWS), Jsonl), (write("in.csv", ROWS), Csv)):
        rows = list(kind(Path(name)).rows(Place()))
        assert [list(kind(Path(name)).rows(row.end)) for row in rows] == [rows[i + 1 :] for i in range(len(rows))]


def test_a_header_that_names_a_column_twice_is_refused(folder: Path):
    with pytest.raises(InvalidInputError, match="a name is twice in its header"):
        Csv(Path(lines("in.csv", "a,a", "1,2")))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(np.array([[1.5, 2.0]], np.float32), "[[1.5, 2.0]]", id="array"),
        pytest.param(np.float32(0.5), "0.5", id="number-of-numpy"),
        pytest.param({"é": float("inf"), "a": [float("nan")]}, '{"é": null, "a": [null]}', id="not-finite"),
        pytest.param("\ud83d", '"\\ud83d"', id="half-a-surrogate-pair"),
        pytest.param(Path("a"), '"a"', id="anything-else"),
    ],
)
def test_results_are_written_as_json(value: object, text: str):
    assert to_json(value) == text


def test_a_journal_comes_back_as_it_was(tmp_path: Path):
    made = journal.Journal(settings={"task": "x"}, number=3, offset=40, columns=("a", "b"))
    journal.write_journal(tmp_path / "journal", made)
    assert journal.read_journal(tmp_path / "journal") == made
    assert journal.read_journal(tmp_path / "none") is None
