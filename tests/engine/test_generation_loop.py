"""Writing token by token, with a graph that counts: after a token comes the one with the next id."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ortolan import Artifact, Model, Tokenizer
from ortolan.config import BatchConfig
from ortolan.errors import NonFiniteError, ShapeError
from ortolan.generation.config import GenerationConfig
from ortolan.generation.loop import generate
from ortolan.generation.stopping import ending, holds_stop, is_finished
from ortolan.session.base import Array, Signature, Stop, TensorSpec
from ortolan.tokenize import Encoding
from tests.engine.damage import GOLDEN
from tests.engine.fakes import IDS, MASK

SIZE = 50
MAX_LENGTH = 64
WRITTEN = TensorSpec("decoder_input_ids", "int64", ("batch", "decoder_sequence"))


class Counting:
    """A graph whose best next token is the one with the next id; it answers NaN to 13."""

    def __init__(self, *more: TensorSpec) -> None:
        axes = ("batch", "decoder_sequence" if more else "sequence", SIZE)
        self.signature = Signature((IDS, MASK, *more), (TensorSpec("logits", "float32", axes),))
        self.provider = "fake"
        self.feeds: list[Mapping[str, Array]] = []

    def run(self, feed: Mapping[str, Array], stop: Stop | None = None) -> dict[str, Array]:
        self.feeds.append(feed)
        ids = feed.get("decoder_input_ids", feed["input_ids"])
        logits = np.eye(SIZE, dtype=np.float32)[(ids + 1) % SIZE]
        return {"logits": np.where((ids == 13)[:, :, None], np.float32(np.nan), logits)}


def model_of(session: Counting) -> Model:
    return Model(Artifact.open(GOLDEN), Tokenizer.load(GOLDEN, max_length=MAX_LENGTH), session, "fp32", "fake")


def encoding(*ids: int) -> Encoding:
    return Encoding(list(ids), [0] * len(ids), [(0, 0)] * len(ids))


def write(session: Counting, prompts: list[list[int]], rows: int = 8, **rules: object) -> list[list[int]]:
    model = model_of(session)
    config = GenerationConfig(**rules)  # type: ignore[arg-type]
    limits = BatchConfig(max_batch_size=rows, max_batch_tokens=10_000)
    found = dict(generate(model, model.tokenizer, [encoding(*one) for one in prompts], config, limits))
    assert sorted(found) == list(range(len(prompts)))
    assert all(row.outputs["sequences"].dtype == np.int64 for row in found.values())
    return [found[place].outputs["sequences"].tolist() for place in range(len(prompts))]


def test_prompts_of_different_length_go_on_together():
    session = Counting()
    found = write(session, [[1, 2, 3], [20], [30, 30]], max_new_tokens=2)
    assert found == [[1, 2, 3, 4, 5], [20, 21, 22], [30, 30, 31, 32]]
    assert [feed["input_ids"].shape for feed in session.feeds] == [(3, 3), (3, 4)]
    assert session.feeds[0]["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]], "padding is on the right"


def test_text_that_is_done_leaves_the_batch():
    session = Counting()
    assert write(session, [[1], [7]], max_new_tokens=4, eos_token_id=(8,)) == [[1, 2, 3, 4, 5], [7, 8]]
    assert [len(feed["input_ids"]) for feed in session.feeds] == [2, 1, 1, 1]


def test_decoder_writes_from_its_start_token_on():
    session = Counting(WRITTEN)
    found = write(session, [[9, 9, 9], [8]], max_new_tokens=2, decoder_start_token_id=3)
    assert found == [[3, 4, 5], [3, 4, 5]]
    assert session.feeds[1]["input_ids"].tolist() == [[9, 9, 9], [8, 0, 0]]
    assert session.feeds[1]["decoder_input_ids"].tolist() == [[3, 4], [3, 4]]


def test_rules_are_those_of_each_text():
    assert write(Counting(), [[1, 2], [5]], max_length=4, forced_eos_token_id=(40,)) == [[1, 2, 3, 40], [5, 6, 7, 40]]


def test_text_ends_where_the_positions_end():
    [found] = write(Counting(), [[20] * 60])
    assert len(found) == MAX_LENGTH + 1, "what is written last needs no position"


def test_prompt_that_the_model_has_no_positions_for_is_refused():
    with pytest.raises(ShapeError):
        write(Counting(), [[20] * (MAX_LENGTH + 1)])


def test_nan_is_an_error():
    with pytest.raises(NonFiniteError, match="a text requested, the graph answered NaN"):
        write(Counting(), [[10]], max_new_tokens=9)


def test_nan_behind_a_text_is_no_matter():
    session = Counting()
    model = model_of(session)
    model.tokenizer.pad_id = 13
    limits = BatchConfig(max_batch_size=2, max_batch_tokens=1000)
    rows = [encoding(1), encoding(2, 3)]
    found = dict(generate(model, model.tokenizer, rows, GenerationConfig(max_new_tokens=1), limits))
    assert found[0].outputs["sequences"].tolist() == [1, 2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    st.lists(st.lists(st.integers(14, 40), min_size=1, max_size=9), min_size=1, max_size=6),
    st.integers(1, 6),
    st.integers(1, 4),
)
def test_batching_changes_nothing(prompts: list[list[int]], new: int, rows: int):
    alone = [write(Counting(), [one], max_new_tokens=new)[0] for one in prompts]
    assert write(Counting(), prompts, rows, max_new_tokens=new) == alone


# When a text is done.


def letters(ids: list[int] | tuple[int, ...]) -> str:
    """Bytes to text, as a byte-level decoder has it."""
    return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        (b"one stop", "stop", True),
        (b"one stop ", "stop", False),
        (b"stop stop", "stop", True),
        (b"sto", "stop", False),
        ("é".encode(), "é", True),
        ("aé".encode()[:-1], "é", False),
        ("🍕".encode(), "🍕", True),
    ],
)
def test_stop_string_counts_when_it_is_completed(text: bytes, stop: str, expected: bool):
    assert holds_stop(list(text), ["@@", stop], letters) is expected


def test_stop_string_within_a_longer_token_counts():
    pieces = {1: "a st", 2: "opped", 3: "one"}
    assert holds_stop([3, 1, 2], ["stop"], lambda ids: "".join(pieces[one] for one in ids))
    assert not holds_stop([3, 1, 2, 3], ["stop"], lambda ids: "".join(pieces[one] for one in ids))


@given(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), min_size=1, max_size=3),
)
def test_text_is_stopped_at_the_first_place_where_the_stop_string_stands(text: str, stop: str):
    ids = list(text.encode())
    stopped = next((n for n in range(1, len(ids) + 1) if holds_stop(ids[:n], [stop], letters)), None)
    first = text.find(stop)
    assert stopped == (None if first < 0 else len(text[: first + len(stop)].encode()))


def test_text_is_done_at_an_end_token_or_when_it_is_long_enough():
    rules = GenerationConfig(eos_token_id=(5, 6))
    assert [is_finished([1, last], 9, rules, letters) for last in (4, 5, 6)] == [False, True, True]
    assert is_finished([1, 4], 2, rules, letters)


def test_reason_is_the_end_then_a_stop_string_then_the_length():
    rules = GenerationConfig(eos_token_id=(99,), stop_strings=("c", "b"))
    assert [ending([97, last], 2, rules, letters) for last in (99, 98, 100)] == ["eos", "stop", "length"]
    assert ending([97, 100], 3, rules, letters) is None
