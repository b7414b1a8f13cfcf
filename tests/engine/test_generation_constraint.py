"""Texts under a constraint: random walks over the tokens that it allows."""

from __future__ import annotations

import gc
import json
import random
import re
import sys
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from ortolan import Tokenizer
from ortolan.errors import ConfigError
from ortolan.generation import constraint as module
from ortolan.generation.constraint import Constraint, compile_constraint
from tests.engine.damage import GOLDEN

WORDS = ['{"', '":', '",', '"}', "true", "red", "green", "ab", "12", " 1", ", ", "]}", "é", "\n"]
END, PAD, TURN = "<|end|>", "<|pad|>", "<|turn|>"
MORE = 7
"""Tokens that only the model has."""


@cache
def byte_level() -> Tokenizer:
    return made_of_bytes()


def made_of_bytes() -> Tokenizer:
    """Byte-level BPE: all bytes, some words and three special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = [byte_level.pre_tokenize_str(word)[0][0] for word in WORDS]
    names = dict.fromkeys([*letters, *words])
    made = tokenizers.Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    made.pre_tokenizer = byte_level
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END, PAD, TURN])
    return Tokenizer(made, max_length=512)


def sentence_pieces(*, bytes_too: bool, first_space: str = "always") -> Tokenizer:
    """A vocabulary of SentencePiece, whose words begin with a space that the first one loses."""
    pieces = ["<pad>", "</s>", "<unk>", "▁the", "▁", "the", "▁film", *"thefilmab", "1", "{", "}", "▁{", '"']
    names = dict.fromkeys([*pieces, *([f"<0x{byte:02X}>" for byte in range(256)] if bytes_too else [])])
    if bytes_too:
        made = tokenizers.Tokenizer(
            models.BPE({name: number for number, name in enumerate(names)}, [], byte_fallback=True)
        )
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        made = tokenizers.Tokenizer(models.Unigram([(name, -1.0) for name in names], 2, False))
        made.decoder = decoders.Metaspace(prepend_scheme=first_space)
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return Tokenizer(made, max_length=512)


def ids_of(tokenizer: Tokenizer, *names: str) -> list[int]:
    found = [tokenizer.token_id(name) for name in names]
    assert None not in found
    return [one for one in found if one is not None]


def compiled(tokenizer: Tokenizer | None = None, **wanted: Any) -> Constraint:
    tokenizer = tokenizer or byte_level()
    eos = [tokenizer.token_id(END) or tokenizer.token_id("</s>") or 0]
    return compile_constraint(tokenizer=tokenizer, vocabulary=tokenizer.size + MORE, eos=eos, **wanted)


def allowed(constraint: Constraint) -> set[int]:
    mask = constraint.allowed()
    assert mask is not None
    assert mask.dtype == np.bool_
    return {int(token) for token in np.flatnonzero(mask)}


def walk(constraint: Constraint, tokenizer: Tokenizer, seed: int, *, steps: int = 600) -> str:
    """Write tokens that are allowed, by chance, up to an end token; check at each what may be checked."""
    [end] = ids_of(tokenizer, END if tokenizer.token_id(END) is not None else "</s>")
    chance, ids = random.Random(seed), list[int]()
    for _ in range(steps):
        found = allowed(constraint)
        assert found, "there is always a way on"
        assert max(found) < tokenizer.size, "no token that the tokenizer lacks"
        assert (end in found) == constraint.is_complete
        if end in found and (len(found) == 1 or chance.random() < 0.2):
            constraint.accept(end)
            return tokenizer.decode(ids, skip_special_tokens=True)
        ids.append(chance.choice(sorted(found - {end})))
        constraint.accept(ids[-1])
    raise AssertionError(f"no end within {steps} tokens: {tokenizer.decode(ids)!r}")


SEEDS = st.integers(0, 10**6)

REGEXES = (
    r"yes|no|maybe",
    r"[a-c]{2,6}[0-9]?",
    r"(ab|12){1,5}(, [a-z]{1,3}){0,3}",
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"(?i)(red|green)[.!]{0,2}",
    r"[^a-z\n]{0,5}é[🍕🎉]{1,2}",
    r".{0,8}",
    r"",
)


@pytest.mark.parametrize("regex", REGEXES)
@given(SEEDS)
def test_every_way_ends_in_a_text_that_matches(regex: str, seed: int):
    assert re.fullmatch(regex, walk(compiled(regex=regex), byte_level(), seed))


COLOUR = {"enum": ["red", "green", "bl\u00fc", None]}
ITEM = {
    "type": "object",
    "properties": {
        "colour": COLOUR,
        "count": {"type": "integer", "minimum": -3, "maximum": 120},
        "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{1,3}$"},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        "note": {"type": "string", "maxLength": 4},
    },
    "required": ["colour", "count", "code", "tags"],
    "additionalProperties": False,
}


def is_item(value: Any) -> bool:
    return (
        list(value) in (["colour", "count", "code", "tags"], ["colour", "count", "code", "tags", "note"])
        and value["colour"] in COLOUR["enum"]
        and type(value["count"]) is int
        and -3 <= value["count"] <= 120
        and re.fullmatch("[A-Z]{2}[0-9]{1,3}", value["code"]) is not None
        and 1 <= len(value["tags"]) <= 3
        and all(type(one) is bool for one in value["tags"])
        and len(value.get("note", "")) <= 4
    )


SCHEMAS: dict[str, tuple[dict[str, Any], Callable[[Any], bool]]] = {
    "object": (ITEM, is_item),
    "array of objects": ({"type": "array", "items": ITEM, "maxItems": 2}, lambda found: all(map(is_item, found))),
    "choice": (
        {"anyOf": [{"const": "a\nb"}, {"type": "integer", "minimum": 7, "maximum": 9}]},
        lambda found: found in ("a\nb", 7, 8, 9),
    ),
    "reference": (
        {"$ref": "#/$defs/pair", "$defs": {"pair": {"type": "array", "prefixItems": [COLOUR, COLOUR], "items": False}}},
        lambda found: len(found) <= 2 and all(one in COLOUR["enum"] for one in found),
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
@given(SEEDS)
def test_every_way_ends_in_json_that_fits_the_schema(name: str, seed: int):
    schema, fits = SCHEMAS[name]
    assert fits(json.loads(walk(compiled(json_schema=schema), byte_level(), seed)))


def test_schema_may_be_passed_as_json():
    assert allowed(compiled(json_schema='{"const": true}')) == allowed(compiled(json_schema={"const": True}))


def test_white_space_within_json_ends():
    constraint, [space, begin] = compiled(json_schema={"type": "array", "items": False}), ids_of(byte_level(), "Ġ", "[")
    constraint.accept(begin)
    for _ in range(20):
        constraint.accept(space)
    assert space not in allowed(constraint)


def test_schema_may_say_how_white_space_is_written():
    schema = {"type": "array", "items": False, "x-guidance": {"whitespace_flexible": False, "whitespace_pattern": None}}
    constraint, [space, begin] = compiled(json_schema=schema), ids_of(byte_level(), "Ġ", "[")
    constraint.accept(begin)
    assert space not in allowed(constraint)


# The end


@given(st.text("ab", max_size=6))
def test_end_is_allowed_exactly_where_the_text_matches(text: str):
    regex, [end] = "a|(ab){1,3}|bb?a*", ids_of(byte_level(), END)
    constraint = compiled(regex=regex)
    for place, letter in enumerate(text):
        assert constraint.is_complete == (end in allowed(constraint)) == bool(re.fullmatch(regex, text[:place]))
        token = ids_of(byte_level(), letter)[0]
        if token not in allowed(constraint):
            return
        constraint.accept(token)


def test_nothing_but_the_end_comes_after_it():
    constraint, [end] = compiled(regex="ab*"), ids_of(byte_level(), END)
    for token in [*ids_of(byte_level(), "a", "b"), end]:
        constraint.accept(token)
    assert allowed(constraint) == {end}
    assert constraint.is_complete


def test_a_text_that_is_full_can_only_end():
    constraint, [end] = compiled(regex="ab"), ids_of(byte_level(), END)
    for token in ids_of(byte_level(), "a", "b"):
        constraint.accept(token)
    assert allowed(constraint) == {end}


def test_every_end_token_is_allowed_where_one_is():
    tokenizer = byte_level()
    end, turn = ids_of(tokenizer, END, TURN)
    constraint = compile_constraint(tokenizer=tokenizer, vocabulary=tokenizer.size, eos=[end, turn], regex="a?")
    assert {end, turn} < allowed(constraint)
    constraint.accept(turn)
    assert allowed(constraint) == {end, turn}


def test_a_word_that_ends_texts_is_no_part_of_one():
    tokenizer = byte_level()
    [letter] = ids_of(tokenizer, "a")
    constraint = compile_constraint(tokenizer=tokenizer, vocabulary=tokenizer.size, eos=[letter], regex="(a|ab){2}")
    assert allowed(constraint) == set(ids_of(tokenizer, "ab"))


# The vocabulary


def test_special_tokens_are_no_text():
    assert not allowed(compiled(regex=r"(?s:.*)")) & set(ids_of(byte_level(), PAD, TURN))


@pytest.mark.parametrize("vocabulary", [1000, 200], ids=["larger", "smaller"])
def test_mask_is_as_wide_as_the_vocabulary_of_the_model(vocabulary: int):
    tokenizer = byte_level()
    constraint = compile_constraint(tokenizer=tokenizer, vocabulary=vocabulary, eos=[5], regex="[a-z]")
    mask = constraint.allowed()
    assert mask is not None
    assert mask.shape == (vocabulary,)
    assert not mask[tokenizer.size :].any()


@pytest.mark.parametrize("bytes_too", [True, False], ids=["with bytes", "without"])
@given(SEEDS)
def test_first_word_may_have_the_space_that_it_loses(bytes_too: bool, seed: int):
    tokenizer = pieces_with_bytes() if bytes_too else pieces_without()
    assert re.fullmatch(r"the film|the", walk(compiled(tokenizer, regex=r"the film|the"), tokenizer, seed))
    assert set(ids_of(tokenizer, "▁the", "the", "t", "▁")) <= allowed(compiled(tokenizer, regex="the film|the"))


@cache
def pieces_with_bytes() -> Tokenizer:
    return sentence_pieces(bytes_too=True)


@cache
def pieces_without() -> Tokenizer:
    return sentence_pieces(bytes_too=False)


def test_json_may_begin_with_the_space_that_is_lost():
    tokenizer = pieces_with_bytes()
    assert set(ids_of(tokenizer, "▁{", "{")) <= allowed(compiled(tokenizer, json_schema={"type": "object"}))


def test_text_that_no_token_begins_is_refused():
    with pytest.raises(ConfigError) as caught:
        compiled(sentence_pieces(bytes_too=False, first_space="never"), regex="Zebra")
    assert str(caught.value) == (
        "a constraint requested, no token of the model goes on from here; ask for what its tokens can write"
    )


def test_text_that_no_token_goes_on_with_is_an_error_when_it_is_reached():
    tokenizer = pieces_without()
    constraint = compiled(tokenizer, regex="theZ")
    constraint.accept(ids_of(tokenizer, "the")[0])
    with pytest.raises(ConfigError, match="no token of the model goes on from here"):
        constraint.allowed()


def test_text_that_only_a_lost_space_begins_is_refused():
    with pytest.raises(ConfigError, match="no token of the model goes on from here"):
        compiled(pieces_without(), regex="Zebra")


def test_tokenizer_that_breaks_the_library_is_refused(capfd: pytest.CaptureFixture[str]):
    backend = tokenizers.Tokenizer(models.WordLevel({"<0x": 0, "a": 1, "</s>": 2}, unk_token="a"))
    backend.decoder = decoders.Sequence([decoders.ByteFallback()])
    with pytest.raises(ConfigError, match="a constraint requested, this tokenizer has none"):
        compiled(Tokenizer(backend, max_length=8), regex="a")


def test_unknown_token_is_no_text():
    assert not allowed(compiled(pieces_without(), regex=".*")) & set(ids_of(pieces_without(), "<unk>", "<pad>"))


def test_wordpiece_is_refused():
    with pytest.raises(ConfigError, match="a constraint requested, this tokenizer has none"):
        compile_constraint(tokenizer=Tokenizer.load(GOLDEN), vocabulary=200, eos=[3], regex="a")


# Copies


def test_forks_go_their_own_ways():
    one = compiled(regex="a(b|c)d")
    a, b, c, d = ids_of(byte_level(), "a", "b", "c", "d")
    one.accept(a)
    other = one.fork()
    one.accept(b)
    assert (allowed(one), allowed(other)) == ({d}, {b, c})
    other.accept(c)
    one.accept(d)
    assert (one.is_complete, other.is_complete) == (True, False)


@given(SEEDS, SEEDS)
def test_a_fork_of_a_random_walk_goes_on_where_it_was(first: int, second: int):
    one = compiled(json_schema=ITEM)
    chance = random.Random(first)
    for _ in range(chance.randrange(30)):
        choices = allowed(one) - set(ids_of(byte_level(), END))
        if not choices:
            break
        one.accept(chance.choice(sorted(choices)))
    other, before = one.fork(), allowed(one)
    walk(other, byte_level(), second)
    assert allowed(one) == before


def test_what_is_compiled_once_begins_anew_each_time():
    first = compiled(regex="ab")
    first.accept(ids_of(byte_level(), "a")[0])
    assert allowed(compiled(regex="ab")) == set(ids_of(byte_level(), "a", "ab"))


def test_same_constraint_is_compiled_once(monkeypatch: pytest.MonkeyPatch):
    tokenizer, compilations = made_of_bytes(), list[str]()
    written = module._written
    monkeypatch.setattr(module, "_written", lambda *given: compilations.append(given[1]) or written(*given))
    for regex in ("a", "b", "a", "b"):
        compiled(tokenizer, regex=regex)
    assert compilations == ["a", "b"]


def test_what_was_compiled_goes_with_the_tokenizer():
    tokenizer = made_of_bytes()
    compiled(tokenizer, regex="a")
    gone = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert gone() is None


def test_threads_share_what_is_compiled():
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda seed: walk(compiled(json_schema=ITEM), byte_level(), seed), range(24)))
    assert texts == [walk(compiled(json_schema=ITEM), byte_level(), seed) for seed in range(24)]


# Errors


def test_a_token_that_is_not_allowed_is_refused():
    [letter] = ids_of(byte_level(), "b")
    with pytest.raises(ConfigError) as caught:
        compiled(regex="a").accept(letter)
    assert str(caught.value) == (
        f"token {letter} requested, the constraint does not allow it here; leave one of them out"
    )


def test_end_is_refused_before_the_text_is_complete():
    with pytest.raises(ConfigError):
        compiled(regex="ab").accept(ids_of(byte_level(), END)[0])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param({}, "regex or json_schema requested, neither is passed; pass one of them", id="neither"),
        pytest.param(
            {"regex": "a", "json_schema": {}}, "regex or json_schema requested, both are passed; pass one", id="both"
        ),
        pytest.param({"regex": "a("}, "regex requested, .*; correct or simplify it", id="a regex that is none"),
        pytest.param({"regex": "a(?=b)"}, "regex requested, .*look-around", id="lookaround"),
        pytest.param({"regex": r"(a)\1"}, "regex requested, .*backreferences", id="a backreference"),
        pytest.param({"regex": 5}, "regex requested, got int; pass a text", id="no text"),
        pytest.param({"regex": "\ud800"}, "regex requested, there is a lone surrogate", id="a lone surrogate"),
        pytest.param({"regex": "a" * 10_001}, "regex requested, it has 10,001 characters; use 10,000", id="too long"),
        pytest.param({"regex": "a\\\\\\"}, "regex requested, it ends in a lone backslash", id="a lone backslash"),
        pytest.param({"regex": "(" * 2000 + ")" * 2000}, "regex requested, ", id="too deep"),
        pytest.param({"json_schema": "{"}, "json_schema requested, it is no JSON", id="no JSON"),
        pytest.param({"json_schema": "[" * 50_000}, "json_schema requested, it is no JSON", id="JSON without an end"),
        pytest.param({"json_schema": [1]}, "json_schema requested, got list; pass a mapping", id="a list"),
        pytest.param({"json_schema": {"x-guidance": 5}}, "x-guidance requested, got int; pass a mapping", id="options"),
        pytest.param({"json_schema": {"enum": [{1}]}}, "json_schema requested, it is no JSON", id="a set"),
        pytest.param({"json_schema": {"const": float("nan")}}, "json_schema requested, it is no JSON", id="NaN"),
        pytest.param({"json_schema": {"type": "thing"}}, "json_schema requested, ", id="an unknown type"),
        pytest.param({"json_schema": {"not": {}}}, "json_schema requested, .*not", id="a keyword that is not kept"),
        pytest.param(
            {"json_schema": {"type": "integer", "minimum": 5, "maximum": 1}}, "json_schema requested", id="nothing fits"
        ),
        pytest.param(
            {"json_schema": {"$ref": "https://example.org/schema.json"}},
            "json_schema requested, ",
            id="a remote schema",
        ),
        pytest.param(
            {"json_schema": {"description": "a" * 200_001}}, "json_schema requested, it has 200", id="a long schema"
        ),
        pytest.param(
            {"json_schema": {"type": "string", "pattern": "(?=a)"}}, "json_schema requested, ", id="a bad pattern"
        ),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(wanted: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        compiled(**wanted)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("eos", [[], [100_000]], ids=["none", "one that the model lacks"])
def test_a_constraint_needs_a_token_that_ends_the_text(eos: Sequence[int]):
    with pytest.raises(ConfigError) as caught:
        compile_constraint(tokenizer=byte_level(), vocabulary=300, eos=eos, regex="a")
    assert str(caught.value) == "a constraint requested, no token of the model ends a text; pass eos_token_id"


def test_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ConfigError) as caught:
        compiled(made_of_bytes(), regex="a")
    assert str(caught.value) == (
        "a constraint requested, llguidance is not installed; pip install 'ortolan[constrain]'"
    )
