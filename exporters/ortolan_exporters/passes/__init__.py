"""Rewrites of a graph that keep its meaning: one file each."""
