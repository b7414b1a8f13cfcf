import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.svg import MAX_TICKS, Scale, escaped, text


def test_text_stays_text_between_tags_and_in_quotes():
    assert escaped("a<b>&\"'\x00") == "a&lt;b&gt;&amp;&quot;&#x27;\ufffd"
    assert text(1, 2, "<", "soft", "end") == '<text class="soft" x="1.0" y="2.0" text-anchor="end">&lt;</text>'


@pytest.mark.parametrize(
    ("low", "high", "is_log", "ticks"),
    [
        pytest.param(0, 10, False, [0, 2, 4, 6, 8, 10], id="steps"),
        pytest.param(0.93, 1.01, False, [0.94, 0.96, 0.98, 1.0], id="small steps"),
        pytest.param(1, 100, True, [1, 2, 5, 10, 20, 50, 100], id="factors"),
        pytest.param(0.9, 20_000, True, [1, 10, 100, 1000, 10_000], id="powers of ten"),
        pytest.param(2, 7, True, [2, 3, 4, 5, 6], id="close factors"),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, is_log: bool, ticks: list[float]):
    assert Scale(low, high, 0, 1, is_log=is_log).ticks() == pytest.approx(ticks)


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e6), st.booleans())
def test_ticks_are_few_and_within_the_scale(low: float, factor: float, is_log: bool):
    scale = Scale(low, low * factor, 10, 20, is_log=is_log)
    ticks = scale.ticks()
    assert len(ticks) <= MAX_TICKS
    assert all(10 - 1e-6 <= scale(tick) <= 20 + 1e-6 for tick in ticks)


def test_a_scale_around_values_leaves_room_at_both_ends():
    scale = Scale.around([1.0, 4.0], 0, 100, room=2)
    assert (scale.low, scale.high) == (0.5, 8.0)
    assert scale(2.0) == pytest.approx(50)
    assert math.isclose(scale(0.5), 0, abs_tol=1e-9)
