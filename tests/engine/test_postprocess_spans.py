from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.postprocess.spans import Span, best_spans

LOGIT = st.floats(-20, 20, width=32)
ALL = np.ones(4, bool)


def array(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def by_search(
    start: np.ndarray, end: np.ndarray, may: np.ndarray, max_length: int
) -> tuple[list[tuple[float, int, int]], float]:
    """Every span with its score, best first: the definition, one span after the other."""
    first, last = (np.exp(logits - logits[may].max()) * may for logits in (start, end))
    first, last = first / first.sum(), last / last.sum()
    spans = [
        (float(first[i] * last[j]), i, j)
        for i in range(1, len(start))
        for j in range(i, min(i + max_length, len(start)))
        if may[i] and may[j] and first[i] * last[j] > 0
    ]
    return sorted(spans, reverse=True), float(first[0] * last[0])


@given(
    st.lists(st.tuples(LOGIT, LOGIT, st.booleans()), min_size=1, max_size=12),
    st.integers(1, 30),
    st.integers(1, 15),
)
def test_the_best_spans_are_those_that_a_search_of_all_finds(
    tokens: list[tuple[float, float, bool]], top_k: int, max_length: int
):
    start, end = array(*(one[0] for one in tokens)), array(*(one[1] for one in tokens))
    may = np.array([True, *(one[2] for one in tokens[1:])])
    found, no_answer = best_spans(start, end, may, top_k=top_k, max_length=max_length)
    wanted, never = by_search(start, end, may, max_length)
    assert no_answer == pytest.approx(never, abs=1e-6)
    np.testing.assert_allclose([one.score for one in found], [one[0] for one in wanted[:top_k]], rtol=1e-4, atol=1e-12)
    scores = {(i, j): score for score, i, j in wanted}
    for one in found:
        assert scores[one.start, one.end] == pytest.approx(one.score, rel=1e-4, abs=1e-12)
    assert len({(one.start, one.end) for one in found}) == len(found)


def test_the_score_is_the_product_of_both_ends():
    # softmax of (0, ln 3, 0, 0) is 1/6, 3/6, 1/6, 1/6
    logits = array(0, np.log(3), 0, 0)
    [best], _ = best_spans(logits, logits, ALL, top_k=1, max_length=4)
    assert (best.start, best.end, best.score) == (1, 1, pytest.approx(0.25))


def test_an_answer_does_not_end_before_it_starts():
    [best], _ = best_spans(array(0, 0, 0, 9), array(0, 9, 0, 0), ALL, top_k=1, max_length=4)
    assert best.start <= best.end


def test_an_answer_is_no_longer_than_asked():
    start, end = array(0, 9, 0, 0), array(0, 0, 0, 9)
    assert best_spans(start, end, ALL, top_k=1, max_length=4)[0][0] == Span(1, 3, pytest.approx(0.999, abs=0.01))
    [best], _ = best_spans(start, end, ALL, top_k=1, max_length=2)
    assert best.end - best.start < 2


def test_the_first_token_is_no_part_of_an_answer_and_says_how_likely_there_is_none():
    found, no_answer = best_spans(array(9, 0, 0, 0), array(9, 0, 0, 0), ALL, top_k=20, max_length=4)
    assert no_answer == pytest.approx(1.0, abs=0.01)
    assert min(one.start for one in found) == 1


def test_places_that_can_be_no_answer_take_no_probability():
    may = np.array([False, False, True, False])
    found, no_answer = best_spans(array(9, 9, 0, 9), array(9, 9, 0, 9), may, top_k=20, max_length=4)
    assert (found, no_answer) == ([Span(2, 2, 1.0)], 0.0)


def test_where_nothing_can_be_an_answer_there_is_none():
    assert best_spans(array(1, 2), array(1, 2), np.zeros(2, bool), top_k=5, max_length=4)[0] == []


def test_spans_of_probability_zero_are_no_answers():
    may = np.array([True, True, False, False])
    found, _ = best_spans(array(0, 0, 0, 0), array(0, 0, 0, 0), may, top_k=10, max_length=4)
    assert [(one.start, one.end) for one in found] == [(1, 1)]


def test_equal_spans_come_in_the_order_of_the_text():
    found, _ = best_spans(array(0, 0, 0, 0), array(0, 0, 0, 0), ALL, top_k=6, max_length=1)
    assert [(one.start, one.end) for one in found] == [(1, 1), (2, 2), (3, 3)]


def test_large_logits_do_not_overflow():
    found, _ = best_spans(array(0, 3e38, 0, 0), array(0, 3e38, 0, 0), ALL, top_k=1, max_length=4)
    assert found == [Span(1, 1, 1.0)]


def test_logits_are_not_changed():
    start, end = array(1, 2, 3, 4), array(4, 3, 2, 1)
    best_spans(start, end, ALL, top_k=3, max_length=4)
    assert (start.tolist(), end.tolist()) == ([1, 2, 3, 4], [4, 3, 2, 1])
