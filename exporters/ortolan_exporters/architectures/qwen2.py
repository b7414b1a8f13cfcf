"""Qwen2: as Llama, with a bias for queries, keys and values."""

from ortolan_exporters.architectures.base import Architecture

QWEN2 = Architecture("qwen2", positions_by="rotary")
