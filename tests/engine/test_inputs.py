from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ortolan import ConfigError, InputTooLongError, InvalidInputError, NonFiniteError, Pipeline, pipeline
from ortolan.inputs import as_list, as_stream, is_one
from ortolan.session.base import Array
from tests.engine.damage import GOLDEN
from tests.engine.fakes import FakeSession, fake_model

TEXTS = ["the", "film", "was"]
LONG = "rain " * 70


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def pipe(session: FakeSession) -> Pipeline:
    return pipeline("text-classification", fake_model(GOLDEN, session), function_to_apply="none")


class Series:
    """A column as pandas has it: no sequence, and indexed by labels."""

    def __init__(self, *values: object) -> None:
        self._values = list(values)
        self.shape: tuple[int, ...] = (len(values),)

    def __iter__(self) -> Iterator[object]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, label: object) -> object:
        raise KeyError(label)

    def tolist(self) -> list[object]:
        return list(self._values)


class PolarsSeries(Series):
    """A column as polars has it."""

    tolist = None  # type: ignore[assignment]

    def to_list(self) -> list[object]:
        return list(self._values)


class ArrowArray(Series):
    """A column as Arrow has it: going through it gives scalars, which are no texts."""

    tolist = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[object]:
        return iter([object() for _ in self._values])

    def to_pylist(self) -> list[object]:
        return list(self._values)


class Table(Series):
    """A table as pandas has it: going through it gives the names of its columns."""

    def __init__(self, *values: object) -> None:
        super().__init__(*values)
        self.shape = (len(values), 1)


class TorchDataset:
    """What torch calls a dataset: it counts its items and gives them by number, and need not say where they end."""

    def __init__(self, *values: str) -> None:
        self._values = values
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, number: int) -> str:
        self.asked.append(number)
        return self._values[number % len(self._values)]


class Column(list[str]):
    """A column of the package datasets."""


LazyColumn = type("Column", (Series,), {"__module__": "datasets.arrow_dataset"})


# Forms


@pytest.mark.parametrize("one", ["text", {"text": "a"}, {}, np.str_("text")], ids=repr)
def test_texts_and_mappings_are_one_input(one: object):
    assert is_one(one)


@pytest.mark.parametrize("many", [["a"], ("a",), np.array(["a"]), iter("a"), {"a"}, None, 5, b"a"], ids=repr)
def test_everything_else_is_not(many: object):
    assert not is_one(many)


COLUMNS: dict[str, Any] = {
    "list": TEXTS,
    "tuple": tuple(TEXTS),
    "subclass-of-list": Column(TEXTS),
    "array": np.array(TEXTS),
    "array-of-objects": np.array(TEXTS, object),
    "pandas": Series(*TEXTS),
    "polars": PolarsSeries(*TEXTS),
    "arrow": ArrowArray(*TEXTS),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_what_is_in_memory_is_a_list(pipe: Pipeline, column: Any):
    assert list(as_list(column) or ()) == TEXTS
    assert pipe(column) == pipe(TEXTS)


def test_an_array_gives_texts_of_python():
    assert [type(one) for one in as_list(np.array(TEXTS)) or ()] == [str, str, str]


def test_a_column_that_reads_from_disk_is_a_stream(pipe: Pipeline):
    answers = pipe(LazyColumn(*TEXTS))
    assert isinstance(answers, Iterator)
    assert list(answers) == pipe(TEXTS)


def test_a_stream_is_as_long_as_it_says():
    assert [as_stream(one).length for one in (iter(TEXTS), dict.fromkeys(TEXTS).keys())] == [None, 3]


def test_a_dataset_of_torch_is_a_stream_read_as_it_is_answered(pipe: Pipeline):
    dataset = TorchDataset(*TEXTS)
    answers = pipe(dataset)
    assert dataset.asked == []
    next(answers)
    assert dataset.asked == [0]
    assert len(list(answers)) == 2


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(np.array("text"), "got ndarray with 0 axes", id="array-without-axes"),
        pytest.param(np.array([["a", "b"]]), "got ndarray with 2 axes", id="array-of-rows"),
        pytest.param(Table("a"), "got Table with 2 axes", id="table"),
    ],
)
def test_an_array_of_another_shape_is_refused(pipe: Pipeline, value: Any, found: str):
    with pytest.raises(InvalidInputError) as caught:
        pipe(value)
    assert (caught.value.found, caught.value.remedy) == (
        found,
        "send a text, or one axis of them: a column of a table, such as table['text']",
    )


@pytest.mark.parametrize("value", [{"b", "a"}, frozenset("a")], ids=["set", "frozenset"])
def test_a_set_has_no_order_and_is_refused(pipe: Pipeline, value: Any):
    with pytest.raises(InvalidInputError, match="send a list, which has an order"):
        pipe(value)


@pytest.mark.parametrize(
    "value", [None, 0, 1.5, True, b"a", bytearray(b"a"), memoryview(b"a"), object(), str, Path("a"), TorchDataset]
)
def test_what_is_no_input_says_what_to_send(pipe: Pipeline, value: Any):
    with pytest.raises(InvalidInputError, match="send a text, a mapping, a list or an iterable of them"):
        pipe(value)


@pytest.mark.parametrize("value", [{}, {"question": "?"}], ids=["empty", "of-another-task"])
def test_a_mapping_without_the_right_keys_says_what_to_send(pipe: Pipeline, value: Any):
    with pytest.raises(InvalidInputError, match=r'send a string, or \{"text"'):
        pipe(value)


@pytest.mark.parametrize(
    "bad", [None, 5, float("nan"), b"the", ["the"], ("the",), {}, {"the"}, "", np.array(["the"])], ids=repr
)
@pytest.mark.parametrize("form", [list, tuple, lambda one: iter(one), lambda one: Series(*one)], ids=str)
def test_a_bad_element_names_its_index_in_every_form(pipe: Pipeline, bad: Any, form: Any):
    with pytest.raises(InvalidInputError, match="at index 2") as caught:
        list(pipe(form(["the", "film", bad, "was"])))
    assert caught.value.index == 2


# Streams


@pytest.mark.parametrize("bad", ["", LONG], ids=["unreadable", "too-long"])
def test_what_comes_before_a_bad_item_of_its_batch_is_answered(pipe: Pipeline, bad: str):
    answers = pipe(iter(["the", "film", bad, "was"]), batch_size=4)
    assert [next(answers), next(answers)] == pipe(["the", "film"])
    with pytest.raises((InvalidInputError, InputTooLongError), match="at index 2"):
        next(answers)


def test_an_error_of_the_source_itself_is_passed_on(pipe: Pipeline):
    def source() -> Iterator[str]:
        yield "the"
        raise ConnectionResetError("the other side has gone")

    answers = pipe(source())
    next(answers)
    with pytest.raises(ConnectionResetError):
        next(answers)


# attempt


class FragileSession(FakeSession):
    """A graph that answers NaN to rows with the word "rain"."""

    def run(self, feed: Any, stop: Any = None) -> dict[str, Array]:
        outputs = super().run(feed)
        rain = 38
        outputs["logits"][(feed["input_ids"] == rain).any(axis=1)] = np.nan
        return outputs


def test_attempt_answers_what_can_be_answered(pipe: Pipeline):
    found = pipe.attempt(["the", "", "film", LONG, None, "was"])
    the, film, was = pipe(["the", "film", "was"])
    assert [found[0], found[2], found[5]] == [the, film, was]
    assert [type(found[i]) for i in (1, 3, 4)] == [InvalidInputError, InputTooLongError, InvalidInputError]


def test_attempt_counts_from_where_it_is_told(pipe: Pipeline):
    found = pipe.attempt(["the", "", LONG], 10)
    assert [one.index for one in found[1:]] == [11, 12]


def test_attempt_runs_the_sound_inputs_of_a_list_together(pipe: Pipeline, session: FakeSession):
    pipe.attempt(["the", LONG, "film"])
    assert session.shapes == [(2, 3)]


def test_attempt_of_nothing_is_nothing(pipe: Pipeline):
    assert pipe.attempt([]) == []


def test_attempt_of_bad_inputs_alone_runs_nothing(pipe: Pipeline, session: FakeSession):
    assert [type(one) for one in pipe.attempt(["", LONG])] == [InvalidInputError, InputTooLongError]
    assert session.shapes == []


def test_attempt_lets_no_neighbour_suffer_for_an_answer_that_is_not_finite():
    made = pipeline("text-classification", fake_model(GOLDEN, FragileSession()), function_to_apply="none")
    found = made.attempt(["the", "rain", "film"])
    assert [found[0], found[2]] == made(["the", "film"])
    assert isinstance(found[1], NonFiniteError)


def test_attempt_does_not_hide_an_option_that_is_wrong(pipe: Pipeline):
    with pytest.raises(ConfigError, match="top_k requested"):
        pipe.attempt(["the"], top_k=0)


# Progress


@pytest.mark.parametrize("form", [list, tuple, lambda one: TorchDataset(*one)], ids=["list", "tuple", "dataset"])
def test_progress_tells_how_far_inputs_of_known_number_have_come(
    pipe: Pipeline, capsys: pytest.CaptureFixture[str], form: Any
):
    assert list(pipe(form(["the"] * 8), progress=True, batch_size=2)) == pipe(["the"] * 8)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"text-classification: {n} of 8" for n in (2, 4, 6, 8)]


def test_progress_is_a_bar_on_a_terminal(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    pipe(["the"] * 8, progress=True)
    assert "text-classification: [....................] 0 of 8" in terminal.getvalue()


def test_progress_of_a_stream_of_unknown_length_is_refused(pipe: Pipeline):
    with pytest.raises(ConfigError, match="progress=True requested, nobody knows how long the stream is"):
        pipe(iter(TEXTS), progress=True)


def test_there_is_no_progress_unless_asked(pipe: Pipeline, capsys: pytest.CaptureFixture[str]):
    pipe(TEXTS)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("value", [1, None, "yes"], ids=repr)
def test_progress_is_yes_or_no(pipe: Pipeline, value: Any):
    with pytest.raises(ConfigError, match="progress requested, got .*; use True or False"):
        pipe(TEXTS, progress=value)
