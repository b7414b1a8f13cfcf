"""Settings of the runtime's tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a machine that is busy is not a failure. Derandomized: a gate answers the same twice.
settings.register_profile("ortolan", deadline=None, derandomize=True, database=None, max_examples=100)
settings.load_profile("ortolan")
