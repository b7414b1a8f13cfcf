from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.postprocess.entities import STRATEGIES, TokenScores, entities, without_overlaps

LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "LOC"}
OUTSIDE, B_PER, I_PER, LOC = ([0.9 if place == label else 0.03 for place in LABELS] for label in LABELS)


def tokens(*given: tuple[str, Sequence[float]]) -> list[TokenScores]:
    """Tokens of words of their own, but for those that begin with "##"; a space stands between words."""
    found: list[TokenScores] = []
    for index, (word, scores) in enumerate(given, 1):
        is_subword = word.startswith("##")
        start = 0 if not found else found[-1].end + (not is_subword)
        end = start + len(word.removeprefix("##"))
        found.append(TokenScores(word, np.array(scores, np.float32), start, end, index, is_subword))
    return found


def join(words: Sequence[str]) -> str:
    return " ".join(words).replace(" ##", "")


def named(strategy: str, *given: tuple[str, Sequence[float]]) -> list[dict[str, Any]]:
    return entities(tokens(*given), strategy, LABELS, join)


def groups(strategy: str, *given: tuple[str, Sequence[float]]) -> list[tuple[str, str]]:
    return [(one["entity_group"], one["word"]) for one in named(strategy, *given)]


def test_without_a_strategy_each_token_has_its_best_label() -> None:
    assert named("none", ("ada", B_PER), ("##s", OUTSIDE)) == [
        {"entity": "B-PER", "score": pytest.approx(0.9), "index": 1, "word": "ada", "start": 0, "end": 3},
        {"entity": "O", "score": pytest.approx(0.9), "index": 2, "word": "##s", "start": 3, "end": 4},
    ]


def test_a_group_has_its_mean_score_and_runs_from_its_first_token_to_its_last() -> None:
    surer = [0.01, 0.01, 0.97, 0.01]
    assert named("simple", ("ada", B_PER), ("lovelace", surer)) == [
        {"entity_group": "PER", "score": pytest.approx(0.935), "word": "ada lovelace", "start": 0, "end": 12}
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param([B_PER, I_PER], [("PER", "a b")], id="inside continues the beginning"),
        pytest.param([I_PER, I_PER], [("PER", "a b")], id="inside continues inside"),
        pytest.param([B_PER, B_PER], [("PER", "a"), ("PER", "b")], id="a beginning begins anew"),
        pytest.param([LOC, LOC], [("LOC", "a b")], id="labels without a prefix continue each other"),
        pytest.param([LOC, I_PER], [("LOC", "a"), ("PER", "b")], id="another kind begins anew"),
        pytest.param([OUTSIDE, OUTSIDE, LOC], [("O", "a b"), ("LOC", "c")], id="what is outside is a group too"),
        pytest.param([], [], id="no tokens"),
    ],
)
def test_neighbours_of_one_kind_are_one_group(labels: list[list[float]], expected: list[tuple[str, str]]) -> None:
    assert groups("simple", *zip("abc", labels, strict=False)) == expected


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("simple", [("PER", "ad"), ("LOC", "##as")]),
        ("first", [("PER", "adas")]),
        ("max", [("LOC", "adas")]),
        ("average", [("LOC", "adas")]),
    ],
)
def test_a_strategy_decides_what_a_word_is_whose_tokens_disagree(
    strategy: str, expected: list[tuple[str, str]]
) -> None:
    unsure, sure = [0.2, 0.4, 0.2, 0.2], [0.0, 0.0, 0.0, 1.0]
    assert groups(strategy, ("ad", unsure), ("##as", sure)) == expected


@pytest.mark.parametrize(("strategy", "score"), [("first", 0.4), ("max", 1.0), ("average", 0.6)])
def test_score_of_a_word_is_that_of_what_decided(strategy: str, score: float) -> None:
    unsure, sure = [0.2, 0.4, 0.2, 0.2], [0.0, 0.0, 0.0, 1.0]
    [one] = named(strategy, ("ad", unsure), ("##as", sure))
    assert (one["score"], type(one["score"])) == (pytest.approx(score), float)


def test_a_continuation_at_the_beginning_of_a_window_is_a_word() -> None:
    assert groups("first", ("##as", LOC), ("x", OUTSIDE)) == [("LOC", "##as"), ("O", "x")]


def test_of_equal_scores_the_first_label_and_the_first_token_win() -> None:
    tie = [0.5, 0.5, 0.0, 0.0]
    other = [0.0, 0.0, 0.5, 0.5]
    assert groups("max", ("ad", other), ("##as", tie)) == [("PER", "adas")]
    assert groups("simple", ("ad", tie)) == [("O", "ad")]


def test_a_label_of_several_parts_loses_the_first_one() -> None:
    [one] = entities(tokens(("a", [1.0])), "simple", {0: "X-Y-Z"}, join)
    assert one["entity_group"] == "Y-Z"


def entity(start: int, end: int, score: float = 0.5) -> dict[str, Any]:
    return {"entity_group": "PER", "score": score, "word": "", "start": start, "end": end}


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        pytest.param([(5, 9), (0, 4)], [(0, 4), (5, 9)], id="in the order of the text"),
        pytest.param([(0, 4), (0, 9)], [(0, 9)], id="the longer one"),
        pytest.param([(0, 9), (4, 9)], [(0, 9)], id="not the shorter one"),
        pytest.param([(0, 4), (4, 9)], [(0, 4), (4, 9)], id="side by side is no overlap"),
        pytest.param([(0, 4), (3, 9), (8, 12)], [(3, 9)], id="what was replaced overlaps no more"),
        pytest.param([], [], id="none"),
    ],
)
def test_of_entities_that_overlap_one_is_kept(found: list[tuple[int, int]], kept: list[tuple[int, int]]) -> None:
    assert [(one["start"], one["end"]) for one in without_overlaps([entity(*span) for span in found])] == kept


@pytest.mark.parametrize("scores", [(0.2, 0.7), (0.7, 0.2)], ids=["second", "first"])
def test_of_equally_long_entities_the_surest_is_kept(scores: tuple[float, float]) -> None:
    [one] = without_overlaps([entity(0, 4, scores[0]), entity(1, 5, scores[1])])
    assert one["score"] == 0.7


@given(spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.floats(0, 1))))
def test_what_is_kept_is_of_what_was_found_in_order_and_without_overlap(spans: list[tuple[int, int, float]]) -> None:
    found = [entity(start, start + length, score) for start, length, score in spans]
    kept = without_overlaps(found)
    assert all(one in found for one in kept)
    assert all(a["end"] <= b["start"] for a, b in itertools.pairwise(kept))
    assert bool(kept) == bool(found)


@given(
    words=st.lists(st.tuples(st.sampled_from(["ada", "##s", "x"]), st.sampled_from([OUTSIDE, B_PER, I_PER, LOC]))),
    strategy=st.sampled_from([name for name in STRATEGIES if name != "none"]),
)
def test_groups_hold_every_token_once(words: list[tuple[str, list[float]]], strategy: str) -> None:
    given_tokens = tokens(*words)
    found = named(strategy, *words)
    assert [(one["start"], one["end"]) for one in found] == [
        (one["start"], one["end"]) for one in sorted(found, key=lambda one: one["start"])
    ]
    assert "".join(one["word"] for one in found).replace(" ", "").replace("##", "") == "".join(
        token.word.removeprefix("##") for token in given_tokens
    )
