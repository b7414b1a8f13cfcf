"""Programs that hold one contender each, in an environment of its own, and answer over pipes."""
