from __future__ import annotations

import pytest

from ortolan import ConfigError
from ortolan.tune.options import TuneOptions, parse_budget


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_budget_must_be_a_time(budget: float):
    with pytest.raises(ConfigError, match="that is no time to measure"):
        TuneOptions(budget_seconds=budget)


def test_an_unknown_preference_is_an_error():
    with pytest.raises(ConfigError, match="use one of latency, throughput, memory"):
        TuneOptions(prefer="beauty")  # type: ignore[arg-type]  # what a caller without a type checker may pass


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("2m", 120), ("1.5m", 90), ("90", 90), ("1h", 3600)])
def test_a_budget_is_read(text: str, seconds: float):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 days", "1m30s", "nan"])
def test_an_unknown_budget_is_an_error(text: str):
    with pytest.raises(ConfigError, match="it is no time; write 60s, 2m, 1h or a number of seconds"):
        parse_budget(text)
