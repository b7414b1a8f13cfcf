"""Texts from files: errors name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ortolan.errors import ConfigError, InvalidInputError, MissingFileError
from ortolan.request import TextInput
from ortolan_exporters import data
from ortolan_exporters.data import builtin_texts, invalid_line, label_of, lines, read_texts, text_of

LABELS = {0: "NEGATIVE", 1: "POSITIVE"}


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_texts_and_pairs_are_read_and_other_keys_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a", "source": "x"}', '{"text": "b", "text_pair": "c"}')
    assert read_texts(path) == [TextInput("a"), TextInput("b", "c")]


def test_line_separator_within_a_text_does_not_end_a_line(tmp_path: Path) -> None:
    assert read_texts(write(tmp_path, '{"text": "a\u2028b"}')) == [TextInput("a\u2028b")]


def test_question_and_context_are_a_pair(tmp_path: Path) -> None:
    path = write(tmp_path, '{"question": "who?", "context": "she did", "answers": ["she"]}')
    assert read_texts(path) == [TextInput("who?", "she did")]


def test_lines_are_numbered_from_one(tmp_path: Path) -> None:
    assert lines(write(tmp_path, '{"a": 1}', "{}")) == [(1, {"a": 1}), (2, {})]


def test_text_of_a_line_that_has_none_is_named() -> None:
    assert text_of({"text": "a", "label": 1}, Path("d.jsonl"), 7) == TextInput("a")
    with pytest.raises(InvalidInputError, match="'d.jsonl', line 7, requested, no key 'text'"):
        text_of({"label": 1}, Path("d.jsonl"), 7)


@pytest.mark.parametrize(("label", "expected"), [("POSITIVE", 1), (0, 0)], ids=["name", "id"])
def test_label_is_the_name_of_a_class_or_its_id(label: object, expected: int) -> None:
    assert label_of(label, LABELS, Path("d.jsonl"), 1) == expected


@pytest.mark.parametrize("label", ["NEUTRAL", 2, -1, True, None, 1.0, ["POSITIVE"]], ids=str)
def test_unknown_label_is_named_with_those_there_are(label: object) -> None:
    message = "a label in 'd.jsonl', line 3, requested, got .*; the model has NEGATIVE, POSITIVE"
    with pytest.raises(InvalidInputError, match=message):
        label_of(label, LABELS, Path("d.jsonl"), 3)


def test_error_for_a_line_says_what_to_write() -> None:
    error = invalid_line(Path("d.jsonl"), 4, "it has no tokens", '{"tokens": [...]}')
    assert str(error) == "'d.jsonl', line 4, requested, it has no tokens; write one {\"tokens\": [...]} a line"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "line 2, requested, it is empty"),
        ("{", "line 2, requested, it is not JSON"),
        ("[1]", "line 2, requested, it is not an object"),
        ('{"txt": "a"}', "line 2, requested, no key 'text'"),
        ('{"text": " "}', "line 2, requested, it is empty or only white space"),
        ('{"text": 7}', "line 2, requested, got int"),
    ],
    ids=["empty", "not JSON", "a list", "no text", "white space", "a number"],
)
def test_line_that_cannot_be_used_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_texts(write(tmp_path, '{"text": "a"}', line))


def test_more_lines_than_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_LINES", 2)
    assert len(lines(write(tmp_path, "{}", "{}"))) == 2
    with pytest.raises(ConfigError, match="more than 2 lines; pass fewer"):
        lines(write(tmp_path, "{}", "{}", "{}"))


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no such file"):
        read_texts(tmp_path / "nowhere.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InvalidInputError, match="the file is empty"):
        read_texts(tmp_path / "empty.jsonl")


def test_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes('{"text": "caf\u00e9"}'.encode("latin-1"))
    with pytest.raises(InvalidInputError, match="it is not UTF-8 .byte 13.; convert it to UTF-8"):
        read_texts(tmp_path / "latin.jsonl")


def test_builtin_texts_are_many_and_of_several_lengths() -> None:
    lengths = [len(item.text) for item in builtin_texts()]
    assert len(lengths) >= 30
    assert min(lengths) < 10
    assert max(lengths) > 300
