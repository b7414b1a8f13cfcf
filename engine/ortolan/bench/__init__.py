"""Benchmarks: what was measured, what it means, and how it is shown. `ortolan bench` is made of it."""
