"""How a user wants an artifact to be tuned. Checked when made."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from ortolan.errors import ConfigError
from ortolan.tune.pareto import PREFERENCES, Prefer

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """Options of `ortolan.tune`.

    Attributes:
        budget_seconds: How long to measure.
        prefer: What the choice shall be best at.
        provider: A name from the provider table, or "auto".
        cache_dir: The cache; None for the default one.
        fresh: Whether to forget what was measured before.
    """

    budget_seconds: float = 60.0
    prefer: Prefer = "latency"
    provider: str = "auto"
    cache_dir: Path | None = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.budget_seconds) and self.budget_seconds > 0):
            raise ConfigError(
                f"a budget of {self.budget_seconds} seconds requested", "that is no time to measure", "use 60, or more"
            )
        if self.prefer not in PREFERENCES:
            raise ConfigError(
                f"prefer={self.prefer!r} requested", "no such preference", f"use one of {', '.join(PREFERENCES)}"
            )


def parse_budget(text: str) -> float:
    """Read a budget such as "60s", "2m", "1h" or "90", which is in seconds.

    Raises:
        ConfigError: It is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise ConfigError(
            f"a budget of {text!r} requested", "it is no time", "write 60s, 2m, 1h or a number of seconds"
        )
    return float(match[1]) * UNITS[match[2]]
