"""Joining encodings to batches: what goes together, and how it becomes a rectangle."""
