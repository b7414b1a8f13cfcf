"""Question: what does a server cost on top of the engine, by rate and by protocol?

The project has no server yet, so that there is nothing to measure. `examples/` has the engine behind FastAPI.
"""

from __future__ import annotations

import pytest

from benchmarks.suite.session import Suite


def test_server(suite: Suite) -> None:
    """Say in the record why there is no answer."""
    reason = "there is no server in this release"
    suite.lose("", "Ortolan server", reason)
    pytest.skip(reason)
