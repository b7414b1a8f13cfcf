"""When a text is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.generation.config import GenerationConfig
from ortolan.generation.stopping import ending, holds_stop


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
    assert [ending([1, last], 9, rules, letters) is not None for last in (4, 5, 6)] == [False, True, True]
    assert ending([1, 4], 2, rules, letters) is not None


def test_reason_is_the_end_then_a_stop_string_then_the_length():
    rules = GenerationConfig(eos_token_id=(99,), stop_strings=("c", "b"))
    assert [ending([97, last], 2, rules, letters) for last in (99, 98, 100)] == ["eos", "stop", "length"]
    assert ending([97, 100], 3, rules, letters) is None
