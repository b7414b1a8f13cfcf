from __future__ import annotations

from pathlib import Path

import pytest

from ortolan import InvalidInputError, MissingFileError
from ortolan.request import TextInput
from ortolan.tune.texts import read_texts


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_plain_file_has_a_text_a_line(tmp_path: Path):
    path = write(tmp_path, "texts.txt", 'the film was good\r\n\n{"text": "rain"}\n')
    assert read_texts(path) == [TextInput("the film was good"), TextInput('{"text": "rain"}')]


def test_a_jsonl_file_has_an_object_a_line(tmp_path: Path):
    path = write(tmp_path, "texts.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "text_pair": "c"}\n')
    assert read_texts(path) == [TextInput("a"), TextInput("b", "c")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.txt", "\n \n", "there are none", id="empty"),
        pytest.param("a.jsonl", '{"text": "a"}\nrain\n', "line 2, requested, it is not JSON", id="not-json"),
        pytest.param("a.jsonl", '"rain"\n3\n', "line 2, requested, got int", id="not-an-object"),
        pytest.param("a.jsonl", '{"label": "a"}\n', "line 1, requested, no key 'text'", id="no-text"),
        pytest.param("a.jsonl", '{"text": " "}\n', "line 1, requested, it is empty", id="blank-text"),
    ],
)
def test_a_file_that_holds_no_texts_is_an_error(tmp_path: Path, name: str, content: str, message: str):
    with pytest.raises(InvalidInputError, match=message):
        read_texts(write(tmp_path, name, content))


def test_a_file_that_is_not_utf_8_is_an_error(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InvalidInputError, match=r"it is not UTF-8 \(byte 3\)"):
        read_texts(tmp_path / "a.txt")


def test_a_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(MissingFileError, match="it cannot be read"):
        read_texts(tmp_path / "nowhere.txt")
