"""Precisions made of the fp32 graph."""
