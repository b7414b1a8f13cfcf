"""Texts from files: errors name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ortolan.errors import InvalidInputError, MissingFileError
from ortolan.request import TextInput
from ortolan_exporters.data import builtin_texts, read_labelled, read_texts

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


def test_labels_are_names_or_ids(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a", "label": "POSITIVE"}', '{"text": "b", "label": 0}')
    assert [row.label for row in read_labelled(path, LABELS)] == [1, 0]


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


@pytest.mark.parametrize("label", ['"NEUTRAL"', "2", "true", "null"])
def test_unknown_label_is_named_with_those_there_are(tmp_path: Path, label: str) -> None:
    path = write(tmp_path, f'{{"text": "a", "label": {label}}}')
    with pytest.raises(InvalidInputError, match="line 1, requested, got .*; the model has NEGATIVE, POSITIVE"):
        read_labelled(path, LABELS)


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
