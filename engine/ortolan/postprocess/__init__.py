"""From raw outputs to what a task shows: pure functions on arrays."""
