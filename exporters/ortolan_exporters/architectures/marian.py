"""Marian: translation as BART does it, with positions that are sines and not learned."""

from ortolan_exporters.architectures.base import Architecture

MARIAN = Architecture("marian", needs_end=True, positions_by="table")
