from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ortolan import InvalidInputError, MissingFileError
from ortolan.request import TextInput
from ortolan.tune.agreement import agreement, read_texts


def answers(*values: object, name: str = "logits") -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {name: np.array(values, np.float32)}


def labels(expected: dict, found: dict, *, is_multi_label: bool = False) -> float:  # type: ignore[type-arg]
    return agreement(expected, found, "labels", is_multi_label=is_multi_label)


def test_the_same_best_label_agrees_whatever_the_scores():
    assert labels(answers([0.1, 0.2]), answers([5.0, 9.0])) == 1.0


def test_another_best_label_does_not_agree():
    assert labels(answers([0.1, 0.2]), answers([0.2, 0.1])) == 0.0


def test_each_token_is_a_decision():
    assert labels(answers([[1, 2], [3, 4]]), answers([[1, 2], [4, 3]])) == 0.5


def test_each_output_counts():
    start, end = answers([0, 1, 2], name="start_logits"), answers([0, 1, 2], name="end_logits")
    assert labels({**start, **end}, {**start, "end_logits": end["end_logits"][:, ::-1]}) == 0.5


def test_with_many_labels_each_is_a_decision():
    assert labels(answers([1, -1, 1, -1]), answers([2, -2, -3, -4]), is_multi_label=True) == 0.75


@pytest.mark.parametrize("is_multi_label", [False, True], ids=["one-label", "many-labels"])
def test_nan_agrees_with_nothing(is_multi_label: bool):
    assert labels(answers([1, 2]), answers([np.nan, np.nan]), is_multi_label=is_multi_label) == 0.0


@pytest.mark.parametrize(
    ("found", "cosine"),
    [([2, 0], 1.0), ([0, 3], 0.0), ([-1, 0], -1.0), ([np.nan, 0], 0.0), ([0, 0], 0.0)],
    ids=["same", "across", "opposite", "nan", "nothing"],
)
def test_vectors_agree_by_their_cosine(found: list[float], cosine: float):
    assert agreement(answers([1, 0]), answers(found), "cosine", is_multi_label=False) == pytest.approx(cosine)


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
