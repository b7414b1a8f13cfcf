from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models

from ortolan import Tokenizer
from ortolan.generation.pieces import Pieces, beginning, pieces
from ortolan.generation.stopping import holds_stop

ROOT = Path(__file__).parents[2]
KINDS = ("byte-level", "unigram", "wordpiece-cased", "wordpiece-uncased", "byte-fallback", "suffixes", "words")

TEXTS = (
    "The film was good, and the music even better. Isn't it? I'm sure we've seen 'it' !",
    "I ❤ pizza 🍕🍕🍕 and 👩🏽‍🚀 in Łódź, naïve café, 北京大学, नमस्ते.",
    "def f(x):\n    return {'a': [1, 2.5, None]}\n\n\n   # end\t",
    "unbelievably antidisestablishmentarianistic",
)


@cache
def tokenizer(kind: str) -> Tokenizer:
    made = {"byte-fallback": byte_fallback, "suffixes": suffixes, "words": words}
    # clean-up of spaces is on where transformers has it on by default
    return Tokenizer(made[kind]() if kind in made else real(kind), max_length=512, cleans_up=True)


def real(kind: str) -> tokenizers.Tokenizer:
    if kind == "wordpiece-uncased":
        return tokenizers.Tokenizer.from_file(str(ROOT / "models" / "sentiment-minilm" / "tokenizer.json"))
    packed = ROOT / "tests" / "goldens" / "tokenizers" / kind / "tokenizer.json.gz"
    return tokenizers.Tokenizer.from_str(gzip.decompress(packed.read_bytes()).decode())


def byte_fallback() -> tokenizers.Tokenizer:
    """A tokenizer as Llama 2 has it: words begin with a mark, and what is no word is written in bytes."""
    pieces = ["<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abcdefghilmnoprstuvwy.,'", "▁the", "▁▁"]
    made = tokenizers.Tokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [], byte_fallback=True)
    )
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens(["<s>", "</s>"])
    return made


def suffixes() -> tokenizers.Tokenizer:
    """A tokenizer whose tokens say where a word ends."""
    pieces = ["<unk>", *"abcdefghi", *(f"{letter}</w>" for letter in "abcdefghi.!"), "</w>"]
    made = tokenizers.Tokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [], end_of_word_suffix="</w>")
    )
    made.decoder = decoders.BPEDecoder("</w>")
    return made


def words() -> tokenizers.Tokenizer:
    """A tokenizer without a decoder."""
    pieces = ["<unk>", "the", "film", "'", "s", ".", "n't"]
    return tokenizers.Tokenizer(
        models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>")
    )


@st.composite
def written(draw: st.DrawFn, kind: str) -> list[int]:
    """Ids that make sense, ids that make none, special ones, single bytes, and ids that no token has."""
    chosen = tokenizer(kind)
    most = chosen.size
    low = st.integers(0, min(most - 1, 300))
    runs = (
        st.sampled_from(TEXTS).map(lambda text: chosen.encode_rendered(text, chosen.truncation(True, None)).ids),
        st.lists(st.integers(0, most - 1), max_size=20),
        st.lists(low, max_size=20),
        st.lists(st.sampled_from([0, 1, most - 1, most, most + 7]), max_size=20),
        low.map(lambda token: [token] * 30),
    )
    return [token for run in draw(st.lists(st.one_of(runs), max_size=4)) for token in run]


def fed(one: Pieces, ids: Sequence[int], steps: Sequence[int]) -> list[str]:
    """Feed ids so many at a time, the last number again and again; the last piece is the rest."""
    found, end = [], 0
    while end < len(ids):
        end = min(len(ids), end + steps[min(len(found), len(steps) - 1)])
        found.append(one.feed(ids[:end]))
    return [*found, one.flush()]


STEPS = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data(), STEPS, st.booleans(), st.booleans())
def test_pieces_joined_are_the_text(kind: str, data: st.DataObject, steps: list[int], skips: bool, cleans_up: bool):
    ids, chosen = data.draw(written(kind)), tokenizer(kind)
    found = fed(pieces(chosen, skip_special_tokens=skips, cleans_up=cleans_up), ids, steps)
    assert "".join(found) == chosen.decode(ids, skip_special_tokens=skips, cleans_up=cleans_up)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_holds_half_a_character(kind: str, text: str):
    chosen = tokenizer(kind)
    ids = chosen.encode_rendered(text, chosen.truncation(True, None)).ids
    found = fed(pieces(chosen), ids, [1])
    assert "".join(found) == chosen.decode(ids, skip_special_tokens=True)
    assert not any("\ufffd" in piece for piece in found)


def test_words_are_told_one_by_one():
    chosen = tokenizer("unigram")
    ids = chosen.encode_rendered("The film was good", chosen.truncation(False, None)).ids
    assert fed(pieces(chosen), ids, [1]) == ["The", " film", " was", " good", ""]


def test_a_character_is_told_when_its_last_byte_has_come():
    assert fed(Pieces(letters), list("aé🍕".encode()), [1]) == ["a", "", "é", "", "", "", "🍕", ""]


def test_half_a_character_is_told_as_such_at_the_end():
    assert fed(Pieces(letters), list("aé".encode()[:-1]), [1]) == ["a", "", "\ufffd"]


def test_bytes_that_are_decoded_together_are_told_together():
    # what the third byte makes of the first two is known only when the run is over
    chosen = tokenizer("byte-fallback")
    ids = [chosen.token_id(f"<0x{byte:02X}>") or 0 for byte in b"A\xe2B"] + [chosen.token_id("a") or 0]
    assert chosen.decode(ids) == "\ufffd\ufffd\ufffda"
    assert fed(pieces(chosen), ids, [1]) == ["", "", "", "\ufffd\ufffd\ufffda", ""]


def test_several_tokens_at_once_make_one_piece():
    one = Pieces(letters)
    assert (one.feed(list(b"ab")), one.feed(list(b"abcde")), one.feed(list(b"abcde"))) == ("ab", "cde", "")


def test_nothing_written_is_an_empty_text():
    one = Pieces(letters)
    assert (one.feed([]), one.flush()) == ("", "")


# Stop strings


def letters(ids: Sequence[int]) -> str:
    """Bytes to text, as a byte-level decoder has it."""
    return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        pytest.param("a stop", ["stop"], ["a", " ", "", "", "", "stop", ""], id="a stop string is told as a whole"),
        pytest.param("stay", ["stop"], ["", "", "sta", "y", ""], id="what turns out to be none is told"),
        pytest.param("ssto", ["stop"], ["", "s", "", "", "sto"], id="the end is told at the end"),
        pytest.param("abc", ["bd", "abd"], ["", "", "abc", ""], id="several may begin"),
        pytest.param("aab", ["ab"], ["", "a", "ab", ""], id="one begins within another"),
        pytest.param("##", ["##"], ["", "##", ""], id="a stop string that overlaps itself"),
    ],
)
def test_no_part_of_a_stop_string_is_told(text: str, stops: list[str], expected: list[str]):
    assert fed(Pieces(letters, stops), list(text.encode()), [1]) == expected


@given(st.text("ab\u00e9 ", max_size=20), st.lists(st.text("ab\u00e9", min_size=1, max_size=4), max_size=3), STEPS)
def test_no_stop_string_is_split(text: str, stops: list[str], steps: list[int]):
    ids = list(text.encode())
    # a text ends where a stop string is complete
    ids = next((ids[:n] for n in range(1, len(ids) + 1) if stops and holds_stop(ids[:n], stops, letters)), ids)
    found = fed(Pieces(letters, stops), ids, steps)
    whole = "".join(found)
    assert whole == letters(ids)
    ends = set(accumulate(len(piece) for piece in found)) - {len(whole)}
    places = [(whole.find(stop), len(stop)) for stop in stops if stop in whole]
    assert not any(start < end < start + length for start, length in places for end in ends)


@given(st.text("ab", max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=4))
def test_the_beginning_of_a_stop_string_is_found(text: str, wanted: list[str]):
    lengths = [n for n in range(1, len(text) + 1) for one in wanted if n < len(one) and one.startswith(text[-n:])]
    assert beginning(text, wanted) == max(lengths, default=0)


# Clean-up of spaces


RULES = [(" .", "."), (" ' ", "'"), (" n't", "n't"), (" 's", "'s")]


@given(st.text(" .'nts", max_size=40), STEPS)
def test_replacing_piece_by_piece_is_replacing_in_the_whole(text: str, steps: list[int]):
    expected = text
    for before, after in RULES:
        expected = expected.replace(before, after)
    assert "".join(fed(Pieces(letters, replacements=RULES), list(text.encode()), steps)) == expected


def test_a_space_waits_for_the_mark_that_may_take_it_out():
    assert fed(Pieces(letters, replacements=RULES), list(b"a b ."), [1]) == ["a", "", " b", "", ".", ""]


def test_spaces_are_cleaned_up_as_the_checkpoint_says():
    chosen = tokenizer("words")
    assert "".join(fed(pieces(chosen), [1, 2, 3, 4, 5], [1])) == "the film's."
    assert "".join(fed(pieces(chosen, cleans_up=False), [1, 2, 3, 4, 5], [1])) == "the film ' s ."


# What it costs


class Counted:
    """A decoder that counts the tokens it is asked for."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self.decode = decode
        self.tokens = 0

    def __call__(self, ids: Sequence[int]) -> str:
        self.tokens += len(ids)
        return self.decode(ids)


@pytest.mark.parametrize(
    ("kind", "run"),
    [
        pytest.param("byte-level", [464, 2646, 373], id="words"),
        pytest.param("byte-level", [50256], id="special tokens alone"),
        pytest.param("byte-level", [50300], id="ids that no token has"),
        pytest.param("byte-level", [222], id="bytes that no character has"),
        pytest.param("wordpiece-uncased", [2075], id="parts of one word"),
        pytest.param("byte-fallback", [2 + 0xE2], id="bytes of which nothing is known yet"),
        pytest.param("byte-fallback", [2 + 0xE2, 2 + 0x82, 2 + 0xAC], id="characters in bytes"),
        pytest.param("unigram", [3], id="spaces"),
    ],
)
def test_a_text_costs_in_proportion_to_its_length(kind: str, run: list[int]):
    chosen = tokenizer(kind)
    decode = Counted(lambda ids: chosen.decode(ids, skip_special_tokens=True, cleans_up=False))
    ids = run * 400
    found = fed(Pieces(decode, bytes_among=chosen.byte_ids), ids, [1])
    assert "".join(found) == chosen.decode(ids, skip_special_tokens=True, cleans_up=False)
    assert decode.tokens <= 30 * len(ids)
